"""What the registry's verbs share: errors as exit codes, and tables of changes."""

import getpass
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from engine.cli.common import (
    CliError,
    ExitCode,
    Output,
    data,
    data_json,
    fail,
    run,
    table,
    talk,
    talk_hints,
)
from engine.logs import setup_command_logs
from engine.ports import StoreUnavailable
from engine.registry.changes import NotRegisteredError, Plan, Row, WrongStateError
from engine.registry.connect import KafkaUnreachableError
from engine.registry.entries import TRIGGER
from engine.registry.folder import Folder, NotAWorkspaceError, load_folder
from engine.registry.history import History
from engine.registry.operations import Applied, ConflictError, Signature
from engine.registry.pending import count_pending
from engine.registry.reader import RegistryLostError, RegistryTimeoutError, TopicMissingError
from engine.registry.versions import UnreadableDefinitionError
from engine.settings import Settings
from engine.store.errors import StoreBroken
from engine.store.redis import RedisStore
from triggers.compile import NotCompilable
from triggers.workspace import DefinitionError, DefinitionErrors

EXIT_CODES: Mapping[type[BaseException], ExitCode] = {
    NotRegisteredError: ExitCode.NOT_FOUND,
    ConflictError: ExitCode.CONFLICT,
    KafkaUnreachableError: ExitCode.UNREACHABLE,
    RegistryTimeoutError: ExitCode.UNREACHABLE,
    TimeoutError: ExitCode.UNREACHABLE,
    TopicMissingError: ExitCode.ERROR,
    RegistryLostError: ExitCode.ERROR,
    UnreadableDefinitionError: ExitCode.ERROR,
    WrongStateError: ExitCode.ERROR,
    NotCompilable: ExitCode.INVALID,
}
_NOT_ALLOWED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)

Pending: TypeAlias = Mapping[str, int | None]

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]
MessageOption = Annotated[
    str, typer.Option("--message", "-m", help="Why; kept with the version.", show_default=False)
]
ByOption = Annotated[
    str, typer.Option("--by", help="Who; the user's login name by default.", show_default=False)
]


def load_folder_or_fail(folder: Path) -> Folder:
    """The definitions of a folder; ends with INVALID and one line for each error."""
    hints: list[DefinitionError] = []
    try:
        found = load_folder(folder, hints)
    except DefinitionErrors as error:
        fail(CliError(ExitCode.INVALID, map(str, error.errors)))
    except (NotAWorkspaceError, OSError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))
    talk_hints(hints)
    return found


def run_on_registry(settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what talks to Kafka; its errors become exit codes."""
    setup_command_logs()

    async def guarded() -> None:
        try:
            await work()
        except (KafkaError, *EXIT_CODES) as error:
            code = exit_code_of(error)
            raise CliError(code, _explain(settings, code, error)) from error

    run(guarded)


def exit_code_of(error: BaseException) -> ExitCode:
    """ERROR for what is not in the table. An error of Kafka's that a later try may not meet again
    counts as unreachable, one it surely meets (a record too large) does not."""
    if isinstance(error, KafkaError):
        if isinstance(error, _NOT_ALLOWED):
            return ExitCode.AUTH
        return ExitCode.UNREACHABLE if error.retriable else ExitCode.ERROR
    return next(
        (code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), ExitCode.ERROR
    )


def _explain(settings: Settings, code: ExitCode, error: BaseException) -> list[str]:
    text = str(error) or type(error).__name__
    if code is ExitCode.UNREACHABLE:
        return [f"Kafka at {settings.kafka_servers}: {text}"]
    if isinstance(error, TopicMissingError):
        return [f"{text}: start a worker or run `tripline doctor --create-topics`"]
    return [text]


def signature(by: str, message: str) -> Signature:
    """Who signs the version."""
    return Signature(by or getpass.getuser(), message)


def show_plan(plan: Plan, output: Output, pending: Pending | None = None, **fields: Any) -> None:
    """The rows of a plan on stdout. `pending`: how many instances wait, by edited trigger."""
    waiting = pending or {}
    if output is Output.JSON:
        rows = [row._asdict() | _waiting(row, waiting) for row in plan.rows]
        data_json({**fields, "base": plan.base, "changes": rows})
    elif plan.rows:
        heads = ("KIND", "NAME", "CHANGE", "REVISION", "STATE", "PENDING", "NOTE")
        data(
            table(
                heads,
                [
                    (*row[:4], row.state, _waiting(row, waiting).get("pending", ""), row.note)
                    for row in plan.rows
                ],
            )
        )


def _waiting(row: Row, pending: Pending) -> dict[str, Any]:
    if row.kind != TRIGGER or row.name not in pending:
        return {}
    return {"pending": pending[row.name]}


async def pending_of(settings: Settings, plan: Plan, history: History) -> Pending:
    """How many instances wait of each trigger that the plan edits; None where Redis does not say:
    an edit need not wait for it."""
    names = [row.name for row in plan.edited]
    if not names:
        return {}
    store = RedisStore(settings.redis_url, settings.key_prefix, timeout_s=settings.redis_timeout_s)
    try:
        before = history.contents(history.latest).cancelled_to
        found = await count_pending(store, settings.partitions, before)
    except (StoreUnavailable, StoreBroken) as error:
        talk(f"pending instances are not counted: {error}")
        return dict.fromkeys(names)
    finally:
        await store.aclose()
    return {name: found[name] for name in names}


def show_applied(applied: Applied, output: Output, pending: Pending | None = None) -> None:
    """What became of a plan: rows on stdout, a sentence on stderr."""
    plan, number, partitions = applied
    show_plan(plan, output, pending, registry=number, dry_run=False, partitions=partitions)
    if not number:
        talk("nothing to register")
    elif plan.changes:
        talk(f"version {number} is in force: {partitions} partitions were told")
    else:
        talk(f"nothing changed: version {number} was activated again on {partitions} partitions")
