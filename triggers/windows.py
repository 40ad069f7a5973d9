"""Calendar windows: the day, week or month of a time zone that a moment lies in.

A day begins at its first local midnight; where the clocks jump over midnight, with the jump. It
lasts until the next one begins, so a day of a change has 23 or 25 hours. A week begins on Monday
(ISO 8601), a month on its first day.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.events import to_ms
from triggers.calendar import find_zone
from triggers.policy import Cap, CompiledPolicy
from triggers.state import DAY_MS, UserState

WINDOWS_CACHED_MAX = 4_096
#: The longest window of each kind. A zone that crosses the date line repeats a whole day.
LONGEST_MS = {"day": 2 * DAY_MS, "week": 8 * DAY_MS, "month": 32 * DAY_MS}
#: So many beginnings of windows a delivery carries at most.
STARTS_MAX = 64
#: Behind it the calendar of Python ends.
_LAST_MS = 253_000_000_000_000


def cap_reach_ms(cap: Cap) -> int:
    """How far back a cap looks at most."""
    return LONGEST_MS[cap.calendar] if cap.calendar else cap.per_ms


def zone_of(policy: CompiledPolicy, state: UserState) -> ZoneInfo:
    """The user's time zone, that of the policy when it is unknown."""
    found = find_zone(state.zone) if state.zone else None
    return ZoneInfo(policy.zone) if found is None else found


def window_of(kind: str, at_ms: int, zone: ZoneInfo) -> tuple[int, int]:
    """(start, end) of the window of `kind` (day, week, month) around `at_ms`, ms; end excluded."""
    at_ms = min(at_ms, _LAST_MS)
    day = datetime.fromtimestamp(at_ms / 1000, zone).date()
    start_ms, end_ms, following = _window(kind, day, zone)
    # Where the clocks go back over midnight, the end of a day comes twice.
    while at_ms >= end_ms:
        start_ms, end_ms, following = _window(kind, following, zone)
    return start_ms, end_ms


def starts_until(kind: str, at_ms: int, until_ms: int, zone: ZoneInfo) -> list[int]:
    """When the window around `at_ms` begins, and those after it, the last one behind `until_ms`."""
    start_ms, end_ms = window_of(kind, at_ms, zone)
    starts = [start_ms]
    while starts[-1] <= until_ms and len(starts) < STARTS_MAX:
        starts.append(end_ms)
        _, end_ms = window_of(kind, end_ms, zone)
    return starts


def free_at(cap: Cap, times: Sequence[int], at_ms: int, zone: ZoneInfo) -> int | None:
    """When `cap` lets the next message through after those at `times` (ascending, none after
    `at_ms`); None: now."""
    if len(times) < cap.max_count:
        return None
    nth_ms = times[-cap.max_count]
    if cap.calendar:
        start_ms, end_ms = window_of(cap.calendar, at_ms, zone)
        return end_ms if nth_ms >= start_ms else None
    end_ms = nth_ms + cap.per_ms
    return end_ms if at_ms < end_ms else None


@lru_cache(maxsize=WINDOWS_CACHED_MAX)
def _window(kind: str, day: date, zone: ZoneInfo) -> tuple[int, int, date]:
    """Start, end, and the first day of the next window."""
    if kind == "week":
        day -= timedelta(days=day.weekday())
        following = day + timedelta(days=7)
    elif kind == "month":
        day = day.replace(day=1)
        following = (day + timedelta(days=31)).replace(day=1)
    else:
        following = day + timedelta(days=1)
    return _midnight(day, zone), _midnight(following, zone), following


def _midnight(day: date, zone: ZoneInfo) -> int:
    # Of a midnight that comes twice `fold` 0 is the first; one that is skipped it reads with the
    # offset before the jump, which is the moment of the jump.
    return to_ms(datetime.combine(day, time(), zone).astimezone(UTC))
