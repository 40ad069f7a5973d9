"""`{session: start, gap: 30m}`, `{session: end, gap: 30m}`: a visit begins, a visit is over.

Any client event is activity. A session starts with an event whose client time is at least `gap`
after the last activity, and with the first event of all; it is over at F = last activity + `gap` +
grace when nothing came until then. Activity is known to a granule, rounded up, and not written per
event (design.md T7): a session never starts or ends early, and a gap that is longer by less than
a granule (gap / 168 at most) may count as none. An event that is not later than the last activity
starts nothing, whenever it reaches the log.

Within `gap` of registration nobody can tell a new session from one that was going on: none starts.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from schemas.events import Event
from triggers.conditions import compile_filter
from triggers.fields import IdleMs
from triggers.names import ANY
from triggers.patterns.base import (
    Activation,
    Occasion,
    Pattern,
    PatternContext,
    PatternKind,
    Want,
    When,
    memory_of,
    of_one,
    remember,
)
from triggers.state import MEMORY_MS, UserState

KIND = "session"
GAP_MS = 30 * 60_000


class SessionWhen(When):
    """`{session: start or end, gap}`."""

    of_user = True

    session: Literal["start", "end"]
    """Which edge of a visit."""
    gap_ms: IdleMs = Field(default=GAP_MS, alias="gap")
    """The silence that ends a visit."""


def _begins(state: UserState, e: int, gap_ms: int, since_ms: int) -> bool:
    """Asked before the event itself is noticed as activity."""
    return e - max(state.seen, since_ms) >= gap_ms


@dataclass(frozen=True, kw_only=True)
class SessionStartPattern(Pattern):
    """What it needs to know, the last activity, is kept for it."""

    idle_ms: int
    since_ms: int
    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]
    remembers: bool = False

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool:
        event, _, e, _ = occasion
        if not _begins(state, e, self.idle_ms, self.since_ms):
            return False
        return of_one(event, e, self.declared(event))


@dataclass(frozen=True, kw_only=True)
class SessionEndPattern(Pattern):
    """Memory: `[kind, messageId, e, over_ms, fields]` of the session's first event; `over_ms` 0
    while it goes on, else when it was found over: then the rest is kept for 24 h, so that the same
    message sent again is no second session."""

    kind = KIND

    trigger: str
    idle_ms: int
    grace_ms: int
    since_ms: int
    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]
    wakes: bool = True

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool:
        event, _, e, _ = occasion
        memory = memory_of(state, self.trigger, KIND)
        if memory is not None and (not memory[3] or memory[1] == event.message_id):
            return False
        if not _begins(state, e, self.idle_ms, self.since_ms):
            return False
        remember(state, self.trigger, [KIND, event.message_id, e, 0, self.declared(event)])
        return True

    def due(self, state: UserState) -> int:
        memory = memory_of(state, self.trigger, KIND)
        if memory is None or memory[3]:
            return 0
        return state.seen + self.idle_ms + self.grace_ms

    @property
    def calm_ms(self) -> int:
        return self.idle_ms + self.grace_ms

    def on_due(self, state: UserState, now_ms: int) -> tuple[Activation, ...]:
        memory = memory_of(state, self.trigger, KIND)
        if memory is None:
            return ()
        _, first, e, _, fields = memory
        remember(state, self.trigger, [KIND, first, e, now_ms, {}])
        return (Activation(first, first, first, e, now_ms, fields, fields),)

    def keeps_until(self, memory: list[Any]) -> int:
        return int(memory[3]) + MEMORY_MS if memory[3] else 0

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = memory_of(state, self.trigger, KIND)
        if memory is not None and 0 < memory[3] <= now_ms - MEMORY_MS:
            del state.patterns[self.trigger]


def _build(when: SessionWhen, context: PatternContext) -> Pattern:
    wants = (Want(ANY, compile_filter(None)),)
    if when.session == "start":
        return SessionStartPattern(
            idle_ms=when.gap_ms,
            since_ms=context.since_ms,
            wants=wants,
            declared=context.keep_start,
        )
    return SessionEndPattern(
        trigger=context.trigger,
        idle_ms=when.gap_ms,
        grace_ms=context.grace_ms(when.gap_ms),
        since_ms=context.since_ms,
        wants=wants,
        declared=context.keep_start,
    )


SESSION = PatternKind("session", SessionWhen, _build, one_event=True)
