"""`{date: traits.birthday, repeat: yearly, offset: -3d, at: "10:00", missed: skip}`: a day comes.

The day is that of the user's zone (the policy's while theirs is unknown). Without `at` a date-time
has its own time of the day and a plain date begins at midnight. Without `repeat` it comes once;
yearly it comes every year from its own on, 29 February on the 28th where there is none.

A moment counts when it lies after the date became known (told, told anew, the zone changed, the
trigger registered); `missed: send` makes up at once for one that had passed by less than 24 h when
the date was told or the zone changed. Each day comes once, also when the zone changes afterwards.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import time
from typing import Any, Literal

from pydantic import Field

from schemas.reasons import Unevaluated
from triggers.calendar import Occurrence, Rule, find_zone, next_occurrence, parse_date
from triggers.conditions import compile_filter
from triggers.fields import Clock, DatePath, OffsetMs
from triggers.names import IDENTIFY
from triggers.patterns.base import (
    Activation,
    Occasion,
    Pattern,
    PatternContext,
    PatternKind,
    Want,
    When,
    memory_of,
    remember,
)
from triggers.problems import Problem
from triggers.state import DAY_MS, UserState
from triggers.traits import UNTOLD, same_value, told_trait

KIND = "date"
OFFSET_MAX_MS = 366 * DAY_MS
#: How long after its moment a missed day may still be sent.
MISSED_MAX_MS = DAY_MS


class DateWhen(When):
    """`{date, repeat, offset, at, missed}`."""

    of_user = True
    of_event = False

    date: DatePath
    """The trait that holds the date."""
    repeat: Literal["yearly"] | None = None
    """Every year; once without it."""
    offset_ms: OffsetMs = Field(default=0, alias="offset")
    """So long after the date, or before it: -3d."""
    at: Clock | None = None
    """The time of the day in the user's zone."""
    missed: Literal["skip", "send"] = "skip"
    """What to do with a day told less than 24 h too late."""

    def cross_problems(self) -> Iterable[Problem]:
        if abs(self.offset_ms) > OFFSET_MAX_MS:
            yield Problem(("offset",), "an offset is at most 366d either way")
        elif self.at is not None and self.offset_ms % DAY_MS:
            yield Problem(("offset",), "with `at` an offset is whole days, such as -3d")


@dataclass(frozen=True, kw_only=True)
class DatePattern(Pattern):
    """Memory: `[kind, value, zone, known_ms, done_day]`: which date in which zone, since when that
    is known, and the last day that came (0 for none)."""

    kind = KIND

    trigger: str
    path: str
    rule: Rule
    missed: bool
    since_ms: int
    policy_zone: str
    wants: tuple[Want, ...]
    traits: tuple[str, ...]
    wakes: bool = True
    zoned: bool = True
    recurs: bool = False

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        """The date itself is learnt as a trait; here one that is none is counted."""
        told = told_trait(self.path, occasion.event)
        if told is UNTOLD or told is None or self._is_date(told):
            return False
        return Unevaluated.COULD_NOT_EVALUATE

    def _is_date(self, value: Any) -> bool:
        dated = parse_date(value)
        return dated is not None and (self.rule.yearly or dated.year > 0)

    def on_learnt(self, state: UserState, a: int) -> None:
        value = state.traits.get(self.path)
        kept = value if self._is_date(value) else None
        memory = memory_of(state, self.trigger, KIND)
        if memory is None:
            if kept is not None:
                remember(state, self.trigger, [KIND, kept, state.zone, a, 0])
        elif memory[2] != state.zone or not same_value(memory[1], kept):
            remember(state, self.trigger, [KIND, kept, state.zone, a, memory[4]])

    def due(self, state: UserState) -> int:
        coming = self._coming(state)
        return 0 if coming is None else max(coming.at_ms, self._known(state))

    def on_due(self, state: UserState, now_ms: int) -> tuple[Activation, ...]:
        coming = self._coming(state)
        if coming is None:
            return ()
        known = self._known(state)
        value = state.traits[self.path]
        remember(state, self.trigger, [KIND, value, state.zone, known, coming.day])
        key = f"date:{coming.day}"
        return (Activation(key, None, None, now_ms, now_ms, {}, {}),)

    def _coming(self, state: UserState) -> Occurrence | None:
        value = state.traits.get(self.path)
        if type(value) is not str:
            return None
        memory = memory_of(state, self.trigger, KIND)
        done = memory[4] if memory else 0
        known = self._known(state)
        # Registration never makes up for anything: only what was told since then may be missed.
        after = known - MISSED_MAX_MS if self.missed and known > self.since_ms else known
        zone = find_zone(state.zone) if state.zone else None
        zone = zone or find_zone(self.policy_zone) or find_zone("UTC")
        assert zone is not None  # the time zone data holds UTC
        return next_occurrence(value, self.rule, zone, max(after, self.since_ms), done)

    def _known(self, state: UserState) -> int:
        """Since when what is known now is known."""
        memory = memory_of(state, self.trigger, KIND)
        if memory is None or not same_value(memory[1], state.traits.get(self.path)):
            return self.since_ms
        return max(int(memory[3]), self.since_ms)


def _build(when: DateWhen, context: PatternContext) -> Pattern:
    days, shift_ms = divmod(abs(when.offset_ms), DAY_MS)
    sign = -1 if when.offset_ms < 0 else 1
    path = when.date.removeprefix("traits.")
    clock = None if when.at is None else time.fromisoformat(when.at)
    return DatePattern(
        trigger=context.trigger,
        path=path,
        rule=Rule(when.repeat == "yearly", sign * days, sign * shift_ms, clock),
        missed=when.missed == "send",
        since_ms=context.since_ms,
        policy_zone=context.zone,
        wants=(Want(IDENTIFY, compile_filter(None)),),
        traits=(path,),
        recurs=when.repeat is not None,
    )


DATE = PatternKind("date", DateWhen, _build)
