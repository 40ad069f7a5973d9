"""Opening hours: when a message may be sent, by the clock on the user's wall.

A `Window` is a stretch of the local day that is closed, in minutes: `(1320, 540)` from 22:00 to
09:00, which goes over midnight; its end is open again. What counts is what the local clock shows
(design.md T8): a time that the clocks jump over is never shown, so what would open within the gap
opens with the jump; a time that is shown twice is closed twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from triggers.state import DAY_MS

Window = tuple[int, int]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MINUTES = 1_440
WEEK_HOURS = 168
#: More changes of window and offset than any two days of a zone have.
_TURNS_MAX = 64
#: Behind it the calendar of Python ends.
_LAST_MS = 253_000_000_000_000


class Hours(NamedTuple):
    """When a trigger may be sent. `quiet`: closed by its policy; `shut`: outside its `send_at`;
    `usual`: at the hour the user is usually active. `waits_quiet` and `waits_send_at` say for which
    of them a candidate is held, `at_most_ms` for how long."""

    quiet: tuple[Window, ...] = ()
    shut: tuple[Window, ...] = ()
    usual: bool = False
    waits_quiet: bool = True
    waits_send_at: bool = True
    at_most_ms: int = DAY_MS


def is_ever_open(windows: Iterable[Window]) -> bool:
    """Whether some minute of the day lies outside all of them."""
    closed: set[int] = set()
    for start, end in windows:
        closed |= {minute % DAY_MINUTES for minute in range(start, _end_after(start, end))}
    return len(closed) < DAY_MINUTES


def opens_at(windows: Sequence[Window], at_ms: int, zone: ZoneInfo) -> int:
    """The first moment from `at_ms` on that lies in none of the windows; `at_ms` itself when it
    does not. Windows that close the whole day (`is_ever_open`) give a moment some days on."""
    for _ in range(_TURNS_MAX):
        left_ms = _closed_for(windows, at_ms, zone)
        if not left_ms:
            break
        change_ms = _next_change(at_ms, at_ms + left_ms, zone)
        at_ms = at_ms + left_ms if change_ms is None else change_ms
    return at_ms


def closed_until(windows: Sequence[Window], from_ms: int, to_ms: int, zone: ZoneInfo) -> list[int]:
    """Every [start, end) in which the windows are closed between two moments, as a flat list of
    starts and ends; what is closed at `from_ms` begins there."""
    found: list[int] = []
    at_ms = from_ms
    while at_ms < to_ms and len(found) < _TURNS_MAX:
        open_ms = opens_at(windows, at_ms, zone)
        if open_ms > at_ms:
            found += [at_ms, open_ms]
        closing = [opens_at([(end % DAY_MINUTES, start)], open_ms, zone) for start, end in windows]
        following = min((moment for moment in closing if moment > open_ms), default=to_ms)
        at_ms = max(following, open_ms + 1)
    return found


def usual_at(
    counters: Mapping[int, int],
    at_ms: int,
    within_ms: int,
    closed: Sequence[Window],
    zone: ZoneInfo,
) -> int:
    """The beginning of the best hour from `at_ms` on, within a day and `within_ms`; `at_ms` itself
    when it lies in it. `counters` are those of `usual.noted`; closed hours do not count.

    The hour of this very weekday counts four times, that of any other day once; of two that are
    equal the earlier one is better.
    """
    any_day = [0] * 24
    for slot, weight in counters.items():
        any_day[slot % 24] += weight
    best_ms, best = at_ms, -1
    begin_ms = at_ms
    while begin_ms < at_ms + min(within_ms, DAY_MS):
        slot = slot_of(begin_ms, zone)
        score = 4 * counters.get(slot, 0) + any_day[slot % 24]
        if score > best and not _closed_for(closed, begin_ms, zone):
            best_ms, best = begin_ms, score
        begin_ms = begin_ms - _since_hour(begin_ms, zone) + HOUR_MS
    return best_ms


def minute_at(at_ms: int, zone: ZoneInfo) -> int:
    """The minute of the local day."""
    local = _local(at_ms, zone)
    return local.hour * 60 + local.minute


def clock_text(minute: int) -> str:
    """Minute 570 of the day is `09:30`."""
    return f"{minute // 60:02}:{minute % 60:02}"


def slot_of(at_ms: int, zone: ZoneInfo) -> int:
    """The hour of the local week, from 0 (Monday, midnight) to 167."""
    local = _local(at_ms, zone)
    return local.weekday() * 24 + local.hour


def _closed_for(windows: Sequence[Window], at_ms: int, zone: ZoneInfo) -> int:
    """How long the local clock has to go on until the windows around `at_ms` end, ms."""
    if not windows:
        return 0
    at_ms = min(at_ms, _LAST_MS)
    local = _local(at_ms, zone)
    of_day = ((local.hour * 60 + local.minute) * 60 + local.second) * 1000 + at_ms % 1000
    left_ms = 0
    for start, end in windows:
        inside = (of_day - start * MINUTE_MS) % DAY_MS
        left = (_end_after(start, end) - start) * MINUTE_MS - inside
        if left > left_ms:
            left_ms = left
    return left_ms


def _next_change(from_ms: int, to_ms: int, zone: ZoneInfo) -> int | None:
    """When the zone's offset changes first in (from, to], None when it is the same at both."""
    offset = _offset(from_ms, zone)
    if _offset(to_ms, zone) == offset:
        return None
    low, high = from_ms, to_ms
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return high


def _since_hour(at_ms: int, zone: ZoneInfo) -> int:
    local = _local(at_ms, zone)
    return (local.minute * 60 + local.second) * 1000 + min(at_ms, _LAST_MS) % 1000


def _end_after(start: int, end: int) -> int:
    """The end of a window in minutes of its start day: one over midnight ends on the next."""
    return end if end > start else end + DAY_MINUTES


def _offset(at_ms: int, zone: ZoneInfo) -> timedelta | None:
    return _local(at_ms, zone).utcoffset()


def _local(at_ms: int, zone: ZoneInfo) -> datetime:
    """The second of the local clock: whole ones, because of a float a millisecond is lost now and
    then, and because it is half the price."""
    return datetime.fromtimestamp(min(at_ms, _LAST_MS) // 1000, zone)
