"""`{place: stores, radius_km: 2, edge: enter}`: the user comes near a place, or leaves it.

Positions are `context.location` of any client event (Segment's `latitude` and `longitude`). Only a
crossing fires: the first position says where the user is, and so does the first one after an edit
of the places or the radius. Each place of the list is crossed by itself; several crossed by one
event are one activation. Positions count in client order: one that is older than the last minute
known is ignored.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.events import Event
from schemas.reasons import Unevaluated
from triggers.conditions import compile_filter
from triggers.fields import Id, RadiusKm
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
from triggers.places import Fence, position_of, unknown_places
from triggers.state import UserState

KIND = "place"
#: Places kept that a user is in at once; beyond it nothing is entered (errs towards silence).
INSIDE_MAX = 32
#: How exactly the time of the last position is kept: a write per position would be too many.
GRAIN_MS = 60_000

_LAT, _LON = "latitude", "longitude"
_LOCATED = {f"context.location.{name}": {"exists": True} for name in (_LAT, _LON)}


class PlaceWhen(When):
    """`{place, radius_km, edge}`: `place` names a list of places.yaml."""

    place: Id
    """A list of places.yaml."""
    radius_km: RadiusKm
    """How near is there, in kilometres."""
    edge: Literal["enter", "exit"] = "enter"
    """Coming near, or leaving."""


@dataclass(frozen=True, kw_only=True)
class PlacePattern(Pattern):
    """Memory: `[kind, mark, ids, e]`: in which places of which fence the user is, and as of when
    (client time, to the minute unless that was a crossing)."""

    kind = KIND

    trigger: str
    fence: Fence
    enters: bool
    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        event, _, e, _ = occasion
        location = (event.context or {}).get("location")
        position = position_of(location.get(_LAT), location.get(_LON)) if location else None
        if position is None:
            return Unevaluated.COULD_NOT_EVALUATE
        memory = memory_of(state, self.trigger, KIND)
        if memory is not None and memory[1] != self.fence.mark:
            memory = None
        if memory is not None and e < memory[3]:
            return False
        found = self.fence.around(*position)
        inside = sorted(found)[:INSIDE_MAX]
        if len(found) > INSIDE_MAX:
            evicted["places"] += 1
        if memory is None:
            remember(state, self.trigger, [KIND, self.fence.mark, inside, e])
            return True
        before: list[str] = memory[2]
        if inside == before:
            if e // GRAIN_MS * GRAIN_MS <= memory[3]:
                return False
            remember(state, self.trigger, [KIND, self.fence.mark, inside, e // GRAIN_MS * GRAIN_MS])
            return True
        remember(state, self.trigger, [KIND, self.fence.mark, inside, e])
        if not self._is_crossed(set(before), found):
            return True
        return of_one(event, e, self.declared(event))

    def _is_crossed(self, before: set[str], now: set[str]) -> bool:
        if not self.enters:
            return bool(before - now)
        return len(before) < INSIDE_MAX and bool(now - before)


def _build(when: PlaceWhen, context: PatternContext) -> Pattern:
    if when.place not in context.places:
        # Checked where a workspace is loaded; a version keeps the places of what it keeps.
        raise ValueError(f"{context.trigger}: {unknown_places(when.place, context.places)}")
    return PlacePattern(
        trigger=context.trigger,
        fence=Fence(context.places[when.place], when.radius_km),
        enters=when.edge == "enter",
        wants=(Want(ANY, compile_filter(_LOCATED)),),
        declared=context.keep_start,
    )


PLACE = PatternKind("place", PlaceWhen, _build, one_event=True)
