"""`tripline backtest`: a workspace over past events."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import (
    CliError,
    ExitCode,
    FolderArgument,
    Output,
    OutputOption,
    check_target,
    data,
    data_json,
    fail,
    talk_hints,
)
from engine.cli.history import (
    EventsOption,
    FromOption,
    MapOption,
    SortOption,
    StrictOption,
    ToOption,
    open_history,
)

if TYPE_CHECKING:
    from engine.backtest.session import Definitions, Session
    from triggers.workspace import Workspace

CountersOption = Annotated[
    Path | None,
    typer.Option("--counters", help="Write what `tripline report --from-backtest` reads."),
]


StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="A folder that carries the state from run to run."),
]


def backtest(
    folder: FolderArgument = Path(),
    events: EventsOption = None,
    mapping: MapOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Write every decision to this file.")
    ] = None,
    counters: CountersOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report as a page to this file.")
    ] = None,
    state: StateOption = None,
    drain: Annotated[bool, typer.Option(help="Fire what is pending at the end.")] = False,
    sort: SortOption = False,
    strict: StrictOption = False,
    assume_nothing: Annotated[
        bool,
        typer.Option("--assume-nothing", help="Only devices and consent that the events tell."),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A policy value, such as policy.default.spacing=0s."),
    ] = None,
    grace: Annotated[
        str | None, typer.Option("--grace", help="Short for the grace of every policy.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Decide past events as the live engine would have.

    Exit codes: 0 done, 2 an invalid workspace, mapping, event file or state, or no folder for a
    file to write, 4 no such topic, 6 Kafka is unreachable.
    """
    from engine.backtest.session import Session
    from engine.clock import monotonic_s
    from engine.files import Problems

    if events is None:
        fail(CliError(ExitCode.INVALID, "--events FILE, FOLDER or topic:NAME is missing"))
    problems = Problems(strict=strict)
    try:
        for option, path in (
            ("--decisions", decisions),
            ("--counters", counters),
            ("--html", html),
        ):
            check_target(option, path)
        with refusals(), no_collector():
            workspace, found = load_placed(folder, set_ or [], grace)
            session = Session(
                found,
                assume_devices=not assume_nothing,
                state=state,
                decisions=decisions,
                counters=counters,
            )
            started_s = monotonic_s()
            with open_history(
                events, mapping, problems, from_=from_, to=to, sort=sort, row_from=session.row_from
            ) as source:
                session.feed(source)
            took_s = monotonic_s() - started_s
            session.end(drain=drain, rows=problems.rows)
            _report(session, workspace, took_s, html, output)
    except CliError as error:
        fail(error)


def load_definitions(folder: Path, changes: list[str], grace: str | None) -> "Definitions":
    """A workspace folder with the policy values of `--set` and `--grace`; raises CliError."""
    return load_placed(folder, changes, grace)[1]


def load_placed(
    folder: Path, changes: list[str], grace: str | None
) -> tuple["Workspace", "Definitions"]:
    """The same, and the workspace, which knows where they are written."""
    from engine.backtest.session import Definitions
    from engine.registry.folder import load_zoned, read_folder, written_folder
    from triggers.overrides import override_policies

    with refusals():
        files = read_folder(folder)
        workspace = load_zoned(files)
        triggers, policies, documents = written_folder(files, workspace)
        policies = override_policies(policies, changes, grace)
        return workspace, Definitions(triggers, policies, documents)


@contextmanager
def refusals() -> Iterator[None]:
    """What is wrong with files, folders and options, as CliError."""
    from engine.backtest.saved import StateRefused
    from engine.files import FileRefused
    from engine.registry.folder import NotAWorkspaceError
    from triggers.overrides import OverrideError
    from triggers.workspace import DefinitionErrors

    try:
        yield
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except (NotAWorkspaceError, OverrideError, FileRefused, StateRefused, OSError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None


@contextmanager
def no_collector() -> Iterator[None]:
    """Nothing in a backtest makes reference cycles; the collector would walk all users again and
    again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _report(
    session: "Session", workspace: "Workspace", took_s: float, html: Path | None, output: Output
) -> None:
    from engine.backtest.page import report_page
    from engine.backtest.report import report_json, report_lines

    if html is not None:
        html.write_text(report_page(session.run, took_s), encoding="utf-8")
    if output is Output.JSON:
        data_json(report_json(session.run))
    else:
        data("\n".join(report_lines(session.run, took_s)))
    found = session.renders.problems()
    talk_hints(workspace.placed(trigger, problem) for trigger, problem in found)
