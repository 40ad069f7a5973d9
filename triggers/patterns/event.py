"""`{event, where}`: each matching event completes the pattern at once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

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
from triggers.state import UserState


class EventWhen(When):
    """`{event, where}`: one event. Immediate by itself, an absence with `unless` and `wait`."""

    events: EventNames = Field(alias="event")
    where: Where | None = None


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
    return EventPattern(wants, context.keep_start)


EVENT = PatternKind("event", EventWhen, _build, one_event=True)
