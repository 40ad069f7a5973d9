"""`tripline backtest`: a workspace over past events."""

import gc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
    TOPIC_SCHEME,
    EventsOption,
    FromOption,
    MapOption,
    SortOption,
    StrictOption,
    ToOption,
    open_history,
)

if TYPE_CHECKING:
    from engine.backtest.places import Places
    from engine.backtest.result import Result
    from engine.backtest.session import Definitions, Session
    from triggers.problems import Problem
    from triggers.program import Program
    from triggers.workspace import Workspace

CountersOption = Annotated[
    Path | None,
    typer.Option("--counters", help="Write what `tripline report --from-backtest` reads."),
]


StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="A folder that carries the state from run to run."),
]

JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=64,
        help="Processes that decide a file or folder side by side; without it one a core, up to "
        "four, where there is much to read.",
    ),
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
    jobs: JobsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Decide past events as the live engine would have.

    Exit codes: 0 done, 1 a process of --jobs was killed, 2 an invalid workspace, mapping, event
    file or state, or no folder for a file to write, 4 no such topic, 6 Kafka is unreachable.
    """
    from engine.backtest.jobs import Inseparable
    from engine.backtest.session import Session

    if events is None:
        fail(CliError(ExitCode.INVALID, "--events FILE, FOLDER or topic:NAME is missing"))
    history = _History(events, mapping, from_, to, sort, strict)
    try:
        for option, path in (
            ("--decisions", decisions),
            ("--counters", counters),
            ("--html", html),
        ):
            check_target(option, path)
        with refusals(), no_collector():
            workspace, found = load_placed(folder, set_ or [], grace)
            make = partial(
                Session,
                found,
                assume_devices=not assume_nothing,
                state=state,
                decisions=decisions,
                counters=counters,
            )
            try:
                ran = _decide(make(places=_places(events, mapping, jobs)), history, drain)
            except Inseparable:
                ran = _decide(make(), history, drain)
            _report(ran, workspace, html, output)
    except CliError as error:
        fail(error)


class _History(NamedTuple):
    """What is read."""

    events: str
    mapping: Path | None
    from_: str | None
    to: str | None
    sort: bool
    strict: bool


class _Ran(NamedTuple):
    """What came of it. `took_s`: reading and deciding; `problems`: of the texts."""

    result: "Result"
    program: "Program"
    took_s: float
    problems: "list[tuple[str, Problem]]"


def _decide(session: "Session", history: _History, drain: bool) -> _Ran:
    from engine.clock import monotonic_s
    from engine.files import Problems

    problems = Problems(strict=history.strict)
    with closing(session):
        started_s = monotonic_s()
        with open_history(
            history.events,
            history.mapping,
            problems,
            from_=history.from_,
            to=history.to,
            sort=history.sort,
            row_from=session.row_from,
        ) as source:
            session.feed(source)
        took_s = monotonic_s() - started_s
        result = session.end(drain=drain, rows=problems.rows)
        return _Ran(result, session.run.program, took_s, list(session.problems()))


def _places(events: str, mapping: Path | None, jobs: int | None) -> "Places | None":
    """Who is decided by which of several processes; None where one is enough, or has to be: in a
    topic nobody can look ahead for profiles that become one."""
    from engine.backtest.jobs import jobs_for
    from engine.backtest.places import Places, merges_in
    from engine.files import input_bytes

    if events.startswith(TOPIC_SCHEME):
        return None
    path = Path(events)
    count = jobs_for(input_bytes(path)) if jobs is None else jobs
    if count == 1:
        return None
    places = Places(count)
    if mapping is None:
        # What is mapped is track events, which merge nobody.
        places.join(merges_in(path))
    return places


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
    from engine.backtest.jobs import JobEnded
    from engine.backtest.saved import StateRefused
    from engine.files import FileRefused
    from engine.registry.folder import NotAWorkspaceError
    from triggers.overrides import OverrideError
    from triggers.workspace import DefinitionErrors

    try:
        yield
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except JobEnded as error:
        raise CliError(ExitCode.ERROR, str(error)) from None
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


def _report(ran: _Ran, workspace: "Workspace", html: Path | None, output: Output) -> None:
    from engine.backtest.page import report_page
    from engine.backtest.report import report_json, report_lines

    result, program, took_s, problems = ran
    if html is not None:
        html.write_text(report_page(result, program, took_s), encoding="utf-8")
    if output is Output.JSON:
        data_json(report_json(result))
    else:
        data("\n".join(report_lines(result, program, took_s)))
    talk_hints(workspace.placed(trigger, problem) for trigger, problem in problems)
