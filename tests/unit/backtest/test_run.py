"""Feeding events: what is postponed is never late, what is counted is right."""

from collections import Counter
from dataclasses import fields
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.backtest.run import Backtest
from engine.backtest.session import Definitions, ignore, make_run
from engine.backtest.timelines import Followed
from engine.backtest.users import Users
from engine.explain.offline import explain_events
from schemas.decisions import Decision
from schemas.events import Event, event_name
from schemas.reasons import Outcome
from tests.unit.backtest.histories import (
    CART,
    DAY,
    HOUR,
    LOOK,
    MINUTE,
    SILENCE,
    SPACED,
    T0,
    decided,
    definitions,
    event,
    outcomes,
)
from triggers.compile import RegisteredTrigger, compile_program
from triggers.decide import apply_event, fire_before
from triggers.effects import Effects
from triggers.program import NO_HITS
from triggers.state import Device, UserState

EVERYTHING = definitions(CART, LOOK, SILENCE, policies=SPACED)
NAMES = ("Product Added", "Product Viewed", "Order Completed", "Something Else")

moments = st.lists(
    st.tuples(
        st.sampled_from((0, 1, MINUTE, HOUR, DAY, 7 * DAY, 7 * DAY + HOUR)),
        st.sampled_from(("ann", "bob", "eve")),
        st.sampled_from(NAMES),
        st.sampled_from((0, 0, 0, HOUR, 3 * DAY, 9 * DAY)),
    ),
    max_size=25,
)


def history(made: list[tuple[int, str, str, int]]) -> list[tuple[int, Event]]:
    """Some of the events are told late."""
    at, events = 0, []
    for gap, user, name, lag in made:
        at += gap
        a, found = event(at, user, name)
        assert found.timestamp is not None
        late = found.timestamp - timedelta(milliseconds=lag)
        events.append((a, replace(found, timestamp=late)))
    return events


def decided_one_by_one(events: list[tuple[int, Event]]) -> list[Decision]:
    """Every event through the core, nothing postponed, timers polled after each."""
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in EVERYTHING.triggers.values()]
    program = compile_program(1, registered, EVERYTHING.policies)
    states: dict[str, UserState] = {}
    out = Effects()
    for a, found in [*events, (1 << 62, None)]:
        for user, state in states.items():
            fire_before(program, user, state, a, out)
            state.pending.clear()
        if found is None:
            break
        user = found.profile
        if user not in states:
            states[user] = UserState(devices=[Device("d", "ios", 1 << 60)])
        name = event_name(found)
        hits = NO_HITS if name is None else program.match(name, found)
        apply_event(program, user, states[user], found, a, hits, out)
        states[user].pending.clear()
    return out.decisions


@settings(max_examples=150)
@given(moments)
def test_postponed_activity_decides_as_if_every_event_were_applied(
    made: list[tuple[int, str, str, int]],
) -> None:
    events = history(made)
    _, found = decided(EVERYTHING, events, drain=True)
    assert outcomes(found) == outcomes(decided_one_by_one(events))


def test_of_what_a_backtest_says_beside_decisions_nothing_piles_up_but_counters() -> None:
    events = history([(2 * HOUR, "ann", name, 0) for name in NAMES * 3])
    run, found = decided(EVERYTHING, events, drain=True)
    assert any(line.outcome is Outcome.ADMITTED for line in found)
    kept = {one.name for one in fields(Effects) if getattr(run._effects, one.name)}
    assert kept == {"funnel"}


#: A second message, an hour after the first was accepted.
SECOND_CART = {
    "id": "second-cart",
    "state": "live",
    "when": {"outcome": "accepted", "trigger": "cart"},
    "wait": "1h",
}
UNNAMED_LOOK = {name: value for name, value in LOOK.items() if name != "id"}
#: A third one at once.
SECOND_LOOK = {
    "id": "second-look",
    "state": "live",
    "class": "transactional",
    "when": {"outcome": "accepted", "trigger": "second-cart"},
}
FOLLOWED = definitions(CART, LOOK, SILENCE, SECOND_CART, SECOND_LOOK, policies=SPACED)
WITHOUT_IDLE = definitions(CART, LOOK, SECOND_CART, SECOND_LOOK, policies=SPACED)


def decided_in(
    found: Definitions, events: list[tuple[int, Event]], *, poll_every: int, decoded_max: int = 9
) -> tuple[Backtest, list[Decision]]:
    """A whole backtest, polled so often and with so many states decoded."""
    made: list[Decision] = []
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in found.triggers.values()]
    program = compile_program(1, registered, found.policies)
    users = Users(assume_devices=True, decoded_max=decoded_max)
    run = Backtest(program, made.append, users=users, poll_every=poll_every)
    run.feed(iter(events))
    run.finish(drain=True)
    return run, made


def identified(at: int, anonymous: str, known: str) -> tuple[int, Event]:
    a, made = event(at, known, "x")
    made.type, made.event, made.anonymous_id = "identify", None, anonymous
    return a, made


def with_merges(events: list[tuple[int, Event]], told: list[int]) -> list[tuple[int, Event]]:
    """Some of the events say instead that eve is ann or bob, or tell a device or its loss."""
    found = []
    for (a, made), what in zip(events, cycle(told), strict=False):
        if what in (0, 1):
            found.append(identified(a - T0, "eve", ("ann", "bob")[what]))
            continue
        if what in (2, 3):
            made.context = {"device": {"token": f"t{what}", "type": "ios"}}
        if what == 3:
            made.event = "Push Disabled"
        found.append((a, made))
    return found


@pytest.mark.parametrize("definitions", [FOLLOWED, WITHOUT_IDLE])
@settings(max_examples=60)
@given(
    made=moments,
    told=st.lists(st.integers(0, 9), min_size=1),
    poll_every=st.integers(1, 9),
    decoded_max=st.integers(0, 3),
)
def test_neither_batch_size_nor_packing_states_changes_a_decision_or_a_counter(
    definitions: Definitions,
    made: list[tuple[int, str, str, int]],
    told: list[int],
    poll_every: int,
    decoded_max: int,
) -> None:
    events = with_merges(history(made), told)
    whole, expected = decided(definitions, events, drain=True)
    run, found = decided_in(definitions, events, poll_every=poll_every, decoded_max=decoded_max)
    assert outcomes(found) == outcomes(expected)
    # Users come out of their queue in another order: a counter may pass through 0.
    assert +Counter(run.funnel) == +Counter(whole.funnel)
    assert run.result().timelines() == whole.result().timelines()


def test_a_message_of_a_timer_is_accepted_when_it_is_decided_also_where_the_log_is_silent() -> None:
    events = [event(0, "ann", "Product Added"), event(90 * DAY, "bob", "Something Else")]
    run, found = decided(definitions(CART, SECOND_CART), events)
    accepted = {key.trigger: key.day for key in run.funnel if key.stage == "ACCEPTED"}
    assert outcomes(found) == [
        ("ann", "cart", HOUR, "ADMITTED"),
        ("ann", "second-cart", 2 * HOUR, "ADMITTED"),
    ]
    assert accepted == {"cart": T0 // DAY, "second-cart": T0 // DAY}


def accepted_of(run: Backtest) -> dict[str, int]:
    """How many messages of each trigger were accepted."""
    found = Counter[str]()
    for key, number in run.funnel.items():
        found[key.trigger] += number if key.stage == "ACCEPTED" else 0
    return dict(+found)


def after(name: str, first: str) -> dict[str, Any]:
    """A trigger that says something at once when a message of another is accepted."""
    return {"id": name, "state": "live", "when": {"outcome": "accepted", "trigger": first}}


def test_a_message_that_follows_another_at_once_is_accepted_too() -> None:
    bought = {**after("third", "second"), "goal": {"event": "Order Completed", "within": "1d"}}
    events = [event(0, "ann", "Product Viewed"), event(HOUR, "ann", "Order Completed")]
    chain = definitions({"id": "first", **UNNAMED_LOOK}, after("second", "first"), bought)
    run, found = decided(chain, events)
    assert outcomes(found) == [
        ("ann", "first", 0, "ADMITTED"),
        ("ann", "second", 1, "ADMITTED"),
        ("ann", "third", 2, "ADMITTED"),
    ]
    assert accepted_of(run) == {"first": 1, "second": 1, "third": 1}
    assert run.tally.triggers["third"].converted == 1


def test_a_cancel_at_the_deadline_wins_though_a_message_of_that_moment_was_answered() -> None:
    chain = definitions(CART, {"id": "first", **UNNAMED_LOOK}, after("second", "first"))
    events = [
        event(0, "ann", "Product Added"),
        event(HOUR, "ann", "Product Viewed"),
        event(HOUR, "ann", "Order Completed"),
    ]
    _, found = decided(chain, events)
    assert ("ann", "cart", HOUR, "CANCELLED") in outcomes(found)


def test_what_a_silence_that_is_told_late_made_due_is_decided_before_a_message_is_answered() -> (
    None
):
    silences = [
        {"id": f"after-{hours}h", "state": "live", "when": {"idle": f"{hours}h"}}
        for hours in (1, 2)
    ]
    told = history([(0, "bob", "Something Else", 0), (DAY, "ann", "Something Else", 5 * HOUR)])
    events = [*told, event(2 * DAY, "bob", "Something Else")]
    _, found = decided(definitions(*silences, after("second", "after-1h")), events)
    mine = [decision for decision in found if decision.user == "ann"]
    assert [one.trigger for one in mine[:3]] == ["after-1h", "after-2h", "second"]
    assert mine[2].at_ms == mine[1].at_ms > mine[0].at_ms


def test_what_a_late_start_made_due_is_decided_before_a_message_is_answered() -> None:
    """As live: a poll comes behind the event, and the outcome behind that."""
    look = {**UNNAMED_LOOK, "id": "look", "class": "transactional"}
    late = {"id": "late", "state": "live", "when": {"event": "Product Viewed"}, "wait": "30m"}
    found = definitions(look, after("second", "look"), late, policies=SPACED)
    events = history([(DAY, "ann", "Product Viewed", HOUR)])
    expected = [
        ("ann", "late", DAY, "ADMITTED"),
        ("ann", "look", DAY, "ADMITTED"),
        ("ann", "second", DAY + 1, "SPACING"),
    ]
    run, made = decided(found, events, drain=True)
    assert outcomes(made) == expected
    told = explain_events(run.program, "ann", events, {"ann"}).entries
    assert [entry.at - T0 for entry in told if entry.trigger == "late"][-1] == DAY


@pytest.mark.parametrize("poll_every", [1, 500])
def test_what_was_due_to_a_guest_is_accepted_before_they_become_somebody(poll_every: int) -> None:
    events = [
        event(0, "anon", "Product Added"),
        event(DAY, "bea", "Something Else"),
        identified(400 * DAY, "anon", "ann"),
    ]
    run, found = decided_in(definitions(CART, SECOND_CART), events, poll_every=poll_every)
    assert outcomes(found) == [
        ("anon", "cart", HOUR, "ADMITTED"),
        ("anon", "second-cart", 2 * HOUR, "ADMITTED"),
    ]
    days = {key.trigger: key.day for key in run.funnel if key.stage == "ACCEPTED"}
    assert days == {"cart": T0 // DAY, "second-cart": T0 // DAY}


@pytest.mark.parametrize(("user", "other"), [("ann", "bob"), ("bob", "ann")])
def test_a_goal_credits_what_a_silence_led_to_though_nothing_polled_or_followed_its_user(
    user: str, other: str
) -> None:
    goal = {"goal": {"event": "Order Completed", "within": "30d"}}
    run = make_run(definitions({**SILENCE, **goal}), ignore)
    # One of the two is not followed; their silence is due when the goal is met, and not decided.
    run.followed = Followed(followed_max=1)
    run.feed(
        [
            event(0, user, "Something Else"),
            event(8 * DAY, other, "Something Else"),
            event(9 * DAY, user, "Order Completed"),
        ]
    )
    assert run.tally.triggers["silence"].converted == 1


@pytest.mark.parametrize("triggers", [(LOOK,), (LOOK, SILENCE)])
def test_a_device_is_known_whatever_event_told_it(triggers: tuple[dict[str, Any], ...]) -> None:
    events = [
        event(0, "ann", "Something Else"),
        event(HOUR, "ann", "Push Disabled"),
        event(2 * HOUR, "ann", "Product Viewed"),
    ]
    for (_, made), token in zip(events, ("tablet", "phone"), strict=False):
        made.context = {"device": {"token": token, "type": "ios"}}
    _, found = decided(definitions(*triggers), events)
    assert [row[3] for row in outcomes(found)] == ["ADMITTED"]
    _, found = decided(definitions(*triggers), events[1:])
    assert [row[3] for row in outcomes(found)] == ["NO_DEVICE"]


def test_an_app_that_was_uninstalled_is_gone_though_nothing_else_is_known_of_its_user() -> None:
    gone = event(0, "ann", "Application Uninstalled")
    _, found = decided(definitions(LOOK), [gone, event(HOUR, "ann", "Product Viewed")])
    assert [row[3] for row in outcomes(found)] == ["NO_DEVICE"]


LEARNT = definitions(
    {**LOOK, "send_at": "usual_hour"},
    {**CART, "category": "news"},
    policies={"default": {"grace": "0s", "quiet": ["22:00", "08:00"]}},
)


@pytest.mark.parametrize("assume_devices", [True, False])
@settings(max_examples=60)
@given(made=moments, told=st.lists(st.integers(0, 5), min_size=1))
def test_passing_over_what_is_known_already_decides_as_if_it_were_learnt_again(
    assume_devices: bool, made: list[tuple[int, str, str, int]], told: list[int]
) -> None:
    events = history(made)
    zones = ("Europe/Berlin", "America/Lima", None)
    for (_, found), what in zip(events, cycle(told), strict=False):
        found.context = {"device": {"token": f"t{what % 2}", "type": "ios"}}
        if zone := zones[what % 3]:
            found.context["timezone"] = zone
    _, shortened = decided(LEARNT, events, drain=True, assume_devices=assume_devices)
    # Nothing is known of a state that is packed: each event goes through the core.
    users = Users(assume_devices=assume_devices, decoded_max=0)
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in LEARNT.triggers.values()]
    program = compile_program(1, registered, LEARNT.policies)
    whole: list[Decision] = []
    run = Backtest(program, whole.append, users=users, poll_every=1, assume_devices=assume_devices)
    run.feed(iter(events))
    run.finish(drain=True)
    assert outcomes(shortened) == outcomes(whole)


@settings(max_examples=50)
@given(moments, st.lists(st.integers(0, 24), max_size=10))
def test_events_that_no_trigger_names_change_nothing_unless_they_are_activity(
    made: list[tuple[int, str, str, int]], places: list[int]
) -> None:
    without_idle = definitions(CART, LOOK, policies=SPACED)
    events = history(made)
    more = list(events)
    for place in places:
        a = more[min(place, len(more) - 1)][0] - T0 if more else 0
        more.append(event(a, "ann", "Irrelevant"))
    more.sort(key=lambda row: row[0])
    _, plain = decided(without_idle, events, drain=True)
    _, padded = decided(without_idle, more, drain=True)
    assert outcomes(plain) == outcomes(padded)


def test_an_idle_user_is_reported_once_per_silence() -> None:
    events = [event(0, "ann", "Something Else"), event(20 * DAY, "ann", "Something Else")]
    _, found = decided(definitions(SILENCE), events, drain=True)
    days = [round(d.at_ms - T0) // DAY for d in found]
    assert days == [7, 27]


def test_pending_timers_stay_pending_without_drain() -> None:
    run, found = decided(definitions(CART), [event(0, "ann", "Product Added")])
    assert found == []
    assert run.pending == 1


def test_without_assumptions_only_registered_devices_can_be_reached() -> None:
    a, silent = event(0, "ann", "Product Viewed")
    with_phone = event(MINUTE, "bob", "Product Viewed")
    with_phone[1].context = {"device": {"token": "t", "type": "ios"}}
    _, found = decided(definitions(LOOK), [(a, silent), with_phone], assume_devices=False)
    assert [row[3] for row in outcomes(found)] == ["NO_DEVICE", "ADMITTED"]


def test_a_collision_names_who_was_kept_back_and_by_whom() -> None:
    events = [
        event(0, "ann", "Product Added"),
        event(50 * MINUTE, "ann", "Product Viewed"),
        event(2 * HOUR, "ann", "Something Else"),
    ]
    run, _ = decided(definitions(CART, LOOK, policies=SPACED), events)
    assert run.tally.collisions == Counter({("cart", "look", "SPACING"): 1})


def test_days_and_users_are_counted() -> None:
    found = definitions(LOOK)
    events = [event(at, "ann", "Product Viewed") for at in (0, HOUR, 2 * HOUR, DAY)]
    run, _ = decided(found, [*events, event(DAY, "bob", "Something Else")])
    assert [counts["admitted"] for _, counts in sorted(run.tally.days.items())] == [3, 1]
    assert +run.tally.user_days == Counter({3: 1, 1: 1})
    assert run.users == 2
    assert [slot.sent for slot in run.held.slots.values()] == [4, 0]


def test_a_conversion_credits_the_last_message_whose_goal_it_reaches() -> None:
    events = [
        event(0, "ann", "Product Added"),
        event(90 * MINUTE, "ann", "Product Viewed"),
        event(2 * HOUR, "ann", "Order Completed"),
        event(3 * HOUR, "ann", "Order Completed"),
    ]
    run, _ = decided(definitions(CART, LOOK), events)
    assert {name: one.converted for name, one in run.tally.triggers.items()} == {
        "cart": 0,
        "look": 1,
    }


def test_a_goal_outside_its_time_converts_nothing() -> None:
    events = [event(0, "ann", "Product Viewed"), event(2 * HOUR + 1, "ann", "Order Completed")]
    run, _ = decided(definitions(LOOK), events)
    assert run.tally.triggers["look"].converted == 0
    run, _ = decided(definitions(LOOK), [events[0], event(2 * HOUR, "ann", "Order Completed")])
    assert run.tally.triggers["look"].converted == 1


def test_a_goal_event_counts_for_a_message_that_was_due_before_it() -> None:
    events = [
        event(0, "ann", "Product Added"),
        event(0, "ann", "Something Else"),
        event(HOUR + 1, "ann", "Order Completed"),
    ]
    run, found = decided(definitions(CART), events)
    assert [row[3] for row in outcomes(found)] == ["ADMITTED"]
    assert run.tally.triggers["cart"].converted == 1


def test_what_went_into_the_message_of_another_is_counted_as_bundled() -> None:
    found = definitions({**LOOK, "per": "event", "bundle": {"window": "1h", "max": 10}})
    events = [event(at, "ann", "Product Viewed") for at in (0, MINUTE, 2 * MINUTE)]
    run, _ = decided(found, events)
    assert run.pending == 3
    run, _ = decided(found, events, drain=True)
    tally = run.tally.triggers["look"]
    assert (tally.candidates, tally.admitted, dict(tally.suppressed)) == (3, 1, {"BUNDLED": 2})


def test_what_an_anonymous_profile_began_goes_on_in_the_known_one() -> None:
    events = [
        event(0, "anon", "Product Added"),
        event(MINUTE, "bea", "Something Else"),
        identified(2 * MINUTE, "anon", "ann"),
        event(30 * MINUTE, "ann", "Order Completed"),
        event(40 * MINUTE, "anon", "Product Added"),
        event(3 * HOUR, "bea", "Something Else"),
    ]
    _, found = decided(definitions(CART), events)
    assert [(row[0], row[3]) for row in outcomes(found)] == [
        ("ann", "CANCELLED"),
        ("ann", "ADMITTED"),
    ]


def test_a_ghost_is_suppressed_where_it_is_decided_and_counts_as_no_message() -> None:
    withheld = {**LOOK, "experiment": {"control": "50%", "variants": {"a": "50%"}}}
    users = [f"user-{number}" for number in range(20)]
    events = [event(MINUTE * n, user, "Product Viewed") for n, user in enumerate(users)]
    run, made = decided(definitions(withheld), events)
    arms = {found.user: found.variant for found in made}
    ghosts = [user for user, arm in arms.items() if arm == "control"]
    assert 0 < len(ghosts) < 20
    tally = run.tally.triggers["look"]
    assert (tally.admitted, tally.suppressed) == (20 - len(ghosts), {"CONTROL": len(ghosts)})
    assert {d.outcome for d in made if d.user in ghosts} == {"SUPPRESSED"}


def test_a_pattern_that_waits_for_a_message_hears_of_no_ghost() -> None:
    withheld = {**LOOK, "experiment": {"control": "99%", "variants": {"a": "1%"}}}
    then = {"id": "then", "state": "live", "when": {"outcome": "accepted", "trigger": "look"}}
    users = [f"user-{number}" for number in range(100)]
    events = [event(MINUTE * n, user, "Product Viewed") for n, user in enumerate(users)]
    _, made = decided(definitions(withheld, then), events)
    treated = {found.user for found in made if found.variant == "a"}
    assert {found.user for found in made if found.trigger == "then"} == treated
    assert len(treated) < 10
