"""What a pattern is: the protocol every file beside this one implements."""

from typing import Any, NamedTuple, Protocol

from schemas.events import Event
from triggers.conditions import Filter
from triggers.state import UserState


class Want(NamedTuple):
    """Events of `name` that pass `filter` are handed to the pattern."""

    name: str
    filter: Filter


class Activation(NamedTuple):
    """A completed pattern.

    `key` names the activation (the first event's messageId, or the silence of an idle trigger),
    `start` and `event` are messageIds, `start_e` is the client time of `$start`, `e` that of
    `$event`, and the fields are the declared values of both.
    """

    key: str
    start: str | None
    event: str | None
    start_e: int
    e: int
    start_fields: dict[str, Any]
    event_fields: dict[str, Any]


class Pattern(Protocol):
    """One compiled pattern of one trigger. What it remembers lives in the user's state."""

    @property
    def wants(self) -> tuple[Want, ...]:
        """The events to be told of."""

    @property
    def idle_ms(self) -> int:
        """The silence it watches for; 0 when it does not watch activity."""

    def on_event(self, state: UserState, want: int, event: Event, e: int) -> Activation | None:
        """A wanted event happened at client time `e`. Return the activation it completes."""

    def due(self, state: UserState) -> int:
        """The log time to be woken at, 0 for never."""

    def on_due(self, state: UserState, now_ms: int) -> Activation | None:
        """That time has come. Afterwards `due` must be 0 or later than `now_ms`."""
