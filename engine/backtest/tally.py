"""Counting what was decided: per trigger, per day, per user, and who stood in whose way."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from engine.backtest.users import Slot
from schemas.decisions import Decision
from schemas.outcomes import OutcomeRow, Reaction
from schemas.reasons import Outcome, Reason, Unevaluated
from triggers.arms import CONTROL
from triggers.exposure import GLOBAL_ARM
from triggers.program import Program
from triggers.state import DAY_MS

#: Reasons that are another message's doing.
_BLOCKED: Final = frozenset({Reason.SPACING, Reason.FREQUENCY_CAP, Reason.LOWER_PRIORITY})


def earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    """The lesser of two times that may not be known."""
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)


@dataclass(slots=True)
class TriggerTally:
    """What became of one trigger. `days`: sends per UTC day since 1970."""

    candidates: int = 0
    admitted: int = 0
    suppressed: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    expired: int = 0
    converted: int = 0
    days: Counter[int] = field(default_factory=Counter)

    def add(self, other: "TriggerTally") -> None:
        """Add what became of it among other users."""
        self.candidates += other.candidates
        self.admitted += other.admitted
        self.suppressed.update(other.suppressed)
        self.cancelled += other.cancelled
        self.expired += other.expired
        self.converted += other.converted
        self.days.update(other.days)


@dataclass(slots=True)
class Tally:
    """What became of a history.

    `days`: candidates, sends and each reason per UTC day. `user_days`: how many users' days had so
    many messages. `collisions`: (trigger kept back, trigger it met, reason).
    """

    events: int = 0
    first_ms: int | None = None
    triggers: dict[str, TriggerTally] = field(default_factory=dict)
    days: dict[int, Counter[str]] = field(default_factory=dict)
    user_days: Counter[int] = field(default_factory=Counter)
    collisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unevaluated: Counter[tuple[str, Unevaluated]] = field(default_factory=Counter)
    evicted: Counter[str] = field(default_factory=Counter)

    def count(self, decision: Decision, slot: Slot, program: Program) -> None:
        """Add one ended activation. Those of a user come in the order of their decision times."""
        tally = self.triggers.get(decision.trigger)
        if tally is None:
            tally = self.triggers[decision.trigger] = TriggerTally()
        if decision.outcome is Outcome.CANCELLED:
            tally.cancelled += 1
            return
        tally.candidates += 1
        day = decision.at_ms // DAY_MS
        counts = self.days.get(day)
        if counts is None:
            counts = self.days[day] = Counter()
        counts["candidates"] += 1
        if decision.outcome is Outcome.ADMITTED:
            tally.admitted += 1
            tally.days[day] += 1
            counts["admitted"] += 1
            self._sent(decision, slot, day)
            trigger = program.triggers.get(decision.trigger)
            if trigger is not None and trigger.marketing:
                slot.last = decision.trigger
        elif decision.outcome is Outcome.EXPIRED:
            tally.expired += 1
        else:
            # One that went into the message of another has no reason but its outcome: BUNDLED.
            reason = (decision.reason or decision.outcome).value
            tally.suppressed[reason] += 1
            counts[reason] += 1
            if decision.reason is Reason.GLOBAL_CONTROL:
                # The ghost blocks what comes after it as a message would.
                slot.last = decision.trigger
            if decision.reason in _BLOCKED and slot.last is not None:
                self.collisions[decision.trigger, slot.last, reason] += 1

    def follow(self, row: OutcomeRow) -> None:
        """Add what became of a message; what the control groups did is no conversion."""
        if row.kind == Reaction.CONVERTED and row.variant not in (CONTROL, GLOBAL_ARM):
            self.triggers[row.trigger].converted += 1

    def _sent(self, decision: Decision, slot: Slot, day: int) -> None:
        slot.sent += 1
        if slot.day != day:
            slot.day, slot.day_sent = day, 0
        elif slot.day_sent:
            self.user_days[slot.day_sent] -= 1
        slot.day_sent += 1
        self.user_days[slot.day_sent] += 1
        slot.day_most = max(slot.day_most, slot.day_sent)

    def add(self, other: "Tally") -> None:
        """Add what became of other users."""
        self.events += other.events
        self.first_ms = earlier(self.first_ms, other.first_ms)
        for name, found in other.triggers.items():
            self.triggers.setdefault(name, TriggerTally()).add(found)
        for day, counts in other.days.items():
            self.days.setdefault(day, Counter()).update(counts)
        self.user_days.update(other.user_days)
        self.collisions.update(other.collisions)
        self.unevaluated.update(other.unevaluated)
        self.evicted.update(other.evicted)

    @property
    def admitted(self) -> int:
        """Sends of all triggers."""
        return sum(tally.admitted for tally in self.triggers.values())

    @property
    def suppressed(self) -> Counter[str]:
        """Candidates of all triggers that were not sent, by reason."""
        total: Counter[str] = Counter()
        for tally in self.triggers.values():
            total.update(tally.suppressed)
        return total
