"""`tripline diff`: a workspace against what is registered, another folder or a commit."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.backtest import load_definitions, no_collector, refusals
from engine.cli.common import (
    TIMEOUT_S,
    CliError,
    ExitCode,
    FolderArgument,
    TimeoutOption,
    data,
    data_json,
    fail,
    load_settings_or_fail,
    talk,
)
from engine.cli.history import (
    FromOption,
    MapOption,
    SortOption,
    StrictOption,
    ToOption,
    open_history,
)

if TYPE_CHECKING:
    from engine.backtest.session import Definitions
    from engine.impact import Budgets, Difference, Impact

_OVER_MESSAGES = 3


class Format(StrEnum):
    """Formats of `diff`; markdown is for a pull request."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def diff(
    folder: FolderArgument = Path(),
    against: Annotated[
        str | None,
        typer.Option("--against", help="A folder, or git:REF; the registry by default."),
    ] = None,
    impact: Annotated[
        str | None,
        typer.Option("--impact", help="Backtest both over these events (as in backtest)."),
    ] = None,
    mapping: MapOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    sort: SortOption = False,
    strict: StrictOption = False,
    budgets: Annotated[
        Path | None,
        typer.Option("--budgets", help="Limits; budgets.yaml of the folder by default."),
    ] = None,
    over: Annotated[
        int | None,
        typer.Option("--over", min=0, help="Count users with more messages than this on a day."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="As `apply --prune`: what the folder lacks goes.")
    ] = False,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="The format of stdout.")
    ] = Format.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Show what differs, and with --impact what it would do to the messages.

    Exit codes: without --impact 0 equal, 1 different; with it 0 within the budgets, 1 over one.
    2 an invalid folder, file or ref, 6 Kafka cannot be reached.
    """
    from engine.files import Problems, pairs_of
    from engine.impact import compare, measure

    reading = {"--map": mapping, "--from": from_, "--to": to, "--sort": sort, "--strict": strict}
    try:
        if impact is None:
            _refuse({**reading, "--budgets": budgets, "--over": over})
        before, after = _sides(folder, against, timeout, prune=prune)
        with refusals():
            found = compare(before, after)
            limits = _limits(folder, budgets, before, after)
        measured = None
        if impact is not None:
            with refusals(), no_collector():
                problems = Problems(strict=strict)
                with open_history(
                    impact, mapping, problems, from_=from_, to=to, sort=sort
                ) as source:
                    limit = _over(limits, over)
                    measured = measure(before, after, pairs_of(source), over=limit)
    except CliError as error:
        fail(error)
    code = _show(found, measured, limits, output)
    if code:
        raise typer.Exit(int(code))


def _refuse(options: dict[str, object]) -> None:
    """Nothing is read or measured: what these say would be passed over."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise CliError(ExitCode.INVALID, f"{name} goes with --impact EVENTS")


def _sides(
    folder: Path, against: str | None, timeout_s: float, *, prune: bool
) -> "tuple[Definitions, Definitions]":
    if against is None:
        return _registered(folder, timeout_s, prune=prune)
    if prune:
        raise CliError(ExitCode.INVALID, "--prune is about the registry: --against compares all")
    after = load_definitions(folder, [], None)
    try:
        return _held_against(folder, against), after
    except CliError as error:
        # Both sides have files of the same names.
        lines = [f"--against {against}: {line}" for line in error.lines]
        raise CliError(error.code, lines) from None


def _held_against(folder: Path, against: str) -> "Definitions":
    if not against.startswith("git:"):
        if not Path(against).is_dir():
            raise CliError(ExitCode.INVALID, f"no folder; a commit is git:{against}")
        return load_definitions(Path(against), [], None)
    from engine.backtest.session import Definitions
    from engine.impact.registered import in_force
    from engine.impact.revisions import GitRefused, load_revision
    from engine.registry.folder import NotAWorkspaceError
    from triggers.overrides import override_policies

    with refusals():
        try:
            triggers, policies, documents = load_revision(folder, against.removeprefix("git:"))
        except GitRefused as error:
            raise CliError(ExitCode.INVALID, str(error)) from None
        except NotAWorkspaceError as error:
            talk(f"--against {against}: {error}: all of it is new")
            return in_force(None)
        return Definitions(triggers, override_policies(policies, []), documents)


def _registered(
    folder: Path, timeout_s: float, *, prune: bool
) -> "tuple[Definitions, Definitions]":
    """What is in force, and what would be after an apply."""
    from engine.cli.registry import load_folder_or_fail, run_on_registry
    from engine.impact.registered import after_apply, in_force
    from engine.registry.operations import open_to_read

    wanted = load_folder_or_fail(folder)
    settings = load_settings_or_fail()
    found: list[tuple[Definitions, Definitions]] = []

    async def work() -> None:
        async with open_to_read(settings, timeout_s) as reader:
            before = in_force(reader.latest)
            found.append((before, after_apply(reader.latest, wanted, prune=prune)))

    run_on_registry(settings, work)
    return found[0]


def _limits(
    folder: Path, path: Path | None, before: "Definitions", after: "Definitions"
) -> "Budgets":
    from engine.impact.budgets import FILE_NAME, Budgets, load_budgets

    known = {*before.triggers, *after.triggers}
    if path is not None:
        return load_budgets(path, known)
    beside = folder / FILE_NAME
    return load_budgets(beside, known) if beside.exists() else Budgets()


def _over(limits: "Budgets", over: int | None) -> int:
    """The messages a day that a user may have before being counted."""
    if over is None:
        return limits.users_over.messages if limits.users_over else _OVER_MESSAGES
    if limits.users_over and limits.users_over.messages != over:
        raise CliError(
            ExitCode.INVALID,
            f"--over {over}, but the budget is about {limits.users_over.messages} messages",
        )
    return over


def _show(
    found: "list[Difference]", impact: "Impact | None", limits: "Budgets", output: Format
) -> ExitCode:
    from engine.impact import check, report

    checked = [] if impact is None else check(limits, impact)
    if output is Format.JSON:
        fields = {"changes": report.difference_json(found)}
        measured = None if impact is None else report.impact_json(impact, checked)
        data_json({**fields, "impact": measured})
    elif output is Format.MARKDOWN:
        data(report.impact_markdown(found, impact, checked))
    else:
        data("\n".join(report.difference_lines(found)))
        if impact is not None:
            data("\n".join(["", *report.impact_lines(impact, checked)]))
    if impact is None:
        return ExitCode.ERROR if found else ExitCode.OK
    over = [one for one in checked if not one.ok]
    for one in over:
        talk(f"over budget: {one.budget}")
    return ExitCode.ERROR if over else ExitCode.OK
