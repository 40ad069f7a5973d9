"""What a scenario may excuse, and what a check has counted."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the fault of a scenario excuses.

    `in_flight_max`: deliveries that may have been under way at senders' kills in all; so many may
    end UNKNOWN. `twice_max`: those of them whose claim the store may have lost as well: they may
    have been accepted twice, or accepted and then ended as if not. `rolled_back`: the store went
    back in time, so commits and their outbox entries were made anew.
    `paused`: OFFER was paused for a while. `senders`: deliveries were sent at all.
    """

    in_flight_max: int = 0
    twice_max: int = 0
    rolled_back: bool = False
    paused: bool = False
    senders: bool = True


@dataclass(slots=True)
class Findings:
    """What was counted on the way. `held`: those whose hold was waited for; `released`: those of
    them whose hours opened. `only_for`: refusals that one limit alone explains."""

    events: int = 0
    expected: int = 0
    cancelled: int = 0
    admitted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    twice: int = 0
    misled: int = 0
    unknown: int = 0
    repeats: int = 0
    again: int = 0
    dead_letters: int = 0
    merges: int = 0
    held: int = 0
    released: int = 0
    ghosts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    only_for: Counter[str] = field(default_factory=Counter)


def log_ms(text: str) -> int:
    """Milliseconds since the epoch of a decision record's `at`."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
