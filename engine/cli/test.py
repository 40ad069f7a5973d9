"""`tripline test`: run the tests that stand in the triggers of a workspace."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from zoneinfo import available_timezones

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
    talk,
    talk_hints,
)

if TYPE_CHECKING:
    from engine.testing.run import Verdict
    from triggers.loader import Reader
    from triggers.workspace import DefinitionError

FILES_REMEMBERED_MAX = 20_000


class _Ran(NamedTuple):
    verdicts: Sequence["Verdict"]
    took_s: Sequence[float]
    untested: Sequence[str]
    hints: Sequence["DefinitionError"]


def run_tests(
    folder: FolderArgument = Path(),
    only: Annotated[
        str | None,
        typer.Option(
            "-k", help="Only tests whose trigger or name holds this: `cart and not late`."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Run again whenever a file changes.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name the tests that pass, too.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the `tests:` of triggers in virtual time, with the code that decides live.

    Exit codes: 0 all passed, 1 some failed, 2 an invalid workspace, 4 no test found.
    """
    from engine.testing.cases import selector
    from triggers.source import read_source

    try:
        check_target("--junit", junit)
        fits = selector(only) if only else None
    except CliError as error:
        fail(error)
    except ValueError as error:
        fail(CliError(ExitCode.INVALID, str(error)))

    # With --watch only what has changed is read again.
    reader = lru_cache(maxsize=FILES_REMEMBERED_MAX)(read_source)

    def once() -> ExitCode:
        ran = _run(folder, fits, reader)
        if junit is not None:
            _write_junit(junit, ran)
        return _tell(ran, output, verbose)

    if watch:
        _again_and_again(folder, once)
        return
    try:
        code = once()
    except CliError as error:
        fail(error)
    if code is not ExitCode.OK:
        raise typer.Exit(int(code))


def _run(folder: Path, fits: Callable[[str], bool] | None, reader: "Reader") -> _Ran:
    from engine.clock import monotonic_s
    from engine.registry.folder import NotAWorkspaceError, read_folder
    from engine.testing.cases import cases_of
    from engine.testing.run import run_case
    from triggers.lengths import Renders
    from triggers.loader import load_workspace
    from triggers.workspace import DefinitionErrors

    try:
        workspace = load_workspace(read_folder(folder), zones=available_timezones(), reader=reader)
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except (NotAWorkspaceError, OSError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None
    verdicts: list[Verdict] = []
    took_s: list[float] = []
    renders = Renders(workspace.triggers, workspace.policies)
    for case in cases_of(workspace):
        if fits is None or fits(case.title):
            started_s = monotonic_s()
            verdicts.append(run_case(case, renders))
            took_s.append(monotonic_s() - started_s)
    if not verdicts:
        what = "no trigger has `tests`" if fits is None else "no test fits -k"
        raise CliError(ExitCode.NOT_FOUND, f"{folder}: {what}")
    untested = [one.id for one in workspace.triggers.values() if not one.tests]
    hints = [workspace.placed(trigger, problem) for trigger, problem in renders.problems()]
    return _Ran(verdicts, took_s, untested if fits is None else [], hints)


def _tell(ran: _Ran, output: Output, verbose: bool) -> ExitCode:
    from engine.testing.report import report_json, report_lines

    if output is Output.JSON:
        data_json(report_json(ran.verdicts))
    else:
        data("\n".join(report_lines(ran.verdicts, verbose=verbose)))
    talk_hints(ran.hints)
    if ran.untested:
        talk(f"without tests: {', '.join(sorted(ran.untested))}")
    passed = all(verdict.passed for verdict in ran.verdicts)
    return ExitCode.OK if passed else ExitCode.ERROR


def _write_junit(path: Path, ran: _Ran) -> None:
    from engine.testing.junit import junit_xml

    try:
        path.write_bytes(junit_xml(ran.verdicts, ran.took_s))
    except OSError as error:
        raise CliError(ExitCode.ERROR, f"cannot write {path}: {error.strerror}") from None


def _again_and_again(folder: Path, once: Callable[[], ExitCode]) -> None:
    """Until Ctrl-C; an invalid workspace is said, and waited for."""
    from engine.testing.watch import snapshot, wait_for_change

    try:
        while True:
            seen = snapshot(folder)
            try:
                once()
            except CliError as error:
                for line in error.lines:
                    talk(line)
            talk("waiting for a change (Ctrl-C ends)")
            wait_for_change(lambda: snapshot(folder), seen)
            talk("")
    except KeyboardInterrupt:
        talk("")
