"""A backtest assumes consent unless the events say otherwise, and decides as a shard does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from schemas.records import PreferenceRecord, preference_event
from tests.unit.backtest.histories import (
    CART,
    DAY,
    HOUR,
    LOOK,
    MINUTE,
    SILENCE,
    T0,
    decided,
    definitions,
    event,
    outcomes,
)
from triggers.compile import RegisteredTrigger, compile_program
from triggers.decide import apply_event, fire_before
from triggers.effects import Effects
from triggers.state import Device, UserState

ASKS: dict[str, Any] = {"default": {"grace": "0s", "opt_in": {"channels": ["push"]}}}
PHONE = {"device": {"token": "t", "type": "ios"}}


def prefers(at: int, user: str, **said: Any) -> tuple[int, Event]:
    return T0 + at, preference_event(PreferenceRecord(user, f"p{at}", T0 + at, **said))


@pytest.mark.parametrize(
    ("assume", "said", "how"),
    [
        (True, {}, "ADMITTED"),
        (False, {}, "CONSENT"),
        (False, {"channels": {"push": "in"}}, "ADMITTED"),
        (True, {"channels": {"push": "out"}}, "CONSENT"),
        (True, {"all": "out"}, "CONSENT"),
    ],
)
def test_consent_is_assumed_where_it_is_required(
    assume: bool, said: dict[str, Any], how: str
) -> None:
    found = definitions(LOOK, policies=ASKS)
    looked = event(MINUTE, "ann", "Product Viewed")
    looked[1].context = PHONE
    _, made = decided(found, [prefers(0, "ann", **said), looked], assume_devices=assume)
    assert outcomes(made) == [("ann", "look", MINUTE, how)]


def test_events_that_no_trigger_names_still_tell_consent() -> None:
    events = [
        event(0, "ann", "Unsubscribed", channel="push"),
        event(1, "bob", "Push Disabled"),
        event(MINUTE, "ann", "Product Viewed"),
        event(MINUTE, "bob", "Product Viewed"),
    ]
    _, made = decided(definitions(LOOK), events)
    assert outcomes(made) == [
        ("ann", "look", MINUTE, "CONSENT"),
        ("bob", "look", MINUTE, "NO_DEVICE"),
    ]


TRANSACTIONAL = {**CART, "id": "parcel", "class": "transactional"}
FOUND = definitions(CART, LOOK, SILENCE, TRANSACTIONAL)
NAMES = (
    *("Product Added", "Product Viewed", "Order Completed", "Noise"),
    *("Unsubscribed", "Subscribed", "Push Disabled", "Push Enabled"),
)
SAID = ({"profiling": "out"}, {"profiling": "in"}, {"all": "out"}, {"all": "in"})
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, MINUTE, HOUR, DAY, 7 * DAY, 7 * DAY + HOUR)),
        st.sampled_from(("ann", "bob")),
        st.sampled_from(NAMES) | st.sampled_from(SAID),
        st.sampled_from((0, 0, MINUTE, 2 * HOUR)),
    ),
    max_size=25,
)


def history(steps: list[tuple[int, str, Any, int]]) -> list[tuple[int, Event]]:
    at, events = 0, []
    for gap, user, what, late in steps:
        at += gap
        if isinstance(what, str):
            a, made = event(at, user, what)
            made.timestamp = event(at - late, user, what)[1].timestamp
            events.append((a, made))
        else:
            events.append(prefers(at, user, **what))
    return events


@given(STEPS)
def test_the_decisions_are_those_of_the_core_whatever_a_backtest_postpones(steps: Any) -> None:
    events = history(steps)
    _, made = decided(FOUND, events)
    states: dict[str, UserState] = {}
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in FOUND.triggers.values()]
    program = compile_program(1, registered, FOUND.policies)
    effects = Effects()
    for a, one in events:
        user = one.profile
        state = states.setdefault(user, UserState(devices=[Device("assumed", "android", 1 << 62)]))
        for name, other in states.items():
            fire_before(program, name, other, a, effects)
            other.pending.clear()
        hits = program.hits(one)
        if hits is not None:
            apply_event(program, user, state, one, a, hits, effects)
        state.pending.clear()
    last = events[-1][0] if events else 0
    for name, other in states.items():
        fire_before(program, name, other, last, effects)
    assert outcomes(made) == outcomes(effects.decisions)
