"""`{event, where, count: 3, within: 24h, distinct: path, same: path}`: so many in a window.

The window is half open and rolls with client time: events at t0 and t count together while
t - t0 < `within` (as spacing and caps, language.md "Windows"). An event that reaches the log late
completes any window that it lies in. Firing clears what was counted for the value of `same`.
`distinct` counts different values instead of events; the first one counted is `$start`.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictInt

from schemas.events import Event
from schemas.reasons import Unevaluated
from triggers.conditions import compile_filter
from triggers.fields import EventNames, PathToOne, Where, WindowMs
from triggers.paths import Reader, compile_path, key_of
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

COUNT_MAX = 100
GROUPS_MAX = 32
#: Events kept of a group beyond the count itself: late ones may still complete their windows.
SPARE_MAX = 32
#: Events kept of all groups of a user together.
ENTRIES_MAX = 512

#: `[e, messageId, value, fields]`
Entry = list[Any]


class CountWhen(When):
    """`{event, where, count, within, distinct, same}`: a count in a rolling window."""

    events: EventNames = Field(alias="event")
    """The event that is counted, or a list of them."""
    where: Where | None = None
    """Only if this holds."""
    count: Annotated[StrictInt, Field(ge=2, le=COUNT_MAX)]
    """So many of them complete the pattern, and the count begins anew."""
    within_ms: WindowMs = Field(alias="within")
    """In any window of this length."""
    distinct: PathToOne | None = None
    """Count the different values at this path instead of events."""
    same: PathToOne | None = None
    """Count for each value at this path by itself."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.distinct is not None and self.distinct == self.same:
            message = "`distinct` and `same` name the same path: it can never be reached"
            yield Problem(("distinct",), message)


@dataclass(frozen=True, kw_only=True)
class CountPattern(WindowedPattern):
    """Memory: `[kind, {group: [entry]}, recent]`; a group is a `per` value and one of `same`."""

    kind: ClassVar[str] = "count"
    e_at: ClassVar[int] = 0
    groups_max: ClassVar[int] = GROUPS_MAX
    entries_max: ClassVar[int] = ENTRIES_MAX
    evicts: ClassVar[str] = "counted"

    trigger: str
    count: int
    within_ms: int
    distinct: Reader | None
    same: Reader | None
    wants: tuple[Want, ...]
    keep_start: Callable[[Event], dict[str, Any]]
    keep_event: Callable[[Event], dict[str, Any]]

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        event, per, e, a = occasion
        value = "" if self.distinct is None else key_of(self.distinct(event))
        same = "" if self.same is None else key_of(self.same(event))
        if value is None or same is None:
            return Unevaluated.PER_MISSING
        memory = memory_of(state, self.trigger, self.kind)
        groups: dict[str, list[Entry]] = memory[1] if memory else {}
        recent: Recent = memory[2] if memory else []
        mark = mark_of(event.message_id)
        if is_recent(recent, mark, a):
            return False
        evicted["recent"] += remember_recent(recent, mark, a)
        group = f"{per}\x1e{same}"
        entries = groups.setdefault(group, [])
        entries.append([e, event.message_id, value, self.keep_start(event)])
        entries.sort(key=lambda entry: entry[0])
        remember(state, self.trigger, [self.kind, groups, recent])
        first = self._first(entries, e)
        if first is None:
            self.bound(groups, group, self.count + SPARE_MAX, a, evicted)
            return True
        del groups[group]
        return Activation(
            key=first[1],
            start=first[1],
            event=event.message_id,
            start_e=first[0],
            e=e,
            start_fields=first[3],
            event_fields=self.keep_event(event),
        )

    def _first(self, entries: list[Entry], e: int) -> Entry | None:
        """The first entry of the earliest window with `e` in it that holds enough."""
        for number, first in enumerate(entries):
            if first[0] > e:
                return None
            if e - first[0] >= self.within_ms:
                continue
            window = [x for x in entries[number:] if x[0] - first[0] < self.within_ms]
            found = len({x[2] for x in window}) if self.distinct else len(window)
            if found >= self.count:
                return first
        return None


def _build(when: CountWhen, context: PatternContext) -> Pattern:
    compiled = compile_filter(when.where)
    return CountPattern(
        trigger=context.trigger,
        count=when.count,
        within_ms=when.within_ms,
        distinct=compile_path(when.distinct) if when.distinct else None,
        same=compile_path(when.same) if when.same else None,
        wants=tuple(Want(name, compiled) for name in when.events),
        keep_start=context.keep_start,
        keep_event=context.keep_event,
    )


COUNT = PatternKind("count", CountWhen, _build, wider=frozenset({"event"}))
