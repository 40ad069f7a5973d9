"""When hours open, against a clock that is read minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from triggers.opening import (
    MINUTE_MS,
    Window,
    closed_until,
    is_ever_open,
    opens_at,
    usual_at,
)
from triggers.state import DAY_MS

#: Zones with gaps and folds at odd times and of odd lengths, over midnight and over the date line.
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"),
    *("Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Chatham", "Asia/Gaza"),
)
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),
)
MINUTES = st.integers(0, 1_439)
WINDOWS = st.lists(
    st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=3
)
MOMENTS = st.builds(
    lambda change, minutes, rest: (
        int((change + timedelta(minutes=minutes)).timestamp() * 1000) + rest
    ),
    st.sampled_from(CHANGES),
    st.integers(-2_000, 2_000),
    st.integers(0, 59_999),
)


def shown(at_ms: int, zone: str) -> int:
    local = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(zone))
    return local.hour * 60 + local.minute


def is_closed(windows: list[Window], at_ms: int, zone: str) -> bool:
    minute = shown(at_ms, zone)
    return any(
        start <= minute < end if start < end else minute >= start or minute < end
        for start, end in windows
    )


@given(WINDOWS, MOMENTS, st.sampled_from(ZONES))
@example([(1_320, 540)], 1_774_746_000_000, "Europe/Berlin")
def test_hours_open_at_the_first_moment_the_clock_shows_none_of_them(
    windows: list[Window], at_ms: int, zone: str
) -> None:
    assume(is_ever_open(windows))
    found = opens_at(windows, at_ms, ZoneInfo(zone))
    expected = at_ms
    if is_closed(windows, at_ms, zone):
        expected = at_ms - at_ms % MINUTE_MS + MINUTE_MS
        while is_closed(windows, expected, zone):
            expected += MINUTE_MS
    assert found == expected


@given(WINDOWS, MOMENTS, st.sampled_from(ZONES))
def test_the_closed_stretches_of_a_time_are_those_a_clock_shows(
    windows: list[Window], from_ms: int, zone: str
) -> None:
    assume(is_ever_open(windows))
    from_ms -= from_ms % MINUTE_MS
    to_ms = from_ms + 1_500 * MINUTE_MS
    flat = closed_until(windows, from_ms, to_ms, ZoneInfo(zone))
    stretches = list(zip(flat[::2], flat[1::2], strict=True))
    for at_ms in range(from_ms, to_ms, MINUTE_MS):
        inside = any(start <= at_ms < end for start, end in stretches)
        assert inside == is_closed(windows, at_ms, zone), shown(at_ms, zone)


def _at(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_what_would_open_in_a_gap_opens_with_the_jump() -> None:
    # 29 March: 02:00 to 03:00 does not exist in Berlin.
    at = _at("Europe/Berlin", 2026, 3, 29, 1, 30)
    opens = opens_at([(1_320, 150)], at, ZoneInfo("Europe/Berlin"))
    assert opens == _at("Europe/Berlin", 2026, 3, 29, 3, 0)


def test_a_time_that_is_shown_twice_is_closed_twice() -> None:
    # 25 October: 02:00 to 03:00 comes twice.
    zone = ZoneInfo("Europe/Berlin")
    first = _at("Europe/Berlin", 2026, 10, 25, 2, 15)
    second = _at("Europe/Berlin", 2026, 10, 25, 2, 15, fold=1)
    assert opens_at([(120, 150)], first, zone) == _at("Europe/Berlin", 2026, 10, 25, 2, 30)
    assert opens_at([(120, 150)], second, zone) == _at("Europe/Berlin", 2026, 10, 25, 2, 30, fold=1)


@pytest.mark.parametrize(
    ("window", "hour", "opens_hour"),
    [((1_320, 0), 23, 24), ((0, 540), 0, 9), ((1_320, 540), 3, 9), ((1_320, 540), 12, 12)],
)
def test_windows_may_begin_end_or_go_over_midnight(
    window: Window, hour: int, opens_hour: int
) -> None:
    day = _at("UTC", 2026, 1, 5)
    hour_ms = 60 * MINUTE_MS
    opens = opens_at([window], day + hour * hour_ms, ZoneInfo("UTC"))
    assert opens == day + opens_hour * hour_ms


@pytest.mark.parametrize(
    ("zone", "begins"), [("UTC", "18:00:00.000"), ("Asia/Kolkata", "12:30:00.000")]
)
def test_the_best_hour_begins_to_the_millisecond(zone: str, begins: str) -> None:
    """1970 began on a Thursday."""
    thursday_at_six = {3 * 24 + 18: 1}
    found = usual_at(thursday_at_six, 36_001_234, DAY_MS, [], ZoneInfo(zone))
    text = datetime.fromtimestamp(found / 1000, UTC).time().isoformat("milliseconds")
    assert text == begins


def test_windows_of_a_whole_day_are_never_open() -> None:
    assert not is_ever_open([(0, 720), (700, 0)])
    assert is_ever_open([(0, 720), (721, 0)])
