"""From a definition to what decides: defaults, what is kept of an event, what is left out."""

from collections import Counter
from typing import Any

import pytest

from schemas.events import Event
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.patterns import Activation, Occasion
from triggers.program import CompiledTrigger
from triggers.state import UserState, decode_state, encode_state

MINUTE = 60_000
HOUR = 60 * MINUTE


def compiled(document: dict[str, Any], **policy: Any) -> CompiledTrigger:
    return program_of(document, **policy).triggers[document["id"]]


def kept(document: dict[str, Any], event: Event) -> dict[str, Any]:
    """What is kept of a start."""
    occasion = Occasion(event, "", 0, 0)
    activation = compiled(document).pattern.on_event(UserState(), 0, occasion, Counter())
    assert isinstance(activation, Activation)
    assert activation.start_fields == activation.event_fields
    return activation.start_fields


def message(title: Any, body: Any = "b") -> dict[str, Any]:
    return {"push": {"title": title, "body": body}}


def test_a_draft_is_left_out() -> None:
    assert program_of({**HELLO, "state": "draft"}).triggers == {}


@pytest.mark.parametrize("state", ["live", "shadow", "paused"])
def test_everything_else_decides(state: str) -> None:
    assert compiled({**HELLO, "state": state}).state == state


def test_an_absence_restarts_unless_it_keeps() -> None:
    assert compiled(CART).restart
    assert not compiled({**CART, "on_repeat": "keep"}).restart


@pytest.mark.parametrize(
    ("document", "expires_ms"),
    [
        (HELLO, 10 * MINUTE),
        (CART, HOUR),
        ({**CART, "wait": "10m"}, 10 * MINUTE),
        ({**CART, "expires": "6h"}, 6 * HOUR),
    ],
)
def test_a_message_expires_after_half_the_wait_and_10_minutes_at_least(
    document: dict[str, Any], expires_ms: int
) -> None:
    trigger = compiled(document)
    found = trigger.steps[0].expires_ms if trigger.steps else trigger.expires_ms
    assert found == expires_ms


def test_only_what_conditions_and_texts_name_is_kept() -> None:
    document = {
        **CART,
        "unless": {"event": "Removed", "where": {"properties.id": "$start.properties.id"}},
        "message": message("{{ start.properties.name }}", "{{ event.properties.price }}"),
    }
    properties = {"id": 1, "name": "Shoe", "price": 5, "secret": "x"}
    event = Event(type="track", event="Added", properties=properties)
    assert kept(document, event) == {
        "properties.id": 1,
        "properties.name": "Shoe",
        "properties.price": 5,
    }


def test_texts_in_several_locales_keep_the_locale() -> None:
    document = {**HELLO, "message": message({"en": "a", "ru": "b"})}
    event = Event(type="track", event="Opened", context={"locale": "ru-KZ"})
    assert kept(document, event) == {"context.locale": "ru-KZ"}


def test_what_an_event_lacks_is_not_kept() -> None:
    document = {**HELLO, "message": message("{{ start.properties.name }}")}
    assert kept(document, Event(type="track", event="Opened")) == {}


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**400, [2**70], {"a": {"b": 2**70}}])
def test_a_number_that_state_cannot_hold_does_not_stop_the_shard(value: Any) -> None:
    document = {
        **CART,
        "unless": {"event": "Removed", "where": {"properties.n": {"gte": "$start.properties.n"}}},
        "message": message("{{ start.properties.n }}"),
    }
    user = User(program_of(document))
    user.event("0s", "Removed", n=value)
    user.event("1h", "Added", n=value)
    assert decode_state(encode_state(user.state)) == user.state
    user.fire("10h")
    assert user.lines[-1].endswith("ADMITTED")
    assert decode_state(encode_state(user.state)) == user.state


def test_what_links_and_pictures_name_is_kept_like_what_texts_name() -> None:
    said = {"push": {"title": "t", "body": "b", "image": "{{ start.properties.picture }}"}}
    document = {
        **CART,
        "message": {**said, "link": "app://{{ start.properties.id }}"},
        "experiment": {
            "variants": {
                "a": "50%",
                "b": {"weight": "50%", "set": {"link": "{{ event.properties.own }}"}},
            }
        },
    }
    properties = {"picture": "p", "id": "1", "own": "o", "other": "x"}
    event = Event(type="track", message_id="m", event="Added", user_id="u", properties=properties)
    names = {"properties.picture": "p", "properties.id": "1", "properties.own": "o"}
    assert kept(document, event).items() >= names.items()
    assert "properties.other" not in kept(document, event)


def test_an_admitted_delivery_carries_what_the_sender_needs() -> None:
    document = {**CART, "lane": "high", "message": message("{{ start.properties.title }}")}
    user = User(program_of(document, grace="10m"))
    user.event("0s", "Added", title="Shoe")
    user.fire("5h")
    admitted = user.effects.deliveries[0]
    assert admitted.devices == (("token", "ios"),)
    assert admitted.start_fields == {"properties.title": "Shoe"}
    assert admitted.decided_at_ms == ms("2h10m")
    assert admitted.expires_at_ms == ms("3h10m")
    assert admitted.trigger.lane == "high"
