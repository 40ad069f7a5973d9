"""Caps: of all messages or of a category, rolling or by the calendar; given back on failure."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.stream.building import Origin, delivery_of
from schemas.deliveries import CalendarCap
from schemas.reasons import REFUNDED, Reason
from schemas.topics import Topics
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.outlook import outlook
from triggers.policy import Cap
from triggers.state import decode_state, encode_state
from triggers.windows import LONGEST_MS, STARTS_MAX, cap_reach_ms, free_at, starts_until, window_of

HOUR, DAY = 3_600_000, 86_400_000


def at(text: str) -> int:
    """UTC, such as `2025-03-30T01:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def window(kind: str, moment: str, zone: str) -> tuple[str, str]:
    start, end = window_of(kind, at(moment), ZoneInfo(zone))
    return tuple(datetime.fromtimestamp(t / 1000, UTC).isoformat()[:16] for t in (start, end))  # type: ignore[return-value]


# --- calendar windows ---


@pytest.mark.parametrize(
    ("kind", "moment", "zone", "start", "end"),
    [
        ("day", "2025-01-06T23:59", "UTC", "2025-01-06T00:00", "2025-01-07T00:00"),
        ("day", "2025-01-06T19:00", "Asia/Almaty", "2025-01-06T19:00", "2025-01-07T19:00"),
        ("week", "2025-01-12T23:59", "UTC", "2025-01-06T00:00", "2025-01-13T00:00"),
        ("week", "2024-12-30T00:00", "UTC", "2024-12-30T00:00", "2025-01-06T00:00"),
        ("month", "2025-12-31T23:00", "Europe/Berlin", "2025-12-31T23:00", "2026-01-31T23:00"),
        ("month", "2024-02-29T12:00", "UTC", "2024-02-01T00:00", "2024-03-01T00:00"),
        # Days of 23 and 25 hours.
        ("day", "2025-03-30T12:00", "Europe/Berlin", "2025-03-29T23:00", "2025-03-30T22:00"),
        ("day", "2025-10-26T12:00", "Europe/Berlin", "2025-10-25T22:00", "2025-10-26T23:00"),
        # The clocks of Cairo jump over midnight, and go back over it.
        ("day", "2025-04-24T22:00", "Africa/Cairo", "2025-04-24T22:00", "2025-04-25T21:00"),
        ("day", "2025-10-30T21:30", "Africa/Cairo", "2025-10-29T21:00", "2025-10-30T22:00"),
        # Samoa had no 30 December 2011.
        ("day", "2011-12-30T10:30", "Pacific/Apia", "2011-12-30T10:00", "2011-12-31T10:00"),
    ],
)
def test_a_calendar_window_is_that_of_the_zone(
    kind: str, moment: str, zone: str, start: str, end: str
) -> None:
    assert window(kind, moment, zone) == (start, end)


@pytest.mark.parametrize("kind", ["day", "week", "month"])
@pytest.mark.parametrize(
    "zone", ["America/Nuuk", "Africa/Cairo", "America/St_Johns", "Pacific/Apia", "Asia/Beirut"]
)
def test_windows_follow_each_other_without_a_gap_and_none_is_longer_than_said(
    kind: str, zone: str
) -> None:
    place, now, last = ZoneInfo(zone), at("2010-10-01T00:00"), at("2012-02-01T00:00")
    start, end = window_of(kind, now, place)
    while now < last:
        found = window_of(kind, now, place)
        assert found[0] <= now < found[1]
        assert found[1] - found[0] <= LONGEST_MS[kind]
        assert found == (start, end) or found[0] == end
        start, end = found
        now += 13 * 60_000


def test_a_delivery_knows_where_windows_begin_until_it_expires() -> None:
    moment = at("2025-03-29T12:00")
    starts = starts_until("day", moment, moment + DAY, ZoneInfo("Europe/Berlin"))
    assert starts == [at("2025-03-28T23:00"), at("2025-03-29T23:00"), at("2025-03-30T22:00")]
    assert len(starts_until("day", moment, moment + 900 * DAY, ZoneInfo("UTC"))) == STARTS_MAX


def test_a_calendar_cap_is_free_when_its_window_ends() -> None:
    cap = Cap(2, 0, calendar="day")
    day = at("2025-01-06T00:00")
    place = ZoneInfo("UTC")
    assert free_at(cap, [day - 1, day], day + HOUR, place) is None
    assert free_at(cap, [day, day + 1], day + DAY - 1, place) == day + DAY
    assert free_at(cap, [day, day + 1], day + DAY, place) is None
    assert cap_reach_ms(cap) >= DAY


# --- in the decision ---


def hello(name: str = "hello", **changes: Any) -> dict[str, Any]:
    return {**HELLO, "id": name, "when": {"event": name}, **changes}


def ends(user: User, *moments: str, name: str = "hello") -> list[str]:
    before = len(user.lines)
    for moment in moments:
        user.event(moment, name)
    return [line.split()[-1] for line in user.lines[before:]]


def test_a_calendar_cap_lets_one_through_on_either_side_of_midnight() -> None:
    user = User(program_of(hello(), caps=[{"max": 1, "calendar": "day"}]))
    assert ends(user, "23h", "23h59m", "24h", "24h1m", "47h59m", "48h") == [
        "ADMITTED",
        "FREQUENCY_CAP",
        "ADMITTED",
        "FREQUENCY_CAP",
        "FREQUENCY_CAP",
        "ADMITTED",
    ]


def test_the_day_is_that_of_the_user_and_of_the_policy_while_that_is_unknown() -> None:
    caps = [{"max": 1, "calendar": "day"}]
    user = User(program_of(hello(), caps=caps, zone="Asia/Almaty"))
    # Midnight in Almaty is 19:00 UTC, in New York 05:00.
    assert ends(user, "18h", "18h30m", "19h") == ["ADMITTED", "FREQUENCY_CAP", "ADMITTED"]
    user.identify("20h", zone="America/New_York")
    assert ends(user, "28h", "29h") == ["FREQUENCY_CAP", "ADMITTED"]
    user.identify("30h", zone="Nowhere/Atlantis")
    assert ends(user, "31h", "43h") == ["FREQUENCY_CAP", "ADMITTED"]


def test_a_month_is_remembered_to_its_last_day() -> None:
    user = User(program_of(hello(), caps=[{"max": 1, "calendar": "month"}]))
    # T0 is 6 January; February begins 26 days later, and a leap through all timers comes between.
    assert ends(user, "0s") == ["ADMITTED"]
    user.outcome("1m", Reason.ACCEPTED)
    user.fire("25d23h")
    assert ends(user, "25d23h", "26d", "27d") == ["FREQUENCY_CAP", "ADMITTED", "FREQUENCY_CAP"]
    user.outcome("27d", Reason.ACCEPTED, delivery=1)
    user.fire("400d")
    assert user.state.sends == []


def test_a_cap_of_a_category_holds_for_that_category_alone() -> None:
    user = User(
        program_of(
            hello("a", category="news"),
            hello("b", category="offers"),
            hello("c"),
            caps=[{"max": 1, "per": "1d", "category": "news"}],
        )
    )
    assert ends(user, "0s", "1h", name="a") == ["ADMITTED", "FREQUENCY_CAP"]
    assert ends(user, "2h", "3h", name="b") == ["ADMITTED", "ADMITTED"]
    assert ends(user, "4h", name="c") == ["ADMITTED"]
    assert ends(user, "24h", name="a") == ["ADMITTED"]
    assert user.state.sent_by == {"news": [ms("0s"), ms("24h")]}
    assert decode_state(encode_state(user.state)) == user.state
    user.fire("100d")
    assert user.state.sent_by == {}


def test_many_messages_of_other_categories_do_not_push_out_what_a_category_has_sent() -> None:
    caps = [{"max": 1, "per": "7d", "category": "news"}, {"max": 1, "per": "1m"}]
    user = User(program_of(hello("a", category="news"), hello("b"), caps=caps))
    assert ends(user, "0s", name="a") == ["ADMITTED"]
    for number in range(1, 40):
        assert ends(user, f"{number}h", name="b") == ["ADMITTED"]
        user.outcome(f"{number}h", Reason.ACCEPTED, delivery=number)
    assert ends(user, "6d", "7d", name="a") == ["FREQUENCY_CAP", "ADMITTED"]


@pytest.mark.parametrize("reason", sorted(Reason), ids=lambda reason: reason.value)
@pytest.mark.parametrize(
    "cap",
    [
        {"max": 1, "calendar": "day"},
        {"max": 1, "per": "1d", "category": "news"},
        {"max": 1, "calendar": "week", "category": "news"},
        {"max": 1, "per": "1d", "channel": "push"},
    ],
    ids=str,
)
def test_a_definite_failure_gives_back_every_kind_of_cap(
    reason: Reason, cap: dict[str, Any]
) -> None:
    user = User(program_of(hello(category="news"), caps=[cap]))
    ends(user, "0s")
    user.outcome("1m", reason)
    assert ends(user, "2m") == ["ADMITTED" if reason in REFUNDED else "FREQUENCY_CAP"]


def test_what_the_gate_is_asked_are_the_limits_of_the_message() -> None:
    caps = [
        {"max": 3, "per": "7d"},
        {"max": 1, "per": "1d", "category": "news"},
        {"max": 2, "per": "1d", "category": "offers"},
        {"max": 2, "calendar": "day", "channel": "push"},
        {"max": 4, "calendar": "day", "category": "news"},
    ]
    user = User(program_of(hello(category="news", expires="26h"), hello("b"), caps=caps))
    user.event("1h", "hello")
    user.event("2h", "b")
    news, other = (
        delivery_of(admitted, Origin(0, 1, Topics())).limits for admitted in user.effects.deliveries
    )
    days = [ms("0s"), ms("1d"), ms("2d")]
    assert (news.caps, news.category) == ([(3, 7 * DAY)], "news")
    assert news.own_caps == [(1, DAY)]
    assert news.calendars == [CalendarCap(2, False, days), CalendarCap(4, True, days)]
    assert (other.caps, other.category, other.own_caps) == ([(3, 7 * DAY)], "", [])
    assert other.calendars == [CalendarCap(2, False, days[:2])]


def test_a_check_tells_what_a_calendar_cap_counted_and_when_it_is_free() -> None:
    caps = [{"max": 1, "calendar": "day"}, {"max": 5, "per": "7d", "category": "news"}]
    user = User(program_of(hello(category="news"), caps=caps, zone="Asia/Almaty"))
    user.event("1h", "hello")
    trigger = user.program.triggers["hello"]
    checks = outlook(trigger, "u", user.state, ms("2h")).checks
    (check,) = [check for check in checks if check.name == "caps"]
    assert check.reason is Reason.FREQUENCY_CAP
    assert check.values["free_at"] == ms("19h")
    assert check.values["caps"] == [
        {"max": 1, "calendar": "day", "zone": "Asia/Almaty", "used": 1},
        {"max": 5, "per_ms": 7 * DAY, "category": "news", "used": 1},
    ]
