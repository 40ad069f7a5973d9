"""`tripline apply`: register a workspace folder and put it in force on every shard."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.common import (
    TIMEOUT_S,
    FolderArgument,
    Output,
    OutputOption,
    TimeoutOption,
    load_settings_or_fail,
    talk,
)
from engine.cli.registry import (
    ByOption,
    MessageOption,
    load_folder_or_fail,
    pending_of,
    run_on_registry,
    show_applied,
    show_plan,
    signature,
)
from engine.registry.changes import plan_apply
from engine.registry.operations import open_to_read, open_to_write
from triggers.buckets import BUCKETS
from triggers.fields import share_of


class OnPending(StrEnum):
    """What becomes of the pending instances of triggers that are changed or removed."""

    KEEP = "keep"
    CANCEL = "cancel"


CanaryOption = Annotated[
    str,
    typer.Option(
        "--canary",
        metavar="SHARE",
        help="New revisions of edited triggers for this share of the users, such as 5%.",
        show_default=False,
    ),
]


def apply(
    folder: FolderArgument = Path(),
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is not in the folder.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    pending: Annotated[
        OnPending,
        typer.Option(
            "--pending", help="Pending instances of changed and removed triggers: keep or cancel."
        ),
    ] = OnPending.KEEP,
    canary: CanaryOption = "",
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Register a workspace folder and activate it on every shard, without a restart.

    Unchanged definitions keep their revision. Run again after a failure: it finishes what was
    begun. Pending instances keep their deadlines and the new revision decides, or they are
    cancelled as of the activation. With --canary edited triggers keep their revision and get the
    new one for a share of the users, until `promote` or `abort`; everything else is for everyone.

    Exit codes: 1 a canary of a draft, 2 the folder or a setting is wrong and nothing was written,
    5 somebody else applied meanwhile, 6 Kafka cannot be reached.
    """
    cancel = pending is OnPending.CANCEL
    canary_share = _share_or_fail(canary, cancel)
    wanted = load_folder_or_fail(folder)
    settings = load_settings_or_fail(require=() if dry_run else ("log_secret",))

    async def preview() -> None:
        async with open_to_read(settings, timeout) as reader:
            history = reader.history
            plan = plan_apply(
                history,
                wanted.triggers,
                wanted.policies,
                wanted.documents,
                prune=prune,
                now_ms=0,
                canary_share=canary_share,
            )
            waiting = await pending_of(settings, plan, history)
        show_plan(plan, output, waiting, registry=plan.base, dry_run=True, partitions=0)
        talk("dry run: nothing was written")

    async def write() -> None:
        async with open_to_write(settings, timeout) as registry:
            plan = registry.plan(
                wanted.triggers,
                wanted.policies,
                wanted.documents,
                prune=prune,
                cancel_pending=cancel,
                canary_share=canary_share,
            )
            waiting = await pending_of(settings, plan, registry.reader.history)
            applied = await registry.put_in_force(plan, signature(by, message))
        show_applied(applied, output, waiting)
        if plan.edited:
            talk(
                "pending instances of edited triggers are cancelled"
                if cancel
                else "pending instances of edited triggers keep their deadlines"
            )

    run_on_registry(settings, preview if dry_run else write)


def _share_or_fail(canary: str, cancel: bool) -> int:
    """In buckets, 0 for none."""
    if not canary:
        return 0
    if cancel:
        raise typer.BadParameter("--pending cancel is for everyone: not with --canary")
    try:
        share = share_of(canary)
    except ValueError as error:
        raise typer.BadParameter(f"--canary: {error}") from error
    if not 0 < share < BUCKETS:
        raise typer.BadParameter("--canary is more than 0% and less than 100%")
    return share
