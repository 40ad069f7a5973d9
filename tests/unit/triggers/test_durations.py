"""Durations: what people write, and milliseconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.durations import DURATION_MAX_MS, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("0s", 0),
        ("90s", 90_000),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("1w", 604_800_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("1m500ms", 60_500),
        ("1w1d1h1m1s1ms", 694_861_001),
        ("3650d", DURATION_MAX_MS),
    ],
)
def test_a_duration_is_the_sum_of_its_units(text: str, duration_ms: int) -> None:
    assert parse_duration(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("90", "has no unit"),
        ("", "is not a duration"),
        ("2 h", "is not a duration"),
        ("1.5h", "is not a duration"),
        ("-1h", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("1d1d", "is not a duration"),
        ("1hour", "is not a duration"),
        ("٣h", "is not a duration"),
        ("1h\n", "is not a duration"),
        ("3mo", "months and years differ"),
        ("1 year", "months and years differ"),
        ("3651d", "is longer than 3650d"),
        ("9" * 5000 + "d", "is not a duration"),
    ],
)
def test_a_refused_duration_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 200


@given(st.integers(0, DURATION_MAX_MS))
def test_a_formatted_duration_reads_back_the_same(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "0s"), (604_800_000, "7d"), (5_400_000, "1h30m"), (1, "1ms"), (60_500, "1m500ms")],
)
def test_the_canonical_text_has_the_longest_units_without_weeks(
    duration_ms: int, text: str
) -> None:
    assert format_duration(duration_ms) == text


def test_a_negative_duration_is_not_formatted() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_duration(-1)


@given(st.text(alphabet="0123456789wdhms. -", max_size=30))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        duration_ms = parse_duration(text)
    except ValueError:
        return
    assert 0 <= duration_ms <= DURATION_MAX_MS
    assert parse_duration(format_duration(duration_ms)) == duration_ms
