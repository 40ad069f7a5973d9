"""`{idle: 7d}`: no activity for that long; once per silence.

Activity is not written per event: `seen` is the last activity rounded up to a granule
(design.md T7), so an idle trigger never fires early and is late by at most the granule.
"""

from dataclasses import dataclass

from pydantic import Field

from triggers.fields import IdleMs
from triggers.patterns.base import Activation, Pattern, PatternContext, PatternKind, Want, When
from triggers.state import UserState


class IdleWhen(When):
    """`{idle: 7d}`: no activity for so long; once per silence."""

    of_user = True
    of_event = False

    idle_ms: IdleMs = Field(alias="idle")
    """No activity for so long; once per silence."""


@dataclass(frozen=True, kw_only=True)
class IdlePattern(Pattern):
    """`since_ms`: when the trigger was registered; earlier silences do not count (no fire for the
    past)."""

    trigger: str
    idle_ms: int
    grace_ms: int
    since_ms: int
    wants: tuple[Want, ...] = ()
    wakes: bool = True

    def due(self, state: UserState) -> int:
        seen = state.seen
        if not seen or seen < self.since_ms or state.idle_fired.get(self.trigger) == seen:
            return 0
        return seen + self.idle_ms + self.grace_ms

    @property
    def calm_ms(self) -> int:
        return self.idle_ms + self.grace_ms

    def on_due(self, state: UserState, now_ms: int) -> tuple[Activation, ...]:
        state.idle_fired[self.trigger] = state.seen
        key = f"idle:{state.seen}"
        return (Activation(key, None, None, state.seen, state.seen, {}, {}),)


def _build(when: IdleWhen, context: PatternContext) -> Pattern:
    return IdlePattern(
        trigger=context.trigger,
        idle_ms=when.idle_ms,
        grace_ms=context.grace_ms(when.idle_ms),
        since_ms=context.since_ms,
    )


IDLE = PatternKind("idle", IdleWhen, _build)
