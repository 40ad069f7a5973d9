"""Release times in every zone there is, against a scan of the wall clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.opening import DAY_MINUTES, MINUTE_MS, Window, is_ever_open, opens_at

#: Half hours and quarters, changes of half an hour, of a day, at midnight, by seconds, twice in a
#: year with Ramadan, and offsets of 13 and 14 hours.
TRICKY = (
    *("UTC", "Asia/Almaty", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kwajalein", "America/Sao_Paulo"),
    *("Africa/Casablanca", "Asia/Gaza", "Africa/Monrovia", "Pacific/Chatham", "America/Havana"),
    *("Asia/Beirut", "America/St_Johns", "Antarctica/Troll", "Pacific/Kiritimati", "Asia/Tehran"),
    *("Africa/Cairo", "America/Caracas", "Europe/Dublin", "Asia/Pyongyang", "Antarctica/Casey"),
)
ZONES = sorted({*TRICKY, *(available_timezones() - {"localtime", "posixrules"})})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_MS = 60 * MINUTE_MS
#: 2037-01-01: later the zones go on by rule.
_LAST_MS = 2_114_380_800_000

windows = st.lists(
    st.tuples(st.integers(0, DAY_MINUTES - 1), st.integers(0, DAY_MINUTES - 1)).filter(
        lambda window: window[0] != window[1]
    ),
    max_size=3,
).filter(is_ever_open)


def is_open(zone: ZoneInfo, at_ms: int, closed: list[Window]) -> bool:
    """By the clock on the wall, and nothing of ours."""
    local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    minute = local.hour * 60 + local.minute
    return not any(
        first <= minute < end if first < end else minute >= first or minute < end
        for first, end in closed
    )


@settings(max_examples=40)
@given(
    zone=st.one_of(st.sampled_from(TRICKY), st.sampled_from(ZONES)),
    at_ms=st.integers(0, _LAST_MS),
    closed=windows,
)
def test_a_release_is_never_closed_nor_early_and_the_first_minute_of_the_wall_clock_that_is_open(
    zone: str, at_ms: int, closed: list[Window]
) -> None:
    place = ZoneInfo(zone)
    found = opens_at(closed, at_ms, place)
    assert found >= at_ms
    assert is_open(place, found, closed)
    assert found == at_ms or not is_open(place, found - 1, closed)
    assert not any(is_open(place, moment, closed) for moment in range(at_ms, found, MINUTE_MS))


@pytest.mark.parametrize("zone", TRICKY)
def test_changes_of_the_clocks_of_a_tricky_zone_are_met_as_the_scan_has_it(zone: str) -> None:
    place, step_ms = ZoneInfo(zone), 48 * _HOUR_MS

    def offset(at_ms: int) -> timedelta | None:
        return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(place).utcoffset()

    changes = [
        moment
        for moment in range(0, _LAST_MS, step_ms)
        if offset(moment) != offset(moment + step_ms)
    ]
    assert changes or zone == "UTC"
    closed = [(23 * 60 + 30, 2 * 60 + 30)]
    for change in changes[-3:]:
        for at_ms in range(change - 3 * _HOUR_MS, change + step_ms, 97 * MINUTE_MS):
            scan = at_ms
            while not is_open(place, scan, closed):
                scan += MINUTE_MS
            assert 0 <= scan - opens_at(closed, at_ms, place) < MINUTE_MS


def test_a_day_that_is_skipped_as_a_whole_is_not_waited_through() -> None:
    # Samoa went over the date line: there was no 30 December 2011.
    place = ZoneInfo("Pacific/Apia")
    start = datetime(2011, 12, 29, 23, tzinfo=place)
    expected = datetime(2011, 12, 31, 9, tzinfo=place)
    found = opens_at([(22 * 60, 9 * 60)], round(start.timestamp() * 1000), place)
    assert found == round(expected.timestamp() * 1000)


def test_hours_to_send_at_that_a_gap_skips_come_the_day_after() -> None:
    place = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, 1, tzinfo=place)
    # Sent between 02:10 and 02:50, which 29 March does not have.
    found = opens_at([(170, 130)], round(start.timestamp() * 1000), place)
    assert found == round(datetime(2026, 3, 30, 2, 10, tzinfo=place).timestamp() * 1000)
