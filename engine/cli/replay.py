"""`tripline replay`: the live log decided again, held against what was decided."""

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
    from collections.abc import Iterable

    from engine.explain.comparing import Row
    from engine.explain.replay import Range, Replayed
    from engine.settings import Settings

_SHOWN = ("at", "user", "trigger", "activation", "outcome", "reason", "revision", "delivery_id")


def replay(
    from_: Annotated[
        str | None, typer.Option("--from", help="Compare from here: a time, or 2h ago.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Compare up to here: a time, or 1h ago.")
    ] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", min=0, help="This shard only; all by default.")
    ] = None,
    trigger: Annotated[
        str | None, typer.Option("--trigger", "-t", help="Compare this trigger only.")
    ] = None,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> int:
    """Decide the log again with a store in memory and compare with the decisions topic.

    The log is read from its beginning, whatever the range: the state at a moment is made by what
    came before. Changes nothing.
    Exit codes: 0 equal, 1 differences, 2 an invalid option, 6 unreachable.
    """
    from engine.cli.explain import with_store
    from engine.cli.registry import run_on_registry
    from engine.clock import now_ms
    from engine.explain.replay import Range
    from engine.explain.replay import replay as decide_again

    settings = load_settings_or_fail(("log_secret",))
    shards = _shards(settings, shard)
    now = now_ms()
    try:
        wanted = Range(
            moment_ms("--from", from_, now),
            moment_ms("--to", to, now),
            trigger,
        )
    except CliError as error:
        fail(error)
    found: list[Replayed] = []

    async def work() -> None:
        async def read(store: Any) -> None:
            found.extend(await decide_again(settings, store, shards, wanted, timeout))

        await with_store(settings, timeout, read)

    run_on_registry(settings, work)
    if output is Output.JSON:
        data_json(replay_json(found, wanted))
    else:
        data("\n".join(replay_lines(found)))
    different = sum(one.comparison.different for one in found)
    return int(ExitCode.ERROR if different else ExitCode.OK)


def _shards(settings: "Settings", shard: int | None) -> list[int]:
    if shard is None:
        return list(range(settings.partitions))
    if shard >= settings.partitions:
        message = f"--shard {shard}: there are {settings.partitions}, from 0"
        fail(CliError(ExitCode.INVALID, message))
    return [shard]


def replay_json(found: "Iterable[Replayed]", wanted: "Range") -> dict[str, Any]:
    """Without `version`, which every JSON output has."""
    from schemas.decisions import utc

    shards = [
        {
            "shard": one.shard,
            "records": one.records,
            "end": one.end,
            "approximate": one.approximate,
            "equal": one.comparison.equal,
            "different": one.comparison.different,
            "repeated": one.comparison.repeated,
            "differences": [difference._asdict() for difference in one.comparison.differences],
        }
        for one in found
    ]
    return {
        "from": None if wanted.from_ms is None else utc(wanted.from_ms),
        "to": None if wanted.to_ms is None else utc(wanted.to_ms),
        "trigger": wanted.trigger,
        "equal": sum(one["equal"] for one in shards),
        "different": sum(one["different"] for one in shards),
        "shards": shards,
    }


def replay_lines(found: "Iterable[Replayed]") -> "Iterable[str]":
    """A line a shard, its first differences below it, and the sum."""
    equal = different = 0
    for one in found:
        result = one.comparison
        equal, different = equal + result.equal, different + result.different
        yield (
            f"shard {one.shard}: {one.records} records, {result.equal} decisions equal, "
            f"{result.different} different"
            + (f", {result.repeated} recorded twice" if result.repeated else "")
            + (" (approximate: the log's beginning is gone)" if one.approximate else "")
        )
        for difference in result.differences:
            yield f"  recorded  {_row(difference.recorded)}"
            yield f"  again     {_row(difference.again)}"
    yield f"{equal} decisions equal, {different} different"


def _row(row: "Row | None") -> str:
    if row is None:
        return "nothing"
    text = " ".join(str(row.get(name)) for name in _SHOWN if row.get(name) is not None)
    return "".join(character if character.isprintable() else "?" for character in text)
