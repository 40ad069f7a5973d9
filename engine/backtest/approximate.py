"""Where history before the first record would matter: what a backtest cannot know."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from schemas.decisions import utc
from triggers.durations import format_duration
from triggers.program import CompiledTrigger, Program
from triggers.windows import cap_reach_ms


class LookBack(NamedTuple):
    """`what` looks back `ms` milliseconds; `triggers` it holds for."""

    what: str
    ms: int
    triggers: tuple[str, ...]


def look_backs(program: Program) -> list[LookBack]:
    """Everything a verdict of this program reads from the past, the furthest first."""
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    for trigger in program.triggers.values():
        for what, ms in _of_trigger(trigger):
            if ms > 0:
                found[what, ms].append(trigger.id)
    rows = [LookBack(what, ms, tuple(sorted(ids))) for (what, ms), ids in found.items()]
    return sorted(rows, key=lambda row: (-row.ms, row.what))


def _of_trigger(trigger: CompiledTrigger) -> Iterator[tuple[str, int]]:
    yield "cooldown", max(trigger.cooldown_user_ms, trigger.cooldown_per_ms)
    yield "idle", trigger.pattern.idle_ms
    yield "wait", max((step.after_ms for step in trigger.steps), default=0)
    # Patterns with a window (count, sequence) call it so; the others look at one event.
    yield "window", getattr(trigger.pattern, "within_ms", 0)
    if trigger.marketing:
        yield "spacing", trigger.policy.spacing_ms
        for cap in trigger.policy.caps:
            if cap.category not in (None, trigger.category):
                continue
            yield f"cap of {cap.max_count}", cap_reach_ms(cap)
    if trigger.rotation is not None:
        yield "rotation", trigger.rotation.no_repeat_ms


def approximate_lines(program: Program, first_ms: int) -> list[str]:
    """For a person: until when the numbers are approximate, and because of what."""
    rows = look_backs(program)
    if not rows:
        return []
    until = utc(first_ms + rows[0].ms)
    lines = [
        f"approximate until {until}: what happened before the first event ({utc(first_ms)}) is not "
        "known, and these look back:"
    ]
    for row in rows:
        some = ", ".join(row.triggers[:3]) + (", ..." if len(row.triggers) > 3 else "")
        lines.append(f"  {row.what} {format_duration(row.ms)} ({some})")
    return lines
