"""Credit: one goal event credits one delivery, and what else follows a message (language.md)."""

from collections import Counter
from typing import Any

import pytest

from schemas.outcomes import OutcomeRow
from schemas.reasons import Reason, Unevaluated
from schemas.records import OutcomeRecord, PreferenceRecord, preference_event
from tests.unit.triggers.user import HELLO, User, ms, program_of, text
from triggers.decide import apply_merge, apply_merged, apply_outcome
from triggers.effects import Effects
from triggers.state import DAY_MS, TOUCHES_MAX, UserState, decode_state, encode_state

GOAL = {"event": "Ordered", "within": "2d", "value": "properties.revenue"}
#: Fires at once, and hopes for an order.
ONE: dict[str, Any] = {"id": "one", "state": "live", "when": {"event": "A"}, "goal": GOAL}
TWO: dict[str, Any] = {"id": "two", "state": "live", "when": {"event": "B"}, "goal": GOAL}
#: An hour before the next message.
NEXT = "1h"


def send(user: User, at: str, name: str) -> str:
    """A message that is sent on the event `name` and accepted at once; its delivery id."""
    before = len(user.effects.deliveries)
    user.event(at, name)
    assert len(user.effects.deliveries) == before + 1
    user.outcome(at, Reason.ACCEPTED)
    return user.effects.deliveries[-1].delivery_id


def rows(user: User, kind: str) -> list[OutcomeRow]:
    return [row for row in user.effects.outcomes if row.kind == kind]


def credited(user: User) -> list[str]:
    """`3h one`: when a conversion was counted, and of which trigger."""
    return [f"{text(row.at_ms)} {row.trigger}" for row in rows(user, "converted")]


def stages(user: User) -> dict[str, int]:
    """The funnel without its keys: stage -> number."""
    found: Counter[str] = Counter()
    for key, number in user.effects.funnel.items():
        found[key.stage] += number
    return dict(found)


def test_a_goal_credits_the_last_message_accepted() -> None:
    user = User(program_of(ONE, TWO))
    send(user, "0s", "A")
    last = send(user, "1h", "B")
    user.event("3h", "Ordered", revenue=10)
    assert credited(user) == ["3h two"]
    assert rows(user, "converted")[0].delivery_id == last


def test_the_last_click_comes_before_the_last_message() -> None:
    user = User(program_of(ONE, TWO))
    clicked = send(user, "0s", "A")
    send(user, "1h", "B")
    user.event("2h", "Push Clicked", delivery_id=clicked)
    user.event("3h", "Ordered")
    assert credited(user) == ["3h one"]


def test_of_two_clicks_the_later_one_is_credited() -> None:
    user = User(program_of(ONE, TWO))
    first, second = send(user, "0s", "A"), send(user, "1h", "B")
    user.event("2h", "Push Clicked", delivery_id=second)
    user.event("2h1m", "Push Clicked", delivery_id=first)
    user.event("3h", "Ordered")
    assert credited(user) == ["3h one"]


def test_a_click_after_the_goal_by_the_clients_clock_does_not_count_for_it() -> None:
    user = User(program_of(ONE, TWO))
    first = send(user, "0s", "A")
    send(user, "1h", "B")
    user.event("3h", "Push Clicked", delivery_id=first)
    user.event("4h", "Ordered", e="2h")
    assert credited(user) == ["4h two"]


@pytest.mark.parametrize("name", ["delivery_id", "tripline_delivery_id"])
def test_the_delivery_a_goal_event_names_comes_before_every_click(name: str) -> None:
    user = User(program_of(ONE, TWO))
    first, second = send(user, "0s", "A"), send(user, "1h", "B")
    user.event("2h", "Push Clicked", delivery_id=second)
    named: dict[str, Any] = {name: first}
    user.event("3h", "Ordered", **named)
    assert credited(user) == ["3h one"]


def test_a_delivery_that_is_not_ours_is_as_if_none_were_named() -> None:
    user = User(program_of(ONE, TWO))
    send(user, "0s", "A")
    user.event("3h", "Ordered", delivery_id="ab" * 16)
    assert credited(user) == ["3h one"]


@pytest.mark.parametrize(("priority", "winner"), [(51, "two"), (50, "one"), (49, "one")])
def test_ties_go_by_priority_then_by_id(priority: int, winner: str) -> None:
    user = User(program_of(ONE, {**TWO, "priority": priority}))
    user.event("0s", "A")
    user.event("1m", "B")
    for number in (0, 1):
        user.outcome("2m", Reason.ACCEPTED, delivery=number)
    user.event("3h", "Ordered")
    assert credited(user) == [f"3h {winner}"]


@pytest.mark.parametrize(("priority", "winner"), [(51, "one"), (50, "one"), (49, "two")])
def test_clicks_of_one_moment_are_a_tie_whichever_message_was_accepted_last(
    priority: int, winner: str
) -> None:
    user = User(program_of({**ONE, "priority": priority}, TWO))
    first, second = send(user, "0s", "A"), send(user, "1h", "B")
    for number, delivery in enumerate((second, first)):
        user.event(f"2h{number}ms", "Push Clicked", e="2h", delivery_id=delivery)
    user.event("3h", "Ordered")
    assert credited(user) == [f"3h {winner}"]


def test_a_goal_counts_within_its_window_by_the_clients_time() -> None:
    for e, found in (("2d", ["2d12h one"]), ("2d1ms", [])):
        user = User(program_of(ONE))
        send(user, "0s", "A")
        user.event("2d12h", "Ordered", e=e)
        assert credited(user) == found


def test_a_goal_before_the_message_was_accepted_is_not_its_doing() -> None:
    user = User(program_of(ONE))
    user.event("1h", "A")
    user.event("1h", "Ordered", e="59m")
    user.outcome("2h", Reason.ACCEPTED)
    user.event("3h", "Ordered", e="1h59m")
    assert credited(user) == []


def test_a_goal_event_of_more_than_a_day_ago_is_late() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1d2h", "Ordered", e="1h")
    assert credited(user) == []
    assert user.effects.unevaluated["one", Unevaluated.LATE_EVENT] == 1


@pytest.mark.parametrize("how", [Reason.REJECTED, Reason.UNREGISTERED, Reason.EXPIRED])
def test_a_message_that_was_not_delivered_is_credited_nothing(how: Reason) -> None:
    user = User(program_of(ONE))
    user.event("0s", "A")
    user.outcome("1m", how)
    user.event("1h", "Ordered")
    assert (credited(user), user.state.touches) == ([], [])


def test_a_message_that_may_have_been_delivered_is_credited_when_it_was_clicked() -> None:
    user = User(program_of(ONE))
    user.event("0s", "A")
    user.outcome("1m", Reason.UNKNOWN)
    user.event("1h", "Ordered")
    assert credited(user) == []
    user.event("2h", "Push Clicked", delivery_id=user.effects.deliveries[0].delivery_id)
    user.event("3h", "Ordered")
    assert credited(user) == ["3h one"]


def test_a_message_converts_once() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "Ordered", revenue=1)
    user.event("2h", "Ordered", revenue=1)
    assert credited(user) == ["1h one"]
    assert stages(user)["VALUE"] == 1_000_000


def test_an_event_sent_twice_is_credited_once() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "Ordered", id="order", timeless=True)
    send(user, "2h", "A")
    user.event("3h", "Ordered", id="order", timeless=True)
    assert credited(user) == ["1h one"]


def test_an_event_that_is_not_the_goal_of_the_trigger_credits_nothing() -> None:
    goal = {**GOAL, "where": {"properties.revenue": {"gte": 10}}}
    user = User(program_of({**ONE, "goal": goal}))
    send(user, "0s", "A")
    user.event("1h", "Ordered", revenue=9)
    user.event("2h", "Viewed", revenue=10)
    assert credited(user) == []
    user.event("3h", "Ordered", revenue="10")
    assert user.effects.unevaluated["one", Unevaluated.COULD_NOT_EVALUATE] == 1
    user.event("4h", "Ordered", revenue=10)
    assert credited(user) == ["4h one"]


@pytest.mark.parametrize(
    ("said", "millionths"),
    [
        (10, 10_000_000),
        (19.99, 19_990_000),
        (0.1 + 0.2, 300_000),
        (1e-7, 0),
        (-5, -5_000_000),
        (10**12, 10**18),
        (999_999_999.999999, 999_999_999_999_999),
    ],
)
def test_a_value_is_kept_exactly_in_millionths(said: Any, millionths: int) -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "Ordered", revenue=said)
    assert rows(user, "converted")[0].value == millionths
    assert stages(user).get("VALUE", 0) == millionths
    assert user.effects.unevaluated.total() == 0


@pytest.mark.parametrize("said", ["10", True, [10], {}, 10**12 + 1, 1e300, -1e13])
def test_a_value_that_is_no_number_could_not_be_evaluated_and_converts(said: Any) -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "Ordered", revenue=said)
    assert [row.value for row in rows(user, "converted")] == [0]
    assert user.effects.unevaluated["one", Unevaluated.COULD_NOT_EVALUATE] == 1


def test_a_missing_value_is_nothing() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "Ordered")
    assert [row.value for row in rows(user, "converted")] == [0]
    assert user.effects.unevaluated.total() == 0


def test_each_reaction_counts_once_per_delivery() -> None:
    user = User(program_of(ONE))
    delivery = send(user, "0s", "A")
    for hour in (1, 2):
        for name in ("Push Delivered", "Push Opened", "Push Notification Tapped"):
            user.event(f"{hour}h", name, delivery_id=delivery)
    found = stages(user)
    assert [found[kind] for kind in ("ACCEPTED", "DELIVERED", "OPENED", "CLICKED")] == [1] * 4


@pytest.mark.parametrize("kind", [Reason.DELIVERED, Reason.OPENED, Reason.CLICKED])
def test_a_sealed_record_says_the_same_as_a_clients_event(kind: Reason) -> None:
    user = User(program_of(ONE))
    delivery = send(user, "0s", "A")
    record = OutcomeRecord(delivery, user.name, "one", kind, ms("1h"))
    for _ in range(2):
        apply_outcome(user.program, user.name, user.state, record, ms("1h"), user.effects)
    assert [(row.at_ms, row.delivery_id) for row in rows(user, kind.lower())] == [
        (ms("1h"), delivery)
    ]


@pytest.mark.parametrize("name", ["Unsubscribed", "Push Disabled", "Application Uninstalled"])
def test_an_unsubscribe_within_7_days_is_credited_once(name: str) -> None:
    for at, number in (("7d1m", 1), ("7d2m", 0)):
        user = User(program_of({**HELLO, "id": "one"}))
        user.event("0s", "Opened")
        user.outcome("1m", Reason.ACCEPTED)
        user.event(at, name)
        user.event(at, name)
        assert stages(user).get("UNSUBSCRIBED", 0) == number


def test_an_unsubscribe_is_credited_to_the_message_it_names() -> None:
    user = User(program_of(ONE, TWO))
    first = send(user, "0s", "A")
    send(user, "1h", "B")
    user.event("2h", "Unsubscribed", delivery_id=first)
    assert [row.trigger for row in rows(user, "unsubscribed")] == ["one"]


def test_a_ghost_is_credited_as_a_message_is() -> None:
    user = User(program_of(ONE))
    user.event("0s", "A")
    user.state.pending[0].variant = "control"
    user.outcome("1m", Reason.CONTROL)
    delivery = user.effects.deliveries[0].delivery_id
    user.event("30m", "Push Opened", delivery_id=delivery)
    user.event("1h", "Ordered", revenue=2)
    found = [(row.variant, row.value) for row in rows(user, "converted")]
    assert (found, rows(user, "opened")) == ([("control", 2_000_000)], [])


def test_what_the_global_control_group_did_stands_under_its_own_name() -> None:
    user = User(program_of(ONE))
    user.event("0s", "A")
    user.outcome("1m", Reason.GLOBAL_CONTROL)
    user.event("1h", "Ordered")
    assert [row.variant for row in rows(user, "converted")] == ["global_control"]


def test_what_follows_counts_for_the_revision_that_was_sent() -> None:
    user = User(program_of(ONE, revision=3))
    user.event("0s", "A")
    user.program = program_of(ONE, revision=4)
    user.outcome("1m", Reason.ACCEPTED)
    user.event("1h", "Ordered")
    revisions = {key.stage: key.revision for key in user.effects.funnel if key.trigger}
    assert revisions == {"MATCHED": 3, "ADMITTED": 3, "ACCEPTED": 3, "CONVERTED": 3}


def test_the_channel_stands_from_admission_on() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    assert {key.stage: key.channel for key in user.effects.funnel if key.trigger} == {
        "MATCHED": "",
        "ADMITTED": "push",
        "ACCEPTED": "push",
    }


def test_a_transactional_message_that_nobody_asks_about_is_not_followed() -> None:
    user = User(program_of({**HELLO, "class": "transactional"}))
    user.event("0s", "Opened")
    user.outcome("1m", Reason.ACCEPTED)
    assert (user.state.touches, user.program.asked) == ([], {})


def test_the_most_recent_messages_are_followed() -> None:
    user = User(program_of(ONE))
    for hour in range(TOUCHES_MAX + 2):
        send(user, f"{hour}h", "A")
    assert len(user.state.touches) == TOUCHES_MAX
    assert user.effects.evicted["touches"] == 2


def test_a_touch_is_forgotten_when_nothing_can_be_credited_any_more() -> None:
    user = User(program_of({**ONE, "goal": {**GOAL, "within": "10d"}}))
    send(user, "0s", "A")
    assert user.state.due == ms("0s") + 11 * DAY_MS + 1
    user.event("10d23h", "Ordered", e="10d")
    assert credited(user) == ["10d23h one"]
    user.fire("12d")
    assert user.state.touches == []


def test_a_trigger_that_is_gone_leaves_nothing_behind() -> None:
    user = User(program_of(ONE, TWO))
    send(user, "0s", "A")
    user.program = program_of(TWO)
    user.event("1h", "Ordered")
    assert credited(user) == []
    user.fire("12d")
    assert user.state.touches == []


def test_touches_of_two_profiles_are_united() -> None:
    program = program_of(ONE, TWO)
    anonymous, known = User(program, name="anonymous"), User(program, name="known")
    send(known, "0s", "B")
    delivery = send(anonymous, "1h", "A")
    apply_merge(program, "anonymous", anonymous.state, "known", ms("2h"), anonymous.effects)
    moved = anonymous.effects.merges[0].moved
    assert moved is not None
    assert anonymous.state.touches == []
    apply_merged(program, "known", known.state, moved, ms("2h"), known.effects)
    known.event("3h", "Ordered")
    assert [row.delivery_id for row in rows(known, "converted")] == [delivery]


def test_an_outcome_after_the_merge_is_told_to_the_known_profile() -> None:
    program = program_of(ONE)
    anonymous, known = User(program, name="anonymous"), User(program, name="known")
    anonymous.event("0s", "A")
    apply_merge(program, "anonymous", anonymous.state, "known", ms("1m"), anonymous.effects)
    anonymous.effects.merges.clear()
    anonymous.outcome("2m", Reason.ACCEPTED)
    (merge,) = anonymous.effects.merges
    assert merge.known == "known"
    assert merge.moved is not None
    moved = decode_state(encode_state(merge.moved))
    apply_merged(program, "known", known.state, moved, ms("2m"), known.effects)
    known.event("3h", "Ordered")
    assert credited(known) == ["3h one"]


def test_events_that_mean_nothing_find_nothing() -> None:
    program = program_of(ONE)
    user = User(program)
    assert user.program.hits is not None
    for name in ("Viewed", "Push Opened"):
        user.event("0s", name)
    assert user.state == UserState(devices=user.state.devices)
    user.event("1h", "Ordered", revenue=5)
    assert user.state == UserState(devices=user.state.devices)
    assert user.effects == Effects()


def test_a_conversion_and_an_unsubscribe_reach_the_patterns_that_wait_for_them() -> None:
    for stage, name in (("converted", "Ordered"), ("unsubscribed", "Unsubscribed")):
        reaction = {"id": "after", "state": "live", "when": {"outcome": stage, "trigger": "one"}}
        # Who unsubscribes gets no marketing message about it.
        user = User(program_of(ONE, {**reaction, "class": "transactional"}))
        send(user, "0s", "A")
        user.event("1h", name, id="said")
        user.event("2h", name, id="again")
        assert [line for line in user.lines if " after " in line] == ["1h after said ADMITTED"]


def test_a_state_with_touches_is_the_same_after_it_was_stored() -> None:
    user = User(program_of(ONE))
    delivery = send(user, "0s", "A")
    user.event("1h", "Push Clicked", delivery_id=delivery)
    assert decode_state(encode_state(user.state)) == user.state


def prefer(user: User, at: str, **said: Any) -> None:
    record = PreferenceRecord(user=user.name, id=f"p{at}", at_ms=ms(at), **said)
    user.apply(at, preference_event(record))


@pytest.mark.parametrize(
    "said",
    [
        {"all": "out"},
        {"profiling": "out"},
        {"channels": {"push": "out"}},
        {"categories": {"news": "out", "other": "in"}},
    ],
)
def test_a_preference_that_refuses_is_credited_as_an_unsubscribe(said: dict[str, Any]) -> None:
    user = User(program_of(ONE))
    delivery = send(user, "0s", "A")
    prefer(user, "1h", **said)
    assert [row.delivery_id for row in rows(user, "unsubscribed")] == [delivery]


@pytest.mark.parametrize("said", [{"all": "in"}, {"categories": {"news": "in"}}])
def test_a_preference_that_agrees_is_no_unsubscribe(said: dict[str, Any]) -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    prefer(user, "1h", **said)
    assert rows(user, "unsubscribed") == []


def test_a_preference_more_than_seven_days_after_the_message_is_not_credited() -> None:
    user = User(program_of(ONE))
    send(user, "0s", "A")
    prefer(user, "169h", all="out")
    assert rows(user, "unsubscribed") == []


def test_settings_saved_again_are_no_unsubscribe() -> None:
    user = User(program_of(ONE))
    prefer(user, "0s", categories={"other": "out"})
    send(user, "1h", "A")
    prefer(user, "2h", categories={"other": "out"})
    assert rows(user, "unsubscribed") == []
    prefer(user, "3h", categories={"other": "out", "news": "out"})
    assert len(rows(user, "unsubscribed")) == 1


def test_an_unsubscribe_by_a_preference_is_told_to_the_patterns_that_wait_for_it() -> None:
    sorry = {"id": "sorry", "state": "live", "class": "transactional"}
    sorry["when"] = {"outcome": "unsubscribed", "trigger": "one"}  # type: ignore[assignment]
    user = User(program_of(ONE, sorry))
    send(user, "0s", "A")
    prefer(user, "1h", all="out")
    assert user.lines[-1].split()[::3] == ["1h", "ADMITTED"]
    assert user.effects.decisions[-1].trigger == "sorry"


def test_a_dead_token_is_no_unsubscribe() -> None:
    """Tokens rotate: it is no word of the user."""
    user = User(program_of(ONE))
    send(user, "0s", "A")
    user.event("1h", "A")
    user.outcome("1h", Reason.UNREGISTERED, dead=("token",))
    assert user.state.devices == []
    assert rows(user, "unsubscribed") == []
