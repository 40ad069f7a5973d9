"""Computed features: what a user's events add up to, for audiences to ask.

`FeatureDefinition` is one of `features:` in segments.yaml, or what a `did` of an audience counts;
`make_feature` gives the `Feature` that notes events and answers `value(state, at_ms)`. The rules:

- Events count by client time, in whatever order they come; a messageId counts once in 24 h.
- Windows are half open: something at t0 counts while t - t0 < `within`. Without `within`: for ever.
- Memory is bounded. A count or a number of distinct values is exact up to the largest number that
  an audience compares it with (`keep`), and at least up to 32. The top value is the most frequent
  of the newest 100 occurrences; of equally frequent ones the one seen last.

Equal definitions share one memory: the key is a hash of what is computed, so an edit of a feature
begins anew.
"""

import json
from base64 import urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictStr

from schemas.events import ID_CHARS_MAX, Event
from triggers.conditions import compile_filter
from triggers.fields import EventNames, Where, WindowMs
from triggers.model import Model
from triggers.notes import Note, NoteWant
from triggers.paths import MISSING, Many, check_path, compile_path, is_wild
from triggers.problems import Problem
from triggers.state import MEMORY_MS, UserState, storable

KEEP_MIN = 32
#: The largest number a count may be compared with.
COUNT_MAX = 1000
TOP_MAX = 100
#: Distinct values noted of one event.
VALUES_PER_EVENT_MAX = 100

_NUMERIC = ("count", "distinct")


def _check_path(value: str) -> str:
    problem = check_path(value)
    if problem is not None:
        raise ValueError(problem)
    return value


class FeatureDefinition(Model):
    """`{compute, event, where, of, within}`: the number of events, the last value at a path, the
    number of distinct values at it, or the most frequent one."""

    compute: Literal["count", "last", "distinct", "top"]
    """What to compute."""
    events: EventNames = Field(alias="event")
    """An event name, or several."""
    where: Where | None = None
    """Only these events."""
    of: Annotated[StrictStr, AfterValidator(_check_path)] | None = None
    """The path of the value; not for `count`."""
    within_ms: WindowMs | None = Field(default=None, alias="within")
    """Only in this window before now; without it for ever."""

    @property
    def is_number(self) -> bool:
        """It is compared with numbers, of which the largest bounds its memory."""
        return self.compute in _NUMERIC

    def cross_problems(self) -> Iterable[Problem]:
        if self.compute == "count" and self.of is not None:
            yield Problem(("of",), "`count` counts events: no `of`", at_key=True)
        elif self.compute != "count" and self.of is None:
            yield Problem((), f"`{self.compute}` needs `of`: the path to the value")
        elif self.compute == "last" and self.of is not None and is_wild(self.of):
            yield Problem(("of",), "`last` is about one value: '*' is not possible here")

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; validating it gives an equal definition."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def key(self) -> str:
        """Under which its memory is kept: the same for equal definitions only."""
        text = json.dumps(self.to_document(), sort_keys=True).encode()
        return urlsafe_b64encode(blake2b(text, digest_size=9).digest()).decode()


class Feature(Note):
    """A feature ready to note and to answer. `keep`: up to which number it is exact."""

    __slots__ = ("_reach_ms", "_read", "keep", "within_ms")

    def __init__(self, definition: FeatureDefinition) -> None:
        want = NoteWant(definition.events, compile_filter(definition.where))
        super().__init__(definition.key, (want,))
        self._read = None if definition.of is None else compile_path(definition.of)
        self.within_ms = definition.within_ms or 0
        #: A decision lies at most 24 h before the log time (design.md T1, T4).
        self._reach_ms = self.within_ms + MEMORY_MS
        self.keep = KEEP_MIN

    def value(self, state: UserState, at_ms: int) -> Any:
        """What an audience compares at decision time `at_ms`; MISSING when there is nothing."""
        raise NotImplementedError

    def note(
        self, state: UserState, want: int, event: Event, e: int, a: int, evicted: Counter[str]
    ) -> bool:
        if self.within_ms and e + self._reach_ms <= a:
            return True
        memory = state.features.get(self.key, [])
        values, right = self._values(event)
        for value in values:
            self._add(memory, value, e)
        if memory:
            state.features[self.key] = memory
            self._drop_expired(memory, a)
        return right

    def keeps_until(self, state: UserState) -> int:
        if not self.within_ms:
            return 0
        return self._newest(state.features[self.key]) + self._reach_ms

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = state.features[self.key]
        self._drop_expired(memory, now_ms)
        if not memory:
            del state.features[self.key]

    def absorb(self, state: UserState, moved: UserState, a: int, evicted: Counter[str]) -> None:
        other = moved.features.get(self.key)
        if other:
            memory = state.features.setdefault(self.key, [])
            self._unite(memory, other)

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        raise NotImplementedError

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        raise NotImplementedError

    def _newest(self, memory: list[Any]) -> int:
        raise NotImplementedError

    def _drop_before(self, memory: list[Any], oldest_ms: int) -> None:
        """Drop what is older than `oldest_ms`."""
        raise NotImplementedError

    def _drop_expired(self, memory: list[Any], now_ms: int) -> None:
        if self.within_ms:
            self._drop_before(memory, now_ms - self._reach_ms + 1)

    def _floor(self, at_ms: int) -> int:
        """The earliest client time that counts at `at_ms`."""
        return at_ms - self.within_ms + 1 if self.within_ms else 0

    def _values(self, event: Event) -> tuple[list[Any], bool]:
        """The values at the path, and whether all of them can be kept."""
        if self._read is None:
            return [None], True
        found = self._read(event)
        if found is MISSING or found is None:
            return [], True
        listed = list(found)[:VALUES_PER_EVENT_MAX] if type(found) is Many else [found]
        values = [value for value in listed if value is not None]
        kept = [storable(value) for value in values if _is_kept(value)]
        return kept, len(kept) == len(values)


class _Count(Feature):
    """Memory: the newest client times, sorted."""

    __slots__ = ()

    def value(self, state: UserState, at_ms: int) -> Any:
        times = state.features.get(self.key, ())
        return len(times) - bisect_left(times, self._floor(at_ms))

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        insort(memory, e)
        del memory[: -self.keep]

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        for e in other:
            self._add(memory, None, e)

    def _newest(self, memory: list[Any]) -> int:
        return int(memory[-1])

    def _drop_before(self, memory: list[Any], oldest_ms: int) -> None:
        del memory[: bisect_left(memory, oldest_ms)]


class _CountEver(Feature):
    """Memory: the number."""

    __slots__ = ()

    def value(self, state: UserState, at_ms: int) -> Any:
        memory = state.features.get(self.key)
        return memory[0] if memory else 0

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        memory[:] = [memory[0] + 1 if memory else 1]

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        memory[:] = [(memory[0] if memory else 0) + other[0]]


class _Last(Feature):
    """Memory: the latest client time and its value; of equal times the later in the log."""

    __slots__ = ()

    def value(self, state: UserState, at_ms: int) -> Any:
        memory = state.features.get(self.key)
        return memory[1] if memory and memory[0] >= self._floor(at_ms) else MISSING

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        if not memory or e >= memory[0]:
            memory[:] = [e, value]

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        self._add(memory, other[1], other[0])

    def _newest(self, memory: list[Any]) -> int:
        return int(memory[0])

    def _drop_before(self, memory: list[Any], oldest_ms: int) -> None:
        if memory and memory[0] < oldest_ms:
            memory.clear()


class _Distinct(Feature):
    """Memory: one mapping, from a hash of the value to the latest client time it was seen at."""

    __slots__ = ()

    def value(self, state: UserState, at_ms: int) -> Any:
        memory = state.features.get(self.key)
        if not memory:
            return 0
        floor = self._floor(at_ms)
        return sum(1 for at in memory[0].values() if at >= floor)

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        self._see(memory, _hash_of(value), e)

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        for name, e in other[0].items():
            self._see(memory, name, e)

    def _see(self, memory: list[Any], name: int, e: int) -> None:
        if not memory:
            memory.append({})
        seen = memory[0]
        seen[name] = max(e, seen.get(name, 0))
        if len(seen) > self.keep:
            del seen[min(seen, key=lambda name: (seen[name], name))]

    def _newest(self, memory: list[Any]) -> int:
        return int(max(memory[0].values()))

    def _drop_before(self, memory: list[Any], oldest_ms: int) -> None:
        if memory:
            memory[0] = {name: at for name, at in memory[0].items() if at >= oldest_ms}
            if not memory[0]:
                memory.clear()


class _Top(Feature):
    """Memory: `[time, value]` of the newest occurrences, by time, then log order."""

    __slots__ = ()

    def value(self, state: UserState, at_ms: int) -> Any:
        floor = self._floor(at_ms)
        counts: dict[str, int] = {}
        latest: dict[str, tuple[int, Any]] = {}
        for number, (at, value) in enumerate(state.features.get(self.key, ())):
            if at >= floor:
                name = _name_of(value)
                counts[name] = counts.get(name, 0) + 1
                latest[name] = (number, value)
        if not counts:
            return MISSING
        return latest[max(counts, key=lambda name: (counts[name], latest[name][0]))][1]

    def _add(self, memory: list[Any], value: Any, e: int) -> None:
        memory.insert(bisect_right(memory, e, key=_time_of), [e, value])
        del memory[:-TOP_MAX]

    def _unite(self, memory: list[Any], other: list[Any]) -> None:
        for e, value in other:
            self._add(memory, value, e)

    def _newest(self, memory: list[Any]) -> int:
        return int(memory[-1][0])

    def _drop_before(self, memory: list[Any], oldest_ms: int) -> None:
        del memory[: bisect_left(memory, oldest_ms, key=_time_of)]


def make_feature(definition: FeatureDefinition) -> Feature:
    """The feature of a definition."""
    if definition.compute == "count":
        return (_Count if definition.within_ms else _CountEver)(definition)
    kinds: dict[str, type[Feature]] = {"last": _Last, "distinct": _Distinct, "top": _Top}
    return kinds[definition.compute](definition)


def _is_kept(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= ID_CHARS_MAX
    return type(value) in (int, float, bool)


def _name_of(value: Any) -> str:
    """A text that equal values have in common: 1 and 1.0 do, `true` and 1 or "1" do not."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return f"{type(value).__name__}:{value}"


def _hash_of(value: Any) -> int:
    text = _name_of(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def _time_of(pair: list[Any]) -> int:
    return int(pair[0])
