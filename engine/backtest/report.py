"""What a backtest prints: JSON for scripts, a summary for people."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from engine.backtest.approximate import approximate_lines
from engine.backtest.result import Result
from engine.backtest.tally import Tally, TriggerTally
from engine.backtest.timelines import Timeline, squeezed
from schemas.decisions import utc
from triggers.program import Program
from triggers.state import DAY_MS

#: Lines of the parts that grow with the history.
DAYS_SHOWN: Final = 31
COLLISIONS_SHOWN: Final = 10
ENTRIES_SHOWN: Final = 16
_BAR: Final = 30


def report_json(result: Result) -> dict[str, Any]:
    """The fields scripts rely on (language.md, Command line)."""
    return {
        "triggers": {
            name: _trigger_json(tally) for name, tally in sorted(result.tally.triggers.items())
        },
        "users": result.users,
        "events": result.tally.events,
    }


def _trigger_json(tally: TriggerTally) -> dict[str, Any]:
    return {
        "candidates": tally.candidates,
        "admitted": tally.admitted,
        "suppressed": dict(sorted(tally.suppressed.items())),
        "cancelled": tally.cancelled,
        "expired": tally.expired,
        "converted": tally.converted,
    }


def report_lines(result: Result, program: Program, seconds: float) -> list[str]:
    """The human summary; `seconds` is how long it took."""
    tally = result.tally
    rate = tally.events / seconds if seconds else 0.0
    lines = [
        f"{tally.events:,} events of {result.users:,} users in {seconds:.1f} s ({rate:,.0f}/s)"
    ]
    if tally.first_ms is not None:
        lines.append(f"from {utc(tally.first_ms)} to {utc(result.watermark_ms)}")
    lines += ["", *_triggers(tally)]
    lines += _days(tally)
    lines += _per_user(result.sent)
    lines += _collisions(tally)
    lines += _timelines(result.timelines())
    lines += _notes(result, program)
    return lines


def most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    """By count, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def day_text(day: int) -> str:
    """`2016-08-01`."""
    return utc(day * DAY_MS)[:10]


def _triggers(tally: Tally) -> list[str]:
    width = max([len(name) for name in tally.triggers] + [7])
    head = ("candidates", "admitted", "converted", "cancelled", "expired")
    lines = [f"{'trigger':<{width}} " + " ".join(f"{name:>10}" for name in head) + "  suppressed"]
    rows = sorted(tally.triggers.items())
    if len(rows) > 1:
        rows.append(("in all", _sum(tally)))
    for name, found in rows:
        counts = (found.candidates, found.admitted, found.converted, found.cancelled, found.expired)
        why = ", ".join(f"{reason} {count:,}" for reason, count in most_first(found.suppressed))
        numbers = " ".join(f"{count:>10,}" for count in counts)
        lines.append(f"{name:<{width}} {numbers}  {why or '-'}")
    return lines


def _sum(tally: Tally) -> TriggerTally:
    found = tally.triggers.values()
    return TriggerTally(
        candidates=sum(one.candidates for one in found),
        admitted=tally.admitted,
        suppressed=tally.suppressed,
        cancelled=sum(one.cancelled for one in found),
        expired=sum(one.expired for one in found),
        converted=sum(one.converted for one in found),
    )


def _days(tally: Tally) -> list[str]:
    if not tally.days:
        return []
    most = max(counts["admitted"] for counts in tally.days.values())
    lines = ["", f"{'day (UTC)':<10} {'candidates':>10} {'admitted':>10}"]
    days = sorted(tally.days)
    for day in days[:DAYS_SHOWN]:
        counts = tally.days[day]
        bar = "#" * round(_BAR * counts["admitted"] / most) if most else ""
        row = f"{day_text(day)} {counts['candidates']:>10,} {counts['admitted']:>10,}  {bar}"
        lines.append(row.rstrip())
    if len(days) > DAYS_SHOWN:
        lines.append(f"... and {len(days) - DAYS_SHOWN} more days (--html shows them)")
    return lines


def _per_user(users: Counter[int]) -> list[str]:
    if not users:
        return []
    total = users.total()
    lines = ["", "messages per user"]
    for low, high in message_bands(max(users)):
        count = sum(n for sent, n in users.items() if low <= sent <= high)
        if count:
            name = str(low) if low == high else f"{low}-{high}"
            lines.append(f"{name:>10} {count:>10,} users  {count / total:6.1%}")
    return lines


def message_bands(most: int) -> Iterable[tuple[int, int]]:
    """0, 1, 2, 3, 4, 5, 6-10, 11-20, 21-50, ... up to `most`."""
    for number in range(min(most, 5) + 1):
        yield number, number
    low = 6
    for high in (10, 20, 50, 100, 200, 500, 1000, most):
        if low > most:
            return
        if high >= low:
            yield low, high
            low = high + 1


def _collisions(tally: Tally) -> list[str]:
    if not tally.collisions:
        return []
    lines = ["", "collisions: who was kept back by whose message"]
    ranked = sorted(tally.collisions.items(), key=lambda item: (-item[1], item[0]))
    for (blocked, blocker, reason), count in ranked[:COLLISIONS_SHOWN]:
        lines.append(f"{count:>10,}  {blocked} <- {blocker}  {reason}")
    if len(ranked) > COLLISIONS_SHOWN:
        lines.append(f"... and {len(ranked) - COLLISIONS_SHOWN} more pairs")
    return lines


def _timelines(timelines: list[Timeline]) -> list[str]:
    lines: list[str] = []
    for timeline in timelines:
        lines += ["", f"user {_printable(timeline.user)}"]
        entries = squeezed(timeline.entries)
        for at_ms, trigger, what in entries[:ENTRIES_SHOWN]:
            shown = f"* {trigger}: {what}" if trigger else f"  {_printable(what)}"
            lines.append(f"  {utc(at_ms)} {shown}")
        if len(entries) > ENTRIES_SHOWN:
            lines.append(f"  ... and {len(entries) - ENTRIES_SHOWN} more")
    return ["", "sample timelines", *lines[1:]] if lines else []


def _notes(result: Result, program: Program) -> list[str]:
    lines: list[str] = []
    if result.pending:
        lines.append(f"{result.pending:,} instances are still pending (--drain fires them)")
    for (trigger, why_not), count in sorted(result.tally.unevaluated.items()):
        lines.append(f"{trigger}: {count:,} events not evaluated, {why_not}")
    for what, count in sorted((+result.tally.evicted).items()):
        lines.append(f"{count:,} of a user's {what} were pushed out by newer ones")
    if result.known_from_ms is not None:
        lines += approximate_lines(program, result.known_from_ms)
    return ["", *lines] if lines else []


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
