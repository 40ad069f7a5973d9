"""How much each user gets: what is counted when a message was accepted.

`UserState.reached` is [day, number]: the UTC day of the user's last accepted message, and how many
were accepted in its week, Monday to Sunday. From it two counters follow, exact and few: how many
users have got at least k messages in a week, and how many users were last reached on a day.
"""

from typing import Final

from triggers.effects import Effects, FunnelKey
from triggers.state import DAY_MS, UserState

#: For so long a user counts as reached; then it is forgotten.
REACHED_DAYS: Final = 365
#: Users with more messages a week count as users with so many.
MESSAGES_MAX: Final = 100
LAST_REACHED: Final = "LAST_REACHED"

_WEEK_DAYS: Final = 7
#: 1970-01-01, day 0, was a Thursday.
_THURSDAY: Final = 3
_AT_LEAST: Final = "WEEK_MESSAGES_"


def count_accepted(state: UserState, at_ms: int, out: Effects) -> None:
    """One message more, accepted at log time `at_ms`."""
    day, number = at_ms // DAY_MS, 0
    if state.reached:
        last, number = state.reached
        day = max(day, last)
        if monday_of(day) != monday_of(last):
            number = 0
        _count(out, last, LAST_REACHED, -1)
    _count(out, day, LAST_REACHED, 1)
    _count_week(out, day, number, number + 1)
    state.reached = [day, number + 1]


def absorb_reached(state: UserState, moved: UserState, out: Effects) -> None:
    """Two profiles are one user from now on; in the weeks before this one they were two."""
    if not (state.reached and moved.reached):
        state.reached = state.reached or moved.reached
        return
    (earlier, fewer), (later, more) = sorted((state.reached, moved.reached))
    _count(out, earlier, LAST_REACHED, -1)
    if monday_of(earlier) == monday_of(later):
        _count_week(out, earlier, fewer, 0)
        _count_week(out, later, more, more + fewer)
        more += fewer
    state.reached = [later, more]


def reached_expiry(state: UserState) -> int:
    """The log time from which nobody asks any more whether the user was reached; 0 for never."""
    return (state.reached[0] + REACHED_DAYS + 1) * DAY_MS if state.reached else 0


def monday_of(day: int) -> int:
    """The first day of its week."""
    return day - (day + _THURSDAY) % _WEEK_DAYS


def at_least(stage: str) -> int:
    """The number of messages that a counter of users speaks of, 0 for another counter."""
    return int(stage.removeprefix(_AT_LEAST)) if stage.startswith(_AT_LEAST) else 0


def _count_week(out: Effects, day: int, before: int, after: int) -> None:
    """A user's number of messages in the week of `day` changed."""
    step = 1 if after > before else -1
    for number in range(min(before, after) + 1, min(max(before, after), MESSAGES_MAX) + 1):
        _count(out, monday_of(day), f"{_AT_LEAST}{number}", step)


def _count(out: Effects, day: int, stage: str, step: int) -> None:
    out.funnel[FunnelKey("", 0, "", day, stage, "")] += step
