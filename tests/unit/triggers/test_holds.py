"""Quiet hours, `send_at` and holds. Times are offsets from a Monday, midnight UTC."""

from typing import Any

import pytest

from schemas.reasons import Outcome, Reason
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.state import HELD_MAX, UserState, decode_state, encode_state
from triggers.usual import WEIGHT
from triggers.workspace import load_documents

QUIET = ["22:00", "09:00"]
HALF_DAY = {"for": ["quiet_hours", "send_at"], "at_most": "12h"}


def user_of(*documents: dict[str, Any], **policy: Any) -> User:
    return User(program_of(*documents, **policy))


def restored(user: User) -> None:
    """What another worker would know."""
    user.state = decode_state(encode_state(user.state))


def test_a_message_that_comes_in_quiet_hours_is_decided_when_they_end() -> None:
    user = user_of(HELLO, quiet=QUIET)
    user.event("23h", "Opened")
    assert user.lines == []
    restored(user)
    user.fire("33h")
    assert user.lines == []
    user.fire("33h1s")
    assert user.lines == ["1d9h hello m0 ADMITTED"]


def test_the_first_moment_of_quiet_hours_is_quiet_and_their_end_is_not() -> None:
    for at, expected in (("21h59m59s", 1), ("22h", 0), ("9h", 1), ("8h59m59s", 0)):
        user = user_of(HELLO, quiet=QUIET)
        user.event(at, "Opened")
        assert len(user.lines) == expected, at


def test_held_time_does_not_count_towards_expires() -> None:
    user = user_of({**HELLO, "expires": "10m"}, quiet=QUIET)
    user.event("23h", "Opened")
    user.fire("2d")
    assert user.effects.deliveries[0].expires_at_ms == ms("33h10m")


def test_every_check_runs_again_at_the_release() -> None:
    user = user_of({**HELLO, "audience": {"traits.city": "Almaty"}}, quiet=QUIET)
    user.identify("1h", city="Almaty")
    user.event("23h", "Opened")
    user.identify("24h", city="Berlin")
    user.fire("2d")
    assert user.lines == ["1d9h hello m1 AUDIENCE"]


def test_a_cancel_ends_what_is_held() -> None:
    user = user_of(CART, quiet=QUIET)
    user.event("21h", "Added")
    user.fire("24h")
    assert [held.trigger for held in user.state.held] == ["cart"]
    assert user.effects.pending["cart", 1] == 1
    user.event("25h", "Ordered")
    assert user.lines == ["1d1h cart m0 CANCELLED"]
    assert user.state.held == []
    assert user.effects.pending["cart", 1] == 0


def test_transactional_messages_know_no_quiet_hours() -> None:
    user = user_of({**HELLO, "class": "transactional"}, quiet=QUIET)
    user.event("23h", "Opened")
    assert user.lines == ["23h hello m0 ADMITTED"]


def test_without_a_hold_for_them_quiet_hours_are_the_end() -> None:
    user = user_of({**HELLO, "hold": {"for": ["send_at"]}}, quiet=QUIET)
    user.event("23h", "Opened")
    assert user.lines == ["23h hello m0 QUIET_HOURS"]


def test_a_hold_that_would_last_too_long_expires_when_it_has() -> None:
    user = user_of({**HELLO, "hold": {"at_most": "10h"}}, quiet=QUIET)
    user.event("22h30m", "Opened")
    user.fire("32h30m")
    assert user.lines == []
    user.fire("2d")
    assert user.lines == ["1d8h30m hello m0 EXPIRED"]
    assert user.effects.decisions[0].outcome is Outcome.EXPIRED
    assert user.effects.deliveries == []


def test_of_several_held_messages_the_first_by_priority_then_the_newest_is_sent() -> None:
    low = {**HELLO, "id": "low", "priority": 10}
    user = user_of(low, HELLO, quiet=QUIET)
    user.event("23h", "Opened")
    user.event("24h", "Opened")
    user.fire("2d")
    assert user.lines == [
        "1d9h hello m1 ADMITTED",
        "1d9h hello m0 LOWER_PRIORITY",
        "1d9h low m1 LOWER_PRIORITY",
        "1d9h low m0 LOWER_PRIORITY",
    ]


def test_send_at_holds_until_its_time_of_the_day() -> None:
    user = user_of({**HELLO, "send_at": {"between": ["12:00", "20:00"]}, "hold": HALF_DAY})
    user.event("8h", "Opened")
    user.event("13h", "Opened")
    user.event("21h", "Opened")
    user.fire("3d")
    assert user.lines == [
        "12h hello m0 ADMITTED",
        "13h hello m1 ADMITTED",
        "1d9h hello m2 EXPIRED",
    ]


def test_send_at_and_quiet_hours_are_both_waited_for() -> None:
    user = user_of({**HELLO, "send_at": {"between": ["06:00", "20:00"]}}, quiet=QUIET)
    user.event("5h", "Opened")
    user.fire("2d")
    assert user.lines == ["9h hello m0 ADMITTED"]


def test_hours_are_those_of_the_users_zone() -> None:
    user = user_of(HELLO, quiet=QUIET, zone="Asia/Almaty")
    user.event("4h", "Opened")  # 09:00 in Almaty
    user.identify("5h", zone="America/New_York")  # midnight
    user.event("5h1m", "Opened")
    user.fire("2d")
    assert user.lines == ["4h hello m0 ADMITTED", "14h hello m2 ADMITTED"]


def test_who_travels_while_a_message_is_held_gets_it_by_the_new_clock() -> None:
    user = user_of(HELLO, quiet=QUIET)
    user.event("23h", "Opened")
    user.identify("24h", zone="Asia/Tokyo")  # 09:00 there
    user.fire("2d")
    assert [decision.at_ms - ms("24h") for decision in user.effects.decisions] == [1]


def test_the_usual_hour_is_the_one_most_active_of_the_next_day() -> None:
    trigger = {**HELLO, "send_at": "usual_hour"}
    user = user_of(trigger)
    for day in range(1, 8):
        user.event(f"{day}d18h10m", "Browsed")
        user.event(f"{day}d7h", "Browsed" if day % 2 else "Other")
        user.event(f"{day}d18h50m", "Browsed")
    user.event("9d12h", "Opened")
    restored(user)
    user.fire("11d")
    assert user.lines[0].startswith("9d18h hello")


def test_without_known_habits_the_usual_hour_is_now() -> None:
    user = user_of({**HELLO, "send_at": "usual_hour"})
    user.event("12h", "Opened")
    assert user.lines == ["12h hello m0 ADMITTED"]


def test_each_hour_of_activity_counts_once_and_so_does_the_next_one() -> None:
    user = user_of({**HELLO, "send_at": "usual_hour"})
    for at in ("12h", "12h59m", "13h", "13h1m", "14h"):
        user.event(at, "Browsed")
    assert [*user.state.usual[1].values()] == [WEIGHT] * 3


def test_habits_are_kept_only_while_a_trigger_asks_for_them() -> None:
    asked, not_asked = user_of({**HELLO, "send_at": "usual_hour"}), user_of(HELLO)
    for user in (asked, not_asked):
        user.event("12h", "Browsed")
    assert asked.state.usual
    assert not not_asked.state.usual
    asked.program = not_asked.program
    asked.event("13h", "Opened")
    asked.fire("10d")
    assert not asked.state.usual


def test_a_bundle_that_closes_in_quiet_hours_is_held_whole() -> None:
    trigger = {**HELLO, "per": "event", "bundle": {"window": "1h"}}
    user = user_of(trigger, quiet=QUIET)
    user.event("21h30m", "Opened")
    user.event("21h45m", "Opened")
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 ADMITTED", "1d9h hello m1 BUNDLED"]
    assert len(user.effects.deliveries[0].items) == 2


def test_a_trigger_that_is_gone_at_the_release_is_paused() -> None:
    user = user_of(HELLO, quiet=QUIET)
    user.event("23h", "Opened")
    user.program = program_of(CART, quiet=QUIET)
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 PAUSED"]
    assert not user.state.held


def test_an_apply_may_cancel_what_is_held() -> None:
    user = user_of(HELLO, quiet=QUIET)
    user.event("23h", "Opened")
    user.program = program_of(HELLO, quiet=QUIET)
    user.program.withdrawn = {"hello": ((1, ms("24h")),)}
    user.fire("25h")
    assert user.lines == ["1d hello m0 CANCELLED"]
    assert user.effects.pending["hello", 1] == 0


def test_too_many_held_messages_end_the_oldest() -> None:
    user = user_of(HELLO, quiet=QUIET)
    for number in range(HELD_MAX + 1):
        user.event(f"22h{number}m", "Opened")
    assert user.lines == ["22h32m hello m0 EXPIRED"]
    assert user.effects.evicted["held"] == 1
    assert len(user.state.held) == HELD_MAX


def test_a_delivery_says_when_it_must_not_be_sent() -> None:
    user = user_of({**HELLO, "expires": "1d"}, quiet=QUIET)
    user.event("21h", "Opened")
    assert list(user.effects.deliveries[0].closed) == [ms("22h"), ms("33h")]


def test_quiet_hours_at_the_end_of_a_delivery_are_refunded() -> None:
    user = user_of(HELLO, quiet=QUIET, spacing="1d")
    user.event("21h", "Opened")
    user.outcome("21h30m", Reason.QUIET_HOURS)
    user.event("21h40m", "Opened")
    assert user.lines == ["21h hello m0 ADMITTED", "21h40m hello m1 ADMITTED"]


def test_a_state_without_holds_costs_nothing_more() -> None:
    assert encode_state(UserState()) == encode_state(UserState(held=[], usual=[]))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"quiet": ["22:00"]}, "quiet"),
        ({"quiet": ["22:00", "22:00"]}, "begins and ends at the same time"),
        ({"quiet": [["00:00", "12:00"], ["12:00", "00:00"]]}, "quiet all day long"),
        ({"quiet": ["25:00", "09:00"]}, "not a time of the day"),
    ],
)
def test_impossible_quiet_hours_are_refused(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        load_documents([HELLO], {"default": policy})


def test_a_refund_reaches_the_step_of_its_series_that_is_held() -> None:
    push = {"push": {"title": "t", "body": "b"}}
    series = {
        **HELLO,
        "series": [{"after": f"{hours}h", "message": f"m{hours}"} for hours in (1, 2, 11)],
        "messages": {f"m{hours}": push for hours in (1, 2, 11)},
        "cooldown": "7d",
        "expires": "1d",
    }
    user = user_of(series, quiet=QUIET)
    user.event("12h", "Opened")
    user.fire("13h1m")
    user.outcome("13h2m", Reason.ACCEPTED)
    user.fire("23h30m")
    user.outcome("23h31m", Reason.EXPIRED)
    user.fire("2d")
    assert user.lines == [
        "13h hello m0 ADMITTED",
        "14h hello m0 ADMITTED",
        "1d9h hello m0 ADMITTED",
    ]
