"""`{event, where}`: each matching event completes the pattern at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.events import Event
from triggers.patterns.base import Activation, Want
from triggers.state import UserState


@dataclass(frozen=True, slots=True)
class EventPattern:
    """`declared` reads the fields of the event that conditions and texts refer to."""

    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]
    idle_ms: int = 0

    def on_event(self, state: UserState, want: int, event: Event, e: int) -> Activation | None:
        fields = self.declared(event)
        key = event.message_id
        return Activation(key, key, key, e, e, fields, fields)

    def due(self, state: UserState) -> int:
        return 0

    def on_due(self, state: UserState, now_ms: int) -> Activation | None:
        return None
