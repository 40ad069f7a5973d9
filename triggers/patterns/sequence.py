"""`{sequence: [{event: A}, {event: B, where: {...: $start...}}], within: 1h}`: in order.

The order is that of client time, and of the log where client times are equal; an event that
reaches the log late takes its place. The last step happens less than `within` after the first.
Other events between the steps do not matter. Of several first events the earliest counts; a
completed sequence clears the steps of its `per` value, so that no event serves twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from schemas.events import Event
from schemas.reasons import Unevaluated
from triggers.conditions import Filter, compile_filter
from triggers.fields import EventNames, WhereOfStart, WindowMs
from triggers.filters import START
from triggers.keeping import compile_keeper
from triggers.model import Model
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
from triggers.patterns.recent import Recent, is_recent, mark_of, remember_recent
from triggers.patterns.windowed import WindowedPattern
from triggers.problems import Problem
from triggers.state import UserState

STEPS_MAX = 10
#: Matched steps kept of one `per` value, and values kept of one user.
MATCHES_MAX = 64
VALUES_MAX = 32
#: Matched steps kept of all values of a user together.
MATCHES_ALL_MAX = 512

#: `[step, e, messageId, fields]`; a list of them is in log order.
Match = list[Any]


class Step(Model):
    """One event of a sequence; from the second on `where` may refer to `$start`."""

    row = "step"

    events: EventNames = Field(alias="event")
    """The event of this step, or a list of them."""
    where: WhereOfStart | None = None
    """Only if this holds; from the second step on a value may be `$start.<path>`."""


class SequenceWhen(When):
    """`{sequence: [step, step, ...], within}`."""

    sequence: Annotated[tuple[Step, ...], Field(min_length=2, max_length=STEPS_MAX)]
    """The steps, in order of the phone's time; other events between do not matter."""
    within_ms: WindowMs = Field(alias="within")
    """The last step happens less than this after the first."""

    @property
    def start_paths(self) -> tuple[str, ...]:
        filters = [_compiled(step) for step in self.sequence]
        return tuple(dict.fromkeys(path for f in filters for path in f.start_paths))

    def cross_problems(self) -> Iterable[Problem]:
        for path in _compiled(self.sequence[0]).start_paths:
            message = f"`$start.{path}` is this event itself: name its path in a condition"
            yield Problem(("sequence", 0, "where"), message)


@dataclass(frozen=True, kw_only=True)
class SequencePattern(WindowedPattern):
    """Memory: `[kind, {per: [match]}, recent]`. `steps` tells the step of a want, `kept` reads what
    is kept of the event of a step."""

    kind: ClassVar[str] = "sequence"
    e_at: ClassVar[int] = 1
    groups_max: ClassVar[int] = VALUES_MAX
    entries_max: ClassVar[int] = MATCHES_ALL_MAX
    evicts: ClassVar[str] = "steps"

    trigger: str
    within_ms: int
    wants: tuple[Want, ...]
    steps: tuple[int, ...]
    filters: tuple[Filter, ...]
    kept: tuple[Callable[[Event], dict[str, Any]], ...]
    event_paths: frozenset[str]

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        event, per, e, a = occasion
        step = self.steps[want]
        memory = memory_of(state, self.trigger, self.kind)
        values: dict[str, list[Match]] = memory[1] if memory else {}
        recent: Recent = memory[2] if memory else []
        mark = mark_of(event.message_id, str(step))
        if is_recent(recent, mark, a):
            return False
        evicted["recent"] += remember_recent(recent, mark, a)
        matches = values.setdefault(per, [])
        matches.append([step, e, event.message_id, self.kept[step](event)])
        remember(state, self.trigger, [self.kind, values, recent])
        chain = self._chain(matches)
        if chain is None:
            self.bound(values, per, MATCHES_MAX, a, evicted)
            return True
        del values[per]
        # Used up: the event is not to take another step of the next sequence (decision 0006).
        for other in self._steps_of(self.wants[want].name):
            mark = mark_of(event.message_id, str(other))
            if not is_recent(recent, mark, a):
                evicted["recent"] += remember_recent(recent, mark, a)
        first, last = chain
        return Activation(
            key=first[2],
            start=first[2],
            event=last[2],
            start_e=first[1],
            e=last[1],
            start_fields=first[3],
            event_fields={p: v for p, v in last[3].items() if p in self.event_paths},
        )

    def _steps_of(self, name: str) -> list[int]:
        return [
            step for want, step in zip(self.wants, self.steps, strict=True) if want.name == name
        ]

    def _chain(self, matches: list[Match]) -> tuple[Match, Match] | None:
        """The first and the last match of the earliest complete sequence."""
        ordered = sorted(matches, key=lambda match: match[1])
        for number, first in enumerate(ordered):
            if first[0] == 0:
                last = self._last(first, ordered[number + 1 :])
                if last is not None:
                    return first, last
        return None

    def _last(self, first: Match, later: list[Match]) -> Match | None:
        """The match that completes what `first` begins, taking the earliest for each step."""
        step, before = 1, first
        for match in later:
            if match[1] - first[1] >= self.within_ms:
                return None
            if match[0] != step or match[2] == before[2]:
                continue
            dynamic = self.filters[step].dynamic
            if dynamic is not None and dynamic(match[3], first[3]) is not True:
                continue
            step, before = step + 1, match
            if step == len(self.filters):
                return match
        return None


def _compiled(step: Step) -> Filter:
    return compile_filter(step.where, references=(START,))


def _build(when: SequenceWhen, context: PatternContext) -> Pattern:
    filters = tuple(_compiled(step) for step in when.sequence)
    last = len(filters) - 1
    kept = [context.keep_start]
    for number, found in enumerate(filters[1:], start=1):
        paths = found.event_paths + (context.event_paths if number == last else ())
        kept.append(compile_keeper(paths))
    # Later steps first: an event that may be several belongs to the sequence that began earliest.
    numbered = [(number, name) for number, step in enumerate(when.sequence) for name in step.events]
    numbered.reverse()
    return SequencePattern(
        trigger=context.trigger,
        within_ms=when.within_ms,
        wants=tuple(Want(name, filters[number]) for number, name in numbered),
        steps=tuple(number for number, _ in numbered),
        filters=filters,
        kept=tuple(kept),
        event_paths=frozenset(context.event_paths),
    )


SEQUENCE = PatternKind("sequence", SequenceWhen, _build)
