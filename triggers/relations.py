"""Relations: edges between a user and items, such as favourites or a cart. relations.yaml.

An event of `add` makes edges to the items it names, an event of `remove` takes them away; client
time decides. The items stand at `item`; where an event has nothing there, at the same name in its
`products` (`properties.products.*.product_id`, as an order has it). A removal with neither takes
nothing away and is counted, unless it says `all: true`: then it empties the relation.

Of equal times the removal wins, and a removal is remembered 24 h, so an addition that happened
before it and comes later in the log does not bring the item back. An edge made at t0 holds while
t - t0 < `keep`. At most `max` items: the oldest goes, and that is counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from schemas.events import ID_CHARS_MAX, Event
from triggers.conditions import compile_filter
from triggers.durations import parse_duration
from triggers.fields import EventNames, PathToOne, Where, WindowMs
from triggers.model import Model
from triggers.notes import Note, NoteWant
from triggers.paths import MISSING, Reader, compile_path
from triggers.problems import Problem
from triggers.state import MEMORY_MS, REMEMBERED_MAX, UserState

ITEMS_MAX = 1000
STEPS_MAX = 20
#: Items of one event that are looked at.
ITEMS_PER_EVENT_MAX = 1000
#: Remembers, as a removal, the latest event that emptied the relation: no item has this name.
_EVERYTHING = ""


class Step(Model):
    """An event that adds or removes. `all`: it empties the relation."""

    events: EventNames = Field(alias="event")
    """An event name, or several."""
    where: Where | None = None
    """Only these events."""
    all_: StrictBool = Field(default=False, alias="all")
    """The event empties the relation."""


def _as_steps(value: Any) -> Any:
    listed = value if isinstance(value, list | tuple) else [value]
    return [{"event": step} if isinstance(step, str) else step for step in listed]


Steps = Annotated[tuple[Step, ...], BeforeValidator(_as_steps), Field(max_length=STEPS_MAX)]


class RelationDefinition(Model):
    """`{add, remove, item, keep, max}`; `keep` is 180 days and `max` 200 items by default."""

    add: Annotated[Steps, Field(min_length=1)]
    """Events that relate the user to the items they name."""
    remove: Steps = ()
    """Events that end it."""
    item: PathToOne
    """Where the item stands in them, such as properties.product_id."""
    keep_ms: WindowMs = Field(default=parse_duration("180d"), alias="keep")
    """How long an edge holds."""
    max_items: Annotated[StrictInt, Field(ge=1, le=ITEMS_MAX)] = Field(default=200, alias="max")
    """The most items of a user; the oldest goes."""

    def cross_problems(self) -> Iterable[Problem]:
        for number, step in enumerate(self.add):
            if step.all_:
                yield Problem(("add", number, "all"), "`all` empties: only in `remove`", True)

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; validating it gives an equal definition."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Relation(Note):
    """A relation ready to note and to answer.

    Memory: by item the client time it was added at, or, below 0, the one it was removed at.
    """

    __slots__ = ("_added", "_all", "_items", "_listed", "keep_ms", "max_items")

    def __init__(self, name: str, definition: RelationDefinition) -> None:
        steps = (*definition.add, *definition.remove)
        super().__init__(
            name, tuple(NoteWant(step.events, compile_filter(step.where)) for step in steps)
        )
        self._added = len(definition.add)
        self._all = tuple(step.all_ for step in steps)
        self._items: Reader = compile_path(definition.item)
        leaf = definition.item.rpartition(".")[2]
        self._listed: Reader = compile_path(f"properties.products.*.{leaf}")
        self.keep_ms = definition.keep_ms
        self.max_items = definition.max_items

    def count(self, state: UserState, at_ms: int) -> int:
        """How many items are related at `at_ms`."""
        items = state.relations.get(self.key)
        if not items:
            return 0
        return sum(1 for added in items.values() if added > 0 and at_ms - added < self.keep_ms)

    def note(
        self, state: UserState, want: int, event: Event, e: int, a: int, evicted: Counter[str]
    ) -> bool:
        memory = state.relations.setdefault(self.key, {})
        e = max(e, 1)  # the sign tells an addition from a removal
        if self._all[want]:
            self._clear(memory, e)
            named: list[str] = []
            right = True
        else:
            named, right = self._named(event)
            right = right and bool(named)
        if want < self._added:
            for item in named:
                self._add(memory, item, e, a)
        else:
            for item in named:
                self._remove(memory, item, e)
        self._bound(memory, a, evicted)
        if not memory:
            del state.relations[self.key]
        return right

    def keeps_until(self, state: UserState) -> int:
        return max(self._expiry(at) for at in state.relations[self.key].values())

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = state.relations[self.key]
        self._forget(memory, now_ms)
        if not memory:
            del state.relations[self.key]

    def absorb(self, state: UserState, moved: UserState, a: int, evicted: Counter[str]) -> None:
        other = moved.relations.get(self.key)
        if not other:
            return
        memory = state.relations.setdefault(self.key, {})
        for item, at in other.items():
            mine = memory.get(item, 0)
            # The later of the two, and of equal times the removal.
            memory[item] = at if (abs(at), -at) > (abs(mine), -mine) else mine
        emptied = -memory.get(_EVERYTHING, 0)
        for item in [item for item, at in memory.items() if 0 < at <= emptied]:
            del memory[item]
        self._bound(memory, a, evicted)
        if not memory:
            del state.relations[self.key]

    def _named(self, event: Event) -> tuple[list[str], bool]:
        """The items an event names, and whether all of them can be kept."""
        found = self._items(event)
        if found is MISSING or found is None:
            found = self._listed(event)
            if found is MISSING:
                return [], False
        else:
            found = (found,)
        listed = list(found)[:ITEMS_PER_EVENT_MAX]
        named = [name for name in map(_item_name, listed) if name is not None]
        return named, len(named) == len(listed)

    def _add(self, memory: dict[str, int], item: str, e: int, a: int) -> None:
        removed = max(-memory.get(item, 0), -memory.get(_EVERYTHING, 0))
        if removed >= e and a - removed <= MEMORY_MS:
            return
        memory[item] = max(e, memory.get(item, 0))

    def _remove(self, memory: dict[str, int], item: str, e: int) -> None:
        known = memory.get(item, 0)
        if known <= e:
            memory[item] = min(-e, known) if known < 0 else -e

    def _clear(self, memory: dict[str, int], e: int) -> None:
        for item in [item for item, added in memory.items() if 0 < added <= e]:
            del memory[item]
        memory[_EVERYTHING] = min(-e, memory.get(_EVERYTHING, 0))

    def _bound(self, memory: dict[str, int], a: int, evicted: Counter[str]) -> None:
        if len(memory) <= min(self.max_items, REMEMBERED_MAX):
            return
        self._forget(memory, a)
        removed = sorted((-at, item) for item, at in memory.items() if at < 0)
        for _, item in removed[:-REMEMBERED_MAX]:
            del memory[item]
            evicted["removals"] += 1
        held = sorted((at, item) for item, at in memory.items() if at > 0)
        for _, item in held[: -self.max_items]:
            del memory[item]
            evicted["relations"] += 1

    def _forget(self, memory: dict[str, int], now_ms: int) -> None:
        for item in [item for item, at in memory.items() if self._expiry(at) <= now_ms]:
            del memory[item]

    def _expiry(self, at: int) -> int:
        """A decision lies at most 24 h before the log time, an addition may be as late."""
        return at + self.keep_ms + MEMORY_MS if at > 0 else -at + MEMORY_MS + 1


def _item_name(value: Any) -> str | None:
    """A text, or a number as one; an item's id in a catalogue is a text."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        value = str(value)
    return value if type(value) is str and 0 < len(value) <= ID_CHARS_MAX else None


def make_relations(documents: Mapping[str, Any]) -> dict[str, RelationDefinition]:
    """The definitions of stored documents by name; raises ValidationError."""
    return {name: RelationDefinition.model_validate(body) for name, body in documents.items()}
