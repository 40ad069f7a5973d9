"""What a backtest prints, and the decision file it writes."""

from collections.abc import Iterable
from typing import IO, Any

import msgspec

from engine.backtest.run import Backtest, TriggerTally
from schemas.decisions import Decision, decision_order, decision_row


def write_decisions(out: IO[bytes], decisions: Iterable[Decision]) -> int:
    """One JSON object per ended activation, sorted by (at, user, trigger, activation)."""
    count = 0
    for decision in sorted(decisions, key=decision_order):
        out.write(msgspec.json.encode(decision_row(decision)) + b"\n")
        count += 1
    return count


def report_json(backtest: Backtest) -> dict[str, Any]:
    """The fields scripts rely on. `converted` is null until goals are attributed."""
    return {
        "triggers": {
            name: _trigger_json(tally) for name, tally in sorted(backtest.tally.triggers.items())
        },
        "users": backtest.users,
        "events": backtest.tally.events,
    }


def _trigger_json(tally: TriggerTally) -> dict[str, Any]:
    return {
        "candidates": tally.candidates,
        "admitted": tally.admitted,
        "suppressed": dict(sorted(tally.suppressed.items())),
        "cancelled": tally.cancelled,
        "expired": tally.expired,
        "converted": None,
    }


def report_lines(backtest: Backtest, seconds: float) -> list[str]:
    """The human summary."""
    tally = backtest.tally
    rate = tally.events / seconds if seconds else 0.0
    lines = [
        f"{tally.events:,} events of {backtest.users:,} users in {seconds:.1f} s ({rate:,.0f}/s)",
        "",
        f"{'trigger':<32} {'candidates':>10} {'admitted':>10} {'cancelled':>10}  suppressed",
    ]
    for name, found in sorted(tally.triggers.items()):
        why = ", ".join(f"{reason} {count:,}" for reason, count in found.suppressed.most_common())
        lines.append(
            f"{name:<32} {found.candidates:>10,} {found.admitted:>10,} {found.cancelled:>10,}"
            f"  {why or '-'}"
        )
    if backtest.pending:
        lines.append(f"\n{backtest.pending:,} instances are still pending (--drain fires them)")
    for (trigger, why_not), count in sorted(tally.unevaluated.items()):
        lines.append(f"{trigger}: {count:,} events not evaluated, {why_not}")
    return lines
