"""`tripline backtest`: a workspace over past events."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import (
    CliError,
    ExitCode,
    FolderArgument,
    Output,
    OutputOption,
    data,
    data_json,
    fail,
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
    from triggers.program import Program


def backtest(
    folder: FolderArgument = Path(),
    events: EventsOption = None,
    mapping: MapOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Write every decision to this file.")
    ] = None,
    drain: Annotated[bool, typer.Option(help="Fire what is pending at the end.")] = False,
    sort: SortOption = False,
    strict: StrictOption = False,
    assume_nothing: Annotated[
        bool, typer.Option("--assume-nothing", help="Only devices the events register.")
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

    Exit codes: 0 done, 2 an invalid workspace, mapping or event file, 4 no such topic, 6 Kafka is
    unreachable.
    """
    if events is None:
        fail(CliError(ExitCode.INVALID, "--events FILE, FOLDER or topic:NAME is missing"))
    try:
        _run(
            _program(folder, set_ or [], grace),
            events,
            mapping,
            decisions,
            output,
            from_=from_,
            to=to,
            drain=drain,
            sort=sort,
            strict=strict,
            assume_devices=not assume_nothing,
        )
    except CliError as error:
        fail(error)


def _program(folder: Path, changes: list[str], grace: str | None) -> "Program":
    from engine.registry.folder import NotAWorkspaceError, load_folder
    from triggers.compile import RegisteredTrigger, compile_program
    from triggers.overrides import OverrideError, override_policies
    from triggers.workspace import DefinitionErrors

    try:
        triggers, policies, documents = load_folder(folder)
        policies = override_policies(policies, changes, grace)
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except (NotAWorkspaceError, OverrideError, OSError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None
    registered = [RegisteredTrigger(found, 1, found.state, 0) for found in triggers.values()]
    return compile_program(1, registered, policies, documents)


def _run(
    program: "Program",
    events: str,
    mapping: Path | None,
    decisions: Path | None,
    output: Output,
    *,
    from_: str | None,
    to: str | None,
    drain: bool,
    sort: bool,
    strict: bool,
    assume_devices: bool,
) -> None:
    from engine.backtest.report import report_json, report_lines, write_decisions
    from engine.backtest.run import Backtest
    from engine.clock import monotonic_s
    from engine.files import (
        FileRefused,
        Problems,
        UnsortedError,
        open_output,
    )
    from schemas.decisions import Decision
    from triggers.workspace import DefinitionErrors

    made: list[Decision] = []
    problems = Problems(strict=strict)
    # Nothing here makes reference cycles; the collector would walk all users again and again.
    gc.disable()
    try:
        run = Backtest(program, made.append, assume_devices=assume_devices)
        started_s = monotonic_s()
        with open_history(events, mapping, problems, from_=from_, to=to, sort=sort) as source:
            run.feed((found.a_ms, found.event) for found in source)
        run.finish(drain)
        took_s = monotonic_s() - started_s
        if decisions is not None:
            with open_output(decisions) as out:
                write_decisions(out, made)
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except (FileRefused, UnsortedError, OSError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None
    finally:
        gc.enable()
    if output is Output.JSON:
        data_json(report_json(run))
    else:
        data("\n".join(report_lines(run, took_s)))
