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
    said: Any = event.traits
    if said is None and event.context is not None:
        said = event.context.get("traits")
    if type(said) is not dict:
        return False
    changed = False
    for path in paths:
        value = _below(said, path.split("."))
        if value is _UNSAID:
            continue
        kept = storable(value)
        if kept is None:
            changed |= state.traits.pop(path, None) is not None
        elif path not in state.traits or not _same(state.traits[path], kept):
            state.traits[path] = kept
            changed = True
    return changed


def learn_zone(state: UserState, event: Event) -> bool:
    """Keep the time zone the event tells; whether it exists is asked when it is used."""
    context = event.context
    zone = context.get("timezone") if context else None
    if type(zone) is not str or not 0 < len(zone) <= ZONE_CHARS_MAX or zone == state.zone:
        return False
    state.zone = zone
    return True


_UNSAID: Any = object()


def _below(value: Any, names: list[str]) -> Any:
    for name in names:
        if type(value) is not dict or name not in value:
            return _UNSAID
        value = value[name]
    return value


def _same(one: Any, other: Any) -> bool:
    """Python holds True and 1 for equal, the language does not."""
    return bool(one == other) and repr(one) == repr(other)
