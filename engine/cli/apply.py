"""`tripline apply`: register a workspace folder and put it in force on every shard."""

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
    run_on_registry,
    show_applied,
    show_plan,
    signature,
)
from engine.registry.changes import plan_apply
from engine.registry.operations import open_to_read, open_to_write


def apply(
    folder: FolderArgument = Path(),
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is not in the folder.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Register a workspace folder and activate it on every shard, without a restart.

    Unchanged definitions keep their revision. Run again after a failure: it finishes what was
    begun. Exit codes: 2 the folder or a setting is wrong and nothing was written, 5 somebody else
    applied meanwhile, 6 Kafka cannot be reached.
    """
    wanted = load_folder_or_fail(folder)
    settings = load_settings_or_fail(require=() if dry_run else ("log_secret",))

    async def preview() -> None:
        async with open_to_read(settings, timeout) as reader:
            plan = plan_apply(
                reader.history,
                wanted.triggers,
                wanted.policies,
                wanted.documents,
                prune=prune,
                now_ms=0,
            )
        show_plan(plan, output, registry=plan.base, dry_run=True, partitions=0)
        talk("dry run: nothing was written")

    async def write() -> None:
        async with open_to_write(settings, timeout) as registry:
            plan = registry.plan(wanted.triggers, wanted.policies, wanted.documents, prune=prune)
            applied = await registry.put_in_force(plan, signature(by, message))
        show_applied(applied, output)

    run_on_registry(settings, preview if dry_run else write)
