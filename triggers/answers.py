"""What events say about messages sent before: a goal was reached, one was opened, the user left.

A program finds an `Answer` by the event's name, as it finds roles, and only where a trigger has
deliveries to credit (`Program.follows`). What it does to the user's state is `attribution`'s.
"""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

from schemas.events import Event
from schemas.outcomes import Reaction
from triggers.conditions import Filter
from triggers.paths import MISSING, Reader

#: The client events that prove what became of a message, by stage.
STAGE_EVENTS: dict[Reaction, tuple[str, ...]] = {
    Reaction.DELIVERED: ("Push Delivered", "Push Notification Received", "Email Delivered"),
    Reaction.OPENED: ("Push Opened", "Push Notification Tapped", "Email Opened"),
    Reaction.CLICKED: ("Push Clicked", "Push Notification Tapped", "Email Link Clicked"),
}
#: Opt-out, permission off, uninstall.
LEAVING_EVENTS = ("Unsubscribed", "Push Disabled", "Application Uninstalled")

MILLION = 1_000_000
#: What one event may be worth at most, either way, in the units of its currency.
WORTH_MAX = 10**12
_ID_CHARS = 32
_ID_NAMES = ("delivery_id", "tripline_delivery_id")


class CompiledGoal(NamedTuple):
    """What a trigger's messages are for: `names` of events, the path to what they are worth."""

    names: tuple[str, ...]
    filter: Filter
    within_ms: int
    value: Reader | None


class Asked(NamedTuple):
    """What an event's name may mean: goals of triggers, stages of a delivery, a user who leaves."""

    goals: tuple[str, ...] = ()
    stages: tuple[Reaction, ...] = ()
    leaves: bool = False


class Answer(NamedTuple):
    """What one event means: `goals` are the triggers whose goal it reaches, `delivery` the one
    whose `stages` it proves, or which made the user leave (None where it names none)."""

    goals: tuple[str, ...]
    stages: tuple[Reaction, ...] = ()
    leaves: bool = False
    delivery: bytes | None = None


#: What a preference means that refuses something: it names no delivery.
LEAVES = Answer((), leaves=True)


def delivery_named(event: Event) -> bytes | None:
    """The delivery an event names: `delivery_id` or `tripline_delivery_id` in its properties or in
    `context.campaign`."""
    found = _id_in(event.properties)
    if found is None and event.context is not None:
        found = _id_in(event.context.get("campaign"))
    return found


def _id_in(holder: Any) -> bytes | None:
    if type(holder) is not dict:
        return None
    for name in _ID_NAMES:
        said = holder.get(name)
        if type(said) is str and len(said) == _ID_CHARS:
            try:
                return bytes.fromhex(said)
            except ValueError:
                continue
    return None


def worth_of(goal: CompiledGoal, event: Event) -> int | None:
    """What the event is worth, in millionths; 0 where it says nothing. None: it says something
    that is no number, or none that can be."""
    if goal.value is None:
        return 0
    value = goal.value(event)
    if value is MISSING or value is None:
        return 0
    # JSON's true is no number.
    if type(value) not in (int, float) or not -WORTH_MAX <= value <= WORTH_MAX:
        return None
    exact = Decimal(value) if type(value) is int else Decimal(repr(value))
    return int((exact * MILLION).to_integral_value(ROUND_HALF_EVEN))
