"""Local time: zones by name, and the moments that a date means.

The time zone database is pinned data (the tzdata package): the same name and moment give the same
answer everywhere. A local time that the clocks jump over is moved forward by the jump, one that
happens twice is the first of the two (design.md T8).
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.events import to_ms

DAY_S = 86_400
ZONES_CACHED_MAX = 1024
MOMENTS_CACHED_MAX = 65_536
DATE_CHARS_MAX = 40

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*", re.ASCII)
_MONTH_DAY = re.compile(r"--(\d{2})-(\d{2})", re.ASCII)
#: A leap year: 29 February is a day of the year.
_LEAP_YEAR = 2000


class Dated(NamedTuple):
    """What a text says of a date. `year` 0: of every year. `clock`: its time of the day in the
    user's zone; `moment`: the instant, when the text names its own offset."""

    year: int
    month: int
    day: int
    clock: time | None = None
    moment: datetime | None = None


class Rule(NamedTuple):
    """Which moments a date stands for. `days` and then `shift_ms` are added to it; `clock` replaces
    its time of the day; `yearly`: every year from its own on."""

    yearly: bool
    days: int
    shift_ms: int
    clock: time | None


class Occurrence(NamedTuple):
    """One moment (log time) and the day it belongs to, as a proleptic ordinal."""

    at_ms: int
    day: int


@lru_cache(maxsize=ZONES_CACHED_MAX)
def find_zone(name: str) -> ZoneInfo | None:
    """The zone of that name, None when there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such name, no name at all, a folder of zones
        return None


def parse_date(value: object) -> Dated | None:
    """`2026-02-14`, `2026-02-14T10:00:00+05:00` (the offset may be missing) or `--02-14`; None for
    anything else."""
    if type(value) is not str or len(value) > DATE_CHARS_MAX:
        return None
    try:
        if month_day := _MONTH_DAY.fullmatch(value):
            found = date(_LEAP_YEAR, int(month_day[1]), int(month_day[2]))
            return Dated(0, found.month, found.day)
        if _DATE.fullmatch(value):
            found = date.fromisoformat(value)
            return Dated(found.year, found.month, found.day)
        if not _DATE_TIME.fullmatch(value):
            return None
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return Dated(moment.year, moment.month, moment.day, moment.time())
        return Dated(moment.year, moment.month, moment.day, None, moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=MOMENTS_CACHED_MAX)
def next_occurrence(
    value: str, rule: Rule, zone: ZoneInfo, after_ms: int, after_day: int
) -> Occurrence | None:
    """The first moment later than `after_ms` of a day later than `after_day`; None when there is
    none, or the text is no date for this rule."""
    dated = parse_date(value)
    if dated is None or not (dated.year or rule.yearly):
        return None
    if dated.moment is not None:
        try:
            local = dated.moment.astimezone(zone)
        except OverflowError:
            return None
        dated = Dated(local.year, local.month, local.day, local.time())
    if not rule.yearly:
        years = range(dated.year, dated.year + 1)
    else:
        # An offset of a year at most, a zone of a day at most, and the occurrence after this one.
        first = datetime.fromtimestamp(max(after_ms, 0) / 1000, UTC).year - 2
        first = max(first, dated.year, date.fromordinal(max(after_day, 1)).year)
        years = range(first, first + 6)
    for year in years:
        found = _in_year(dated, year, rule, zone)
        if found is not None and found.at_ms > after_ms and found.day > after_day:
            return found
    return None


def _in_year(dated: Dated, year: int, rule: Rule, zone: ZoneInfo) -> Occurrence | None:
    try:
        day = _day_of(dated, year)
        clock = rule.clock or dated.clock or time()
        local = datetime.combine(day + timedelta(days=rule.days), clock)
        # Of a local time that happens twice `fold` 0 is the first; one that is skipped it reads
        # with the offset before the jump, which lands behind it by the jump.
        at_ms = to_ms(local.replace(tzinfo=zone, fold=0).astimezone(UTC))
    except (ValueError, OverflowError):
        return None
    return Occurrence(at_ms + rule.shift_ms, day.toordinal())


def _day_of(dated: Dated, year: int) -> date:
    """29 February is the 28th where there is none."""
    if (dated.month, dated.day) == (2, 29) and not _is_leap(year):
        return date(year, 2, 28)
    return date(year, dated.month, dated.day)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
