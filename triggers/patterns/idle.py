"""`{idle: 7d}`: no activity for that long; once per silence.

Activity is not written per event: `seen` is the last activity rounded up to a granule
(design.md T7), so an idle trigger never fires early and is late by at most the granule.
"""

from dataclasses import dataclass

from schemas.events import Event
from triggers.patterns.base import Activation, Want
from triggers.state import UserState


@dataclass(frozen=True, slots=True)
class IdlePattern:
    """`since_ms`: when the trigger was registered; earlier silences do not count (no fire for the
    past)."""

    trigger: str
    idle_ms: int
    grace_ms: int
    since_ms: int
    wants: tuple[Want, ...] = ()

    def on_event(self, state: UserState, want: int, event: Event, e: int) -> Activation | None:
        return None

    def due(self, state: UserState) -> int:
        seen = state.seen
        if not seen or seen < self.since_ms or state.idle_fired.get(self.trigger) == seen:
            return 0
        return seen + self.idle_ms + self.grace_ms

    def on_due(self, state: UserState, now_ms: int) -> Activation | None:
        state.idle_fired[self.trigger] = state.seen
        key = f"idle:{state.seen}"
        return Activation(key, None, None, state.seen, state.seen, {}, {})
