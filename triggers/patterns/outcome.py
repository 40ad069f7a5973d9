"""`{outcome: clicked, trigger: welcome}`: what became of a message of ours.

How a delivery ended is told by its outcome record, the first of which counts. That it was shown,
opened or clicked is told by the client: an event of `STAGE_EVENTS` with our delivery's id, the
first of each stage and delivery counts. Deliveries are known from their outcome on, the most
recent ones and for 30 days; whatever an emitter says about another id means nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from schemas.events import Event
from schemas.reasons import REFUNDED, Reason
from triggers.conditions import compile_filter
from triggers.fields import Id
from triggers.names import outcome_name
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
from triggers.patterns.event import EventPattern
from triggers.state import DAY_MS, UserState

KIND = "outcome"
DELIVERIES_MAX = 16
KNOWN_MS = 30 * DAY_MS

#: The client events that say what became of a message, by the stage they prove.
STAGE_EVENTS: dict[str, tuple[str, ...]] = {
    "delivered": ("Push Delivered", "Push Notification Received", "Email Delivered"),
    "opened": ("Push Opened", "Push Notification Tapped", "Email Opened"),
    "clicked": ("Push Clicked", "Push Notification Tapped", "Email Link Clicked"),
}
DELIVERY_PATH = "properties.delivery_id"
#: Outcomes after which a message may have been shown.
_SHOWN = tuple(r for r in (Reason.ACCEPTED, Reason.UNKNOWN) if r not in REFUNDED)

Stage = Literal[
    "accepted",
    "rejected",
    "unregistered",
    "provider_error",
    "unknown",
    "expired",
    "cancelled",
    "template_error",
    "delivered",
    "opened",
    "clicked",
]


class OutcomeWhen(When):
    """`{outcome, trigger}`: a stage that deliveries of that trigger reach."""

    stage: Stage = Field(alias="outcome")
    """The stage a message has reached."""
    trigger: Id
    """The trigger whose message it was."""


@dataclass(frozen=True, kw_only=True)
class ReactionPattern(Pattern):
    """Memory: `[kind, [[delivery, at_ms, reacted]]]`, the oldest first. The first wants are the
    outcomes to remember, the others the client's events."""

    kind = KIND

    trigger: str
    of: str
    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool:
        event, _, e, a = occasion
        key = _delivery_of(event)
        if key is None:
            return False
        memory = memory_of(state, self.trigger, KIND)
        known: list[list[Any]] = memory[1] if memory else []
        entry = next((entry for entry in known if entry[0] == key), None)
        if want < len(_SHOWN):
            if entry is not None:
                return False
            self._keep(state, known, [key, a, False], evicted)
            return True
        if entry is None and not self._is_pending(state, key):
            return False
        if entry is not None and (entry[2] or a - entry[1] > KNOWN_MS):
            return False
        if entry is None:
            self._keep(state, known, [key, a, True], evicted)
        else:
            entry[2] = True
        return of_one(event, e, self.declared(event))

    def _is_pending(self, state: UserState, key: bytes) -> bool:
        """The reaction may reach the log before the outcome does."""
        return any(p.delivery == key and p.trigger == self.of for p in state.pending)

    def _keep(
        self, state: UserState, known: list[list[Any]], entry: list[Any], evicted: Counter[str]
    ) -> None:
        known = [kept for kept in known if entry[1] - kept[1] <= KNOWN_MS]
        known.append(entry)
        if len(known) > DELIVERIES_MAX:
            del known[0]
            evicted["reactions"] += 1
        remember(state, self.trigger, [KIND, known])

    def keeps_until(self, memory: list[Any]) -> int:
        return max((int(at) for _, at, _ in memory[1]), default=0) + KNOWN_MS + 1

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = memory_of(state, self.trigger, KIND)
        if memory is not None and self.keeps_until(memory) <= now_ms:
            del state.patterns[self.trigger]


def _delivery_of(event: Event) -> bytes | None:
    said = (event.properties or {}).get("delivery_id")
    if type(said) is not str or len(said) != 32:
        return None
    try:
        return bytes.fromhex(said)
    except ValueError:
        return None


def _build(when: OutcomeWhen, context: PatternContext) -> Pattern:
    every = compile_filter(None)
    names = STAGE_EVENTS.get(when.stage)
    if names is None:
        want = Want(outcome_name(when.trigger, when.stage), every)
        return EventPattern((want,), context.keep_start)
    ours = compile_filter({DELIVERY_PATH: {"exists": True}})
    remembered = [Want(outcome_name(when.trigger, reason.lower()), every) for reason in _SHOWN]
    return ReactionPattern(
        trigger=context.trigger,
        of=when.trigger,
        wants=(*remembered, *(Want(name, ours) for name in names)),
        declared=context.keep_start,
    )


OUTCOME = PatternKind("outcome", OutcomeWhen, _build, one_event=True)
