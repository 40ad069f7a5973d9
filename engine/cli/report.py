"""`tripline report`: what became of triggers, and what they were worth."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.common import (
    TIMEOUT_S,
    CliError,
    ExitCode,
    Output,
    OutputOption,
    TimeoutOption,
    data,
    data_json,
    fail,
    load_settings_or_fail,
)
from engine.cli.history import moment_ms

if TYPE_CHECKING:
    from engine.registry.reader import RegistryReader
    from engine.report.canaries import Canary
    from engine.report.counters import Counted
    from engine.report.document import Days, Report
    from engine.report.plans import Plan


class By(StrEnum):
    """What gets a line of its own."""

    REVISION = "revision"
    VARIANT = "variant"
    CHANNEL = "channel"
    DAY = "day"


def report(
    trigger: Annotated[
        str | None, typer.Argument(metavar="TRIGGER", help="This trigger; all by default.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="From the UTC day of a time, or of 7d ago, on.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Up to the UTC day before a time, or 1d ago.")
    ] = None,
    by: Annotated[By | None, typer.Option("--by", help="A line for each of these.")] = None,
    from_backtest: Annotated[
        list[Path] | None,
        typer.Option("--from-backtest", help="What backtest --counters wrote; may be repeated."),
    ] = None,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """The funnel of each trigger, and what experiments say.

    Live: the counters of all shards; or those of backtests, added up. An experiment is read from
    its beginning, whatever --from says.
    Exit codes: 0 told, 2 an invalid option or file, 4 no such trigger, 6 unreachable.
    """
    from engine.clock import now_ms
    from engine.report.document import report_json
    from engine.report.text import report_lines

    try:
        now = now_ms()
        days = _days(moment_ms("--from", from_, now), moment_ms("--to", to, now))
        if from_backtest:
            found = _of_files(from_backtest, days, trigger)
        else:
            found = _live(days, trigger, timeout)
        if trigger is not None and trigger not in found.triggers:
            raise CliError(ExitCode.NOT_FOUND, f"no trigger {trigger} is registered or counted")
        if output is Output.JSON:
            data_json(report_json(found))
        else:
            data("\n".join(report_lines(found, by)))
    except CliError as error:
        fail(error)


def _days(from_ms: int | None, to_ms: int | None) -> "Days":
    from engine.report.document import Days
    from triggers.state import DAY_MS

    since = None if from_ms is None else from_ms // DAY_MS
    before = None if to_ms is None else -(-to_ms // DAY_MS)
    if since is not None and before is not None and since >= before:
        raise CliError(ExitCode.INVALID, "--from is not before --to")
    return Days(since, before)


def _of_files(paths: Iterable[Path], days: "Days", trigger: str | None) -> "Report":
    from engine.report.counters import BadCounter, add_up, read_counters
    from engine.report.document import make_report
    from engine.report.saved import NotSaved, read_saved

    runs = []
    for path in paths:
        try:
            runs.append(read_saved(path.read_bytes()))
            read_counters(runs[-1].counters)
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}"
            raise CliError(ExitCode.INVALID, message) from None
        except (NotSaved, BadCounter) as error:
            raise CliError(ExitCode.INVALID, f"{path}: {error}") from None
    plans: dict[str, Mapping[int, Plan]] = {}
    for run in runs:
        for name, found in run.plans.items():
            if plans.setdefault(name, found) != found:
                message = f"--from-backtest: runs of different definitions of {name or 'policies'}"
                raise CliError(ExitCode.INVALID, message)
    rows = read_counters(add_up(run.counters for run in runs))
    return make_report(rows, plans, days, trigger)


def _live(days: "Days", trigger: str | None, timeout_s: float) -> "Report":
    from engine.cli.explain import with_store
    from engine.cli.registry import run_on_registry
    from engine.registry.operations import open_to_read
    from engine.report.counters import BadCounter, add_up, read_counters
    from engine.report.document import make_report

    settings = load_settings_or_fail()
    rows: list[Counted] = []
    plans: dict[str, Mapping[int, Plan]] = {}
    canaries: dict[str, Canary] = {}

    async def work() -> None:
        async def read(store: Any) -> None:
            shards = [await store.funnel(shard) for shard in range(settings.partitions)]
            try:
                rows.extend(read_counters(add_up(shards)))
            except BadCounter as error:
                message = f"Redis: {error}: a newer version wrote it"
                raise CliError(ExitCode.ERROR, message) from None

        await with_store(settings, timeout_s, read)
        async with open_to_read(settings, timeout_s) as reader:
            plans.update(_plans(reader, rows))
            canaries.update(_canaries(reader))

    run_on_registry(settings, work)
    return make_report(rows, plans, days, trigger, canaries)


def _canaries(reader: "RegistryReader") -> "dict[str, Canary]":
    """Those in force."""
    from engine.report.canaries import Canary
    from triggers.state import DAY_MS

    version = reader.latest
    return {
        name: Canary(
            found.canary.revision,
            found.revision,
            found.canary_share,
            found.canary.registered_at_ms // DAY_MS,
        )
        for name, found in (version.triggers.items() if version is not None else ())
        if found.canary is not None
    }


def _plans(reader: "RegistryReader", rows: "Iterable[Counted]") -> "dict[str, Mapping[int, Plan]]":
    """Of the registered triggers and of every revision that counted users."""
    from engine.report.plans import plans_of

    version = reader.latest
    if version is None:
        return {}
    revisions = {(name, found.revision) for name, found in version.triggers.items()}
    revisions |= {(row.trigger, row.revision) for row in rows if row.stage == "USERS"}
    definitions = {
        (name, revision): definition
        for name, revision in revisions
        if name and (definition := reader.definition(name, revision)) is not None
    }
    return plans_of(definitions, version.policies)
