"""What a run came to: for people, and as the one JSON line scripts rely on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from engine.play.player import Played
from engine.play.watcher import Seen


@dataclass(frozen=True, slots=True)
class Summary:
    """`equal` is how many decisions equal the backtest's, and how many do not (log clock)."""

    played: Played
    seen: Seen
    seconds: float
    log_clock: bool
    equal: tuple[int, int] | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The JSON line. Latencies are null with the log clock: its times are the past's."""
        seen = self.seen
        return {
            "events": self.played.events,
            "candidates": seen.candidates,
            "sent": len(seen.sent),
            "suppressed": dict(sorted(seen.suppressed.items())),
            "p50_ms": None if self.log_clock else percentile(seen.latencies_ms, 0.50),
            "p99_ms": None if self.log_clock else percentile(seen.latencies_ms, 0.99),
        }

    def lines(self) -> list[str]:
        """The human summary."""
        seen, fields = self.seen, self.fields()
        rate = self.played.events / self.seconds if self.seconds else 0.0
        why = ", ".join(f"{reason} {count:,}" for reason, count in seen.suppressed.most_common())
        ended = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.outcomes.items()))
        lines = [
            f"{self.played.events:,} events of {len(self.played.users):,} users"
            f" in {self.seconds:.1f} s ({rate:,.0f} events/s)",
            f"{seen.candidates:,} candidates: {seen.admitted:,} admitted,"
            f" {seen.suppressed.total():,} suppressed ({why or 'none'});"
            f" {seen.cancelled:,} instances cancelled in time",
            f"deliveries ended: {ended or 'none'}",
            f"{seen.arrived:,} pushes on phones (some users have two), {seen.repeated:,} of them"
            f" twice; {seen.dead_letters:,} dead letters",
        ]
        if not self.log_clock:
            lines.append(
                f"append to provider accepted: p50 {fields['p50_ms']} ms, p99 {fields['p99_ms']} ms"
            )
        if self.equal is not None:
            same, different = self.equal
            verdict = "equal the backtest's, record for record" if not different else "DIFFER"
            lines.append(f"{same:,} decisions {verdict}" + (f": {different:,}" * bool(different)))
        return lines


def percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile, None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 1)
