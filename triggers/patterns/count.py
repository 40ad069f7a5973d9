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
from triggers.patterns.recent import Recent, is_recent, mark_of, recent_until, remember_recent
from triggers.problems import Problem
from triggers.state import MEMORY_MS, UserState

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
class CountPattern(Pattern):
    """Memory: `[kind, {group: [entry]}, recent]`; a group is a `per` value and one of `same`."""

    kind: ClassVar[str] = "count"

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
            self._bound(groups, group, a, evicted)
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

    def _bound(
        self, groups: dict[str, list[Entry]], group: str, a: int, evicted: Counter[str]
    ) -> None:
        self._drop_old(groups, a)
        entries = groups.get(group, [])
        if len(entries) > self.count + SPARE_MAX:
            del entries[0]
            evicted["counted"] += 1
        held = sum(map(len, groups.values()))
        while len(groups) > 1 and (len(groups) > GROUPS_MAX or held > ENTRIES_MAX):
            oldest = min(groups, key=lambda name: (groups[name][-1][0], name))
            held -= len(groups.pop(oldest))
            evicted["counted"] += 1

    def _drop_old(self, groups: dict[str, list[Entry]], now_ms: int) -> None:
        for name in list(groups):
            kept = [x for x in groups[name] if self._until(x) > now_ms]
            if kept:
                groups[name] = kept
            else:
                del groups[name]

    def _until(self, entry: Entry) -> int:
        """An event may be 24 h late (design.md T4): so long an entry can be counted with it."""
        return int(entry[0]) + self.within_ms + MEMORY_MS

    def keeps_until(self, memory: list[Any]) -> int:
        latest = recent_until(memory[2])
        return max([latest, *(self._until(x) for group in memory[1].values() for x in group)])

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = state.patterns[self.trigger]
        self._drop_old(memory[1], now_ms)
        if recent_until(memory[2]) <= now_ms:
            memory[2].clear()
        if not memory[1] and not memory[2]:
            del state.patterns[self.trigger]


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
