"""`{date, repeat, offset, at, missed}`: a day comes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event, to_ms
from schemas.reasons import Unevaluated
from tests.unit.triggers.user import HELLO, T0, User, ms, program_of
from triggers.calendar import Rule, find_zone, next_occurrence, parse_date
from triggers.state import decode_state, encode_state
from triggers.workspace import DefinitionErrors

BIRTHDAY: dict[str, Any] = {"date": "traits.birthday", "repeat": "yearly", "at": "10:00"}


def user_of(registered: int = 0, zone: str = "UTC", **when: Any) -> User:
    document = {**HELLO, "when": {**BIRTHDAY, **when}}
    return User(program_of(document, registered=registered, zone=zone))


def moments(user: User) -> list[str]:
    """When it decided, as UTC."""
    return [
        datetime.fromtimestamp(d.at_ms / 1000, UTC).isoformat(sep=" ", timespec="minutes")[:16]
        for d in user.effects.decisions
    ]


def day_of(offset: str) -> str:
    return datetime.fromtimestamp(ms(offset) / 1000, UTC).date().isoformat()


def test_a_birthday_comes_every_year_at_its_time() -> None:
    user = user_of()
    user.identify("0s", birthday="1990-02-14")
    user.fire("800d")
    assert moments(user) == ["2025-02-14 10:00", "2026-02-14 10:00", "2027-02-14 10:00"]
    assert user.lines[0].endswith("hello date:739296 ADMITTED")


def test_without_repeat_it_comes_once() -> None:
    user = User(program_of({**HELLO, "when": {"date": "traits.expires", "offset": "-3d"}}))
    user.identify("0s", expires="2025-02-10T15:30:00+02:00")
    user.fire("3000d")
    assert moments(user) == ["2025-02-07 13:30"]
    assert user.state.due == 0


def test_a_plain_date_without_at_begins_at_midnight_in_the_users_zone() -> None:
    user = User(program_of({**HELLO, "when": {"date": "traits.expires"}}))
    user.identify("0s", expires="2025-02-10", zone="Asia/Almaty")
    user.fire("60d")
    assert moments(user) == ["2025-02-09 19:00"]


@pytest.mark.parametrize(
    ("offset", "moment"),
    [("-3d", "2025-02-11"), ("7d", "2025-02-21"), ("0s", "2025-02-14"), ("-366d", "2025-02-13")],
)
def test_an_offset_counts_calendar_days(offset: str, moment: str) -> None:
    user = user_of(offset=offset)
    user.identify("0s", birthday="--02-14")
    user.fire("450d")
    assert moments(user)[0] == f"{moment} 10:00"


def test_hours_may_be_added_where_no_time_of_the_day_is_named() -> None:
    user = User(program_of({**HELLO, "when": {"date": "traits.visit", "offset": "-2h"}}))
    user.identify("0s", visit="2025-01-10T15:00:00Z")
    user.fire("60d")
    assert moments(user) == ["2025-01-10 13:00"]


def test_29_february_is_the_28th_in_other_years() -> None:
    user = user_of()
    user.identify("0s", birthday="1992-02-29")
    user.fire("1600d")
    assert [m[:10] for m in moments(user)] == [
        "2025-02-28",
        "2026-02-28",
        "2027-02-28",
        "2028-02-29",
        "2029-02-28",
    ]


def test_the_day_is_that_of_the_users_zone_else_of_the_policys() -> None:
    known, unknown, wrong = (user_of(zone="Asia/Almaty") for _ in range(3))
    known.identify("0s", birthday="--02-14", zone="America/New_York")
    unknown.identify("0s", birthday="--02-14")
    wrong.identify("0s", birthday="--02-14", zone="Mars/Olympus")
    for user in (known, unknown, wrong):
        user.fire("60d")
    assert moments(known) == ["2025-02-14 15:00"]
    assert moments(unknown) == moments(wrong) == ["2025-02-14 05:00"]


def test_a_time_that_the_clocks_jump_over_moves_forward_and_of_two_the_first_counts() -> None:
    gap, fold = user_of(at="02:30"), user_of(at="02:30")
    gap.identify("0s", birthday="--03-30", zone="Europe/Berlin")
    fold.identify("0s", birthday="--10-26", zone="Europe/Berlin")
    for user in (gap, fold):
        user.fire("340d")
    assert moments(gap) == ["2025-03-30 01:30"]
    assert moments(fold) == ["2025-10-26 00:30"]


def test_a_changed_date_rearms() -> None:
    user = user_of()
    user.identify("0s", birthday="1990-02-14")
    user.identify("1d", birthday="1990-03-01")
    user.fire("60d")
    assert [m[:10] for m in moments(user)] == ["2025-03-01"]
    user.identify("61d", birthday="1990-04-01")
    user.fire("100d")
    assert [m[:10] for m in moments(user)] == ["2025-03-01", "2025-04-01"]


def test_a_date_taken_away_comes_no_more() -> None:
    user = user_of()
    user.identify("0s", birthday="1990-02-14")
    user.identify("1d", birthday=None)
    user.fire("400d")
    assert user.lines == []


def test_a_day_comes_once_although_the_zone_or_the_text_of_the_date_changes() -> None:
    user = user_of()
    user.identify("0s", birthday="1990-01-07", zone="Asia/Almaty")
    user.fire("30h")
    user.identify("31h", zone="America/New_York")
    user.identify("32h", birthday="--01-07")
    user.fire("100d")
    assert moments(user) == ["2025-01-07 05:00"]


def test_a_zone_that_moves_the_moment_into_the_past_makes_it_missed() -> None:
    for missed, expected in (("skip", []), ("send", ["2025-01-07 13:00"])):
        user = user_of(missed=missed)
        user.identify("0s", birthday="--01-07", zone="America/New_York")
        user.identify("37h", zone="Asia/Almaty")
        user.fire("100d")
        assert moments(user) == expected


def test_a_moment_that_had_passed_when_the_date_was_told_is_skipped() -> None:
    user = user_of()
    user.identify("11h", birthday=f"1990-{day_of('0s')[5:]}")
    user.fire("300d")
    assert user.lines == []


def test_missed_send_makes_up_at_once_for_the_last_24_hours() -> None:
    late, too_late = user_of(missed="send"), user_of(missed="send")
    late.identify("11h", birthday=f"1990-{day_of('0s')[5:]}")
    too_late.identify("34h", birthday=f"1990-{day_of('0s')[5:]}")
    for user in (late, too_late):
        user.fire("300d")
    assert late.lines == [f"11h hello date:{datetime(2025, 1, 6).toordinal()} ADMITTED"]
    assert too_late.lines == []


def test_registration_never_fires_for_the_past_whatever_is_missed() -> None:
    other = {**HELLO, "id": "other", "when": {"trait": "birthday"}}
    later = {**HELLO, "when": {**BIRTHDAY, "missed": "send"}}
    user = User(program_of(other))
    user.identify("1h", birthday=f"1990-{day_of('0s')[5:]}")
    user.program = program_of(other, later, registered=ms("11h"))
    user.event("12h", "Opened")
    user.identify("12h", birthday=f"1990-{day_of('0s')[5:]}", name="x")
    user.fire("300d")
    assert [line for line in user.lines if " hello " in line] == []


def test_a_shard_that_was_down_fires_at_the_moment_itself() -> None:
    user = user_of()
    user.identify("0s", birthday="--02-14")
    user.event("60d", "Opened")
    assert moments(user) == ["2025-02-14 10:00"]


@pytest.mark.parametrize(
    "value", [3, True, [], {"x": 1}, "soon", "", "2025-02-30", "--13-01", "20250101", "x" * 99]
)
def test_a_value_that_is_no_date_is_counted(value: Any) -> None:
    user = user_of()
    user.identify("0s", birthday=value)
    user.fire("900d")
    assert user.lines == []
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


def test_a_day_without_a_year_needs_repeat() -> None:
    user = User(program_of({**HELLO, "when": {"date": "traits.birthday"}}))
    user.identify("0s", birthday="--02-14")
    user.fire("900d")
    assert user.lines == []
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


def test_a_date_with_unless_and_wait_waits_from_its_moment() -> None:
    document = {**HELLO, "when": BIRTHDAY, "unless": {"event": "Ordered"}, "wait": "2d"}
    bought, silent = (User(program_of(document)) for _ in range(2))
    for user in (bought, silent):
        user.identify("0s", birthday="--02-14")
        user.fire("40d")
    bought.event("40d", "Ordered")
    bought.fire("60d")
    silent.fire("60d")
    assert [line.split()[-1] for line in bought.lines] == ["CANCELLED"]
    assert moments(silent) == ["2025-02-16 10:00"]


def test_what_another_pattern_remembered_under_the_trigger_does_not_count() -> None:
    user = user_of()
    user.state.patterns["hello"] = ["count", {"x": []}, []]
    user.identify("0s", birthday="--02-14")
    user.fire("60d")
    assert moments(user) == ["2025-02-14 10:00"]


def test_the_memory_survives_a_restart() -> None:
    user = user_of()
    user.identify("0s", birthday="--02-14", zone="Asia/Almaty")
    user.state = decode_state(encode_state(user.state))
    user.fire("50d")
    user.state = decode_state(encode_state(user.state))
    user.fire("300d")
    assert moments(user) == ["2025-02-14 05:00"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"date": "birthday"}, "a trait of the user"),
        ({"date": "traits"}, "a trait of the user"),
        ({"date": "traits.b", "at": "25:00"}, "time of the day"),
        ({"date": "traits.b", "at": 10}, "quotes"),
        ({"date": "traits.b", "offset": "3"}, "has no unit"),
        ({"date": "traits.b", "offset": "-400d"}, "366d"),
        ({"date": "traits.b", "offset": "-1h", "at": "10:00"}, "whole days"),
        ({"date": "traits.b", "repeat": "monthly"}, "yearly"),
        ({"date": "traits.b", "missed": "maybe"}, "skip, send"),
    ],
)
def test_a_faulty_definition_is_told_where(when: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        program_of({**HELLO, "when": when})
    assert said in str(caught.value)


def test_a_date_is_about_the_user_and_has_no_event() -> None:
    for fields, said in (
        ({"per": "event"}, "no `per`"),
        (
            {
                "unless": {"event": "A", "where": {"properties.x": "$start.properties.x"}},
                "wait": "1d",
            },
            "has no event",
        ),
    ):
        with pytest.raises(DefinitionErrors) as caught:
            program_of({**HELLO, "when": BIRTHDAY, **fields})
        assert said in str(caught.value)


@given(st.text(max_size=40) | st.dates().map(str) | st.datetimes().map(str) | st.integers())
def test_whatever_a_date_holds_it_is_a_date_or_none(value: Any) -> None:
    parse_date(value)
    zone = find_zone("Asia/Kathmandu")
    assert zone is not None
    for yearly in (True, False):
        rule = Rule(yearly, -3, 0, None)
        found = next_occurrence(str(value), rule, zone, T0, 0)
        assert found is None or found.at_ms > T0
        if found is not None and yearly:
            assert found.at_ms - T0 < 368 * 86_400_000 or parse_date(value).year > 2025  # type: ignore[union-attr]


def test_zone_names_from_anywhere_are_looked_up_safely() -> None:
    for name in ("", "..", "/etc/passwd", "Europe", "\x00", "a" * 64, "Europe/../UTC"):
        assert find_zone(name) is None
    assert to_ms(datetime(1970, 1, 1, tzinfo=find_zone("UTC"))) == 0


def test_a_date_of_a_track_event_without_traits_is_not_looked_at() -> None:
    user = user_of()
    assert not user.apply("0s", Event(type="track", message_id="t", event="Seen", user_id="u"))
