"""What a pattern is: its model in a definition, and the class that every pattern extends."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from schemas.events import Event
from schemas.reasons import Unevaluated
from triggers.conditions import Filter
from triggers.model import Model
from triggers.places import Place
from triggers.policy import CompiledPolicy, grace_for
from triggers.state import UserState

AT_ANY_TIME_MS: Final = -(1 << 62)


class When(Model):
    """The pattern of a trigger as its author writes it; a subclass for each."""

    row = "when"
    #: It is about the user as a whole: no `per`.
    of_user: ClassVar[bool] = False
    #: An event completes it, so that `$start` and `$event` mean something.
    of_event: ClassVar[bool] = True

    @property
    def start_paths(self) -> tuple[str, ...]:
        """What the pattern itself refers to as `$start.<path>`."""
        return ()


class Want(NamedTuple):
    """Events of `name` (an event's name, or one of `triggers.names`) that pass `filter` are handed
    to the pattern."""

    name: str
    filter: Filter


class Occasion(NamedTuple):
    """A wanted event: for which `per` value, its client time `e`, its append time `a`."""

    event: Event
    per: str
    e: int
    a: int


class Activation(NamedTuple):
    """A completed pattern.

    `key` names the activation (the first event's messageId, or the silence of an idle trigger),
    `start` and `event` are messageIds, `start_e` is the client time of `$start`, `e` that of
    `$event`, and the fields are the declared values of both. `per` matters when the pattern woke
    up by itself.
    """

    key: str
    start: str | None
    event: str | None
    start_e: int
    e: int
    start_fields: dict[str, Any]
    event_fields: dict[str, Any]
    per: str = ""


def of_one(event: Event, e: int, fields: dict[str, Any]) -> Activation:
    """The activation that one event completes: it is `$start` and `$event`."""
    name = event.message_id
    return Activation(name, name, name, e, e, fields, fields)


class Pattern:
    """One compiled pattern of one trigger. What it remembers of a user is in the user's state:
    `state.patterns[trigger]`, in a form of its own (`memory_of`, `remember`).

    `wants`: the events to be told of. `idle_ms`: the silence it watches for, 0 when it does not
    watch activity. `wakes`: `due` has to be asked, because it wakes up by itself. `traits`: the
    user's traits it reads, by path below `traits`; `zoned`: it reads their time zone.
    `remembers`: completing it changes the state. `recurs`: it wakes up again and again without
    any event. `kind` marks its memory.
    """

    kind: ClassVar[str] = ""

    wants: tuple[Want, ...]
    idle_ms: int = 0
    wakes: bool = False
    traits: tuple[str, ...] = ()
    zoned: bool = False
    remembers: bool = True
    recurs: bool = False

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        """A wanted event happened. Return the activation it completes, else whether the state
        changed, or why it could not be evaluated (then it did not change)."""
        return False

    def on_learnt(self, state: UserState, a: int) -> None:
        """A trait or the time zone of the user has changed at log time `a`."""

    def due(self, state: UserState) -> int:
        """The log time to be woken at, 0 for never."""
        return 0

    @property
    def calm_ms(self) -> int:
        """It does not wake up sooner than so long after the user's last activity. That is rounded
        up and may lie ahead: what goes by something else may wake up at any time."""
        return AT_ANY_TIME_MS

    def on_due(self, state: UserState, now_ms: int) -> tuple[Activation, ...]:
        """That time has come. Afterwards `due` must be 0 or later than `now_ms`."""
        return ()

    def keeps_until(self, memory: list[Any]) -> int:
        """The log time from which its memory can no longer change a verdict; 0 for never (then
        the user's state stays)."""
        return 0

    def forget(self, state: UserState, now_ms: int) -> None:
        """Drop what of its memory (there is one) can no longer change a verdict at log time
        `now_ms`."""


class PatternContext(NamedTuple):
    """What building a pattern needs beside its definition.

    `keep_start` and `keep_event` read the fields of an event that conditions and texts refer to
    as `$start` and `$event` (the latter at `event_paths`). `since_ms`: when the trigger was
    registered; a pattern that fires on silence or on a date never fires for the past. `places` are
    those of the workspace, by name.
    """

    trigger: str
    since_ms: int
    policy: CompiledPolicy
    zone: str
    keep_start: Callable[[Event], dict[str, Any]]
    keep_event: Callable[[Event], dict[str, Any]]
    event_paths: tuple[str, ...]
    places: Mapping[str, tuple[Place, ...]] = {}

    def grace_ms(self, wait_ms: int) -> int:
        """The time beyond a deadline in which a late event still counts."""
        return grace_for(self.policy, wait_ms)


class PatternKind(NamedTuple):
    """How a pattern is registered: the field that tells it in a definition, its model, and the
    function that builds it.

    `one_event`: `$start` and `$event` are the same. `wider`: it also has the telling fields of
    these other patterns (`count` has `event`). `later`: what it waits for before it can run; until
    then a trigger with it can only be a draft.
    """

    field: str
    model: type[When]
    build: Callable[[Any, PatternContext], Pattern]
    one_event: bool = False
    wider: frozenset[str] = frozenset()
    later: str = ""


def memory_of(state: UserState, trigger: str, kind: str) -> list[Any] | None:
    """What the pattern of the trigger remembers, `[kind, ...]`; None when there is nothing.

    An edit may have changed the pattern: what another kind remembered does not count.
    """
    memory = state.patterns.get(trigger)
    return memory if memory is not None and memory[0] == kind else None


def remember(state: UserState, trigger: str, memory: list[Any]) -> None:
    """Keep `[kind, ...]` for the trigger."""
    state.patterns[trigger] = memory
