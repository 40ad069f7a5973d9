"""`{event, where}`: each matching event completes the pattern at once, or with `nth` the n-th."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StrictInt

from schemas.events import Event
from triggers.conditions import compile_filter
from triggers.fields import EventNames, Where
from triggers.patterns.base import (
    Activation,
    Occasion,
    Pattern,
    PatternContext,
    PatternKind,
    Want,
    When,
)
from triggers.patterns.nth import NthPattern
from triggers.state import UserState

NTH_MAX = 1000


class EventWhen(When):
    """`{event, where, nth}`: one event. Immediate alone, an absence with `unless` and `wait`."""

    events: EventNames = Field(alias="event")
    """The event that matches, or a list of them; `Page: Home` is a page."""
    where: Where | None = None
    """Only if this holds."""
    nth: Annotated[StrictInt, Field(ge=1, le=NTH_MAX)] | None = None
    """Only the n-th ever of the user."""


@dataclass(frozen=True)
class EventPattern(Pattern):
    """`declared` reads the fields of the event that conditions and texts refer to."""

    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]
    remembers: bool = False

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool:
        event, _, e, _ = occasion
        fields = self.declared(event)
        key = event.message_id
        return Activation(key, key, key, e, e, fields, fields)


def _build(when: EventWhen, context: PatternContext) -> Pattern:
    compiled = compile_filter(when.where)
    wants = tuple(Want(name, compiled) for name in when.events)
    if when.nth is None:
        return EventPattern(wants, context.keep_start)
    return NthPattern(
        trigger=context.trigger, nth=when.nth, wants=wants, declared=context.keep_start
    )


EVENT = PatternKind("event", EventWhen, _build, one_event=True)
