"""Traits of a user: what identify events said of them, as far as a registered trigger asks.

Declared traits only are kept (minimisation, design.md section 4); the last one in log order counts.
A null takes a trait away. The time zone is a trait of its own: `context.timezone` of any event.
"""

from collections.abc import Sequence
from typing import Any

from schemas.events import Event
from triggers.state import UserState, storable

ZONE_CHARS_MAX = 64


def learn_traits(paths: Sequence[str], state: UserState, event: Event) -> bool:
    """Keep the declared traits (dotted paths below `traits`) of an identify event, or of
    `context.traits` of another; True when something changed."""
    changed = False
    for path in paths:
        kept = told_trait(path, event)
        if kept is UNTOLD:
            continue
        if kept is None:
            changed |= state.traits.pop(path, None) is not None
        elif path not in state.traits or not same_value(state.traits[path], kept):
            state.traits[path] = kept
            changed = True
    return changed


#: The event says nothing of the trait; told apart from null, which takes it away.
UNTOLD: Any = object()


def told_trait(path: str, event: Event) -> Any:
    """What the event says of one trait, as state can hold it.

    The traits of a group event are those of the group, not the user's.
    """
    said: Any = event.traits if event.type == "identify" else None
    if said is None and event.context is not None:
        said = event.context.get("traits")
    for name in path.split("."):
        if type(said) is not dict or name not in said:
            return UNTOLD
        said = said[name]
    return storable(said)


def tells_zone(state: UserState, event: Event) -> bool:
    """False for most events: they tell no time zone, or the one that is known."""
    context = event.context
    return context is not None and context.get("timezone", state.zone) != state.zone


def learn_zone(state: UserState, event: Event) -> bool:
    """Keep the time zone the event tells; whether it exists is asked when it is used."""
    context = event.context
    zone = context.get("timezone") if context else None
    if type(zone) is not str or not 0 < len(zone) <= ZONE_CHARS_MAX or zone == state.zone:
        return False
    state.zone = zone
    return True


def same_value(one: Any, other: Any) -> bool:
    """Python holds True and 1 for equal, the language does not."""
    return bool(one == other) and repr(one) == repr(other)
