"""How much one user gets: messages per user and week, and unsubscribes over a year.

`triggers.reach` counts, in the commit that hears of an accepted message, how many users have got
at least k messages in a week, and on which day each user was last reached. Both are exact.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from engine.report.counters import Counted
from triggers.reach import LAST_REACHED, REACHED_DAYS, at_least

UNSUBSCRIBED: Final = "UNSUBSCRIBED"


class Week(NamedTuple):
    """`day`: its Monday. `users`: those who got a message; p50 and p95 are of their numbers of
    messages, as the smallest number that so many of them do not exceed."""

    day: int
    users: int
    messages: int
    p50: int
    p95: int


class Year(NamedTuple):
    """Of the 365 days up to `until_day`: users reached, and unsubscribes that a message caused."""

    until_day: int
    unsubscribed: int
    reached: int

    @property
    def rate(self) -> float | None:
        return self.unsubscribed / self.reached if self.reached else None


def weeks_of(rows: Iterable[Counted]) -> list[Week]:
    """The weeks with messages, the first one first."""
    found: dict[int, Counter[int]] = {}
    for row in rows:
        number = at_least(row.stage)
        if number:
            found.setdefault(row.day, Counter())[number] += row.number
    weeks = (_week(day, counts) for day, counts in sorted(found.items()))
    return [week for week in weeks if week.users]


def year_of(rows: Iterable[Counted]) -> Year | None:
    """Up to the last day on which anybody was reached or unsubscribed; None without one."""
    reached: Counter[int] = Counter()
    lost: Counter[int] = Counter()
    for row in rows:
        if row.stage == LAST_REACHED:
            reached[row.day] += row.number
        elif row.stage == UNSUBSCRIBED:
            lost[row.day] += row.number
    days = {*(+reached), *(+lost)}
    if not days:
        return None
    until = max(days)
    since = until - REACHED_DAYS
    return Year(until, _after(since, lost), _after(since, reached))


def week_name(day: int) -> str:
    """`2026-W45`: ISO 8601."""
    from datetime import UTC, datetime, timedelta

    year, week, _ = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).isocalendar()
    return f"{year}-W{week:02}"


def _after(since: int, counts: Mapping[int, int]) -> int:
    return sum(count for day, count in counts.items() if day > since)


def _week(day: int, least: Counter[int]) -> Week:
    exactly = {number: least[number] - least.get(number + 1, 0) for number in sorted(least)}
    users = least[1]
    return Week(day, users, sum(least.values()), _percentile(exactly, 50), _percentile(exactly, 95))


def _percentile(users: Mapping[int, int], percent: int) -> int:
    """The smallest number of messages that `percent` of the users do not exceed."""
    total = sum(users.values())
    below = 0
    for number in sorted(users):
        below += users[number]
        if below * 100 >= percent * total and below:
            return number
    return 0
