"""How much each user gets: the counters of messages a week, and of when users were last reached."""

from collections import Counter
from random import Random

from schemas.reasons import Reason
from tests.unit.triggers.user import HELLO, T0, User, program_of
from triggers.effects import Effects
from triggers.reach import (
    LAST_REACHED,
    MESSAGES_MAX,
    REACHED_DAYS,
    absorb_reached,
    at_least,
    count_accepted,
    monday_of,
)
from triggers.state import DAY_MS, UserState, is_blank

DAY0 = T0 // DAY_MS
FREE = program_of({**HELLO, "cooldown": {"user": "0s"}}, spacing="0s", caps=[])


def counted(effects: Effects) -> dict[tuple[int, str], int]:
    """(day since T0, stage) -> count, without what came to nothing."""
    return {
        (key.day - DAY0, key.stage): number
        for key, number in effects.funnel.items()
        if number and key.trigger == ""
    }


def test_only_an_accepted_message_counts_as_one_the_user_got() -> None:
    user = User(FREE)
    for reason in (Reason.ACCEPTED, Reason.UNKNOWN, Reason.REJECTED):
        user.event("1h", "Opened")
        user.outcome("1h", reason)
    assert counted(user.effects) == {(0, LAST_REACHED): 1, (0, "WEEK_MESSAGES_1"): 1}


def test_the_first_outcome_of_a_message_counts_and_no_other() -> None:
    user = User(FREE)
    user.event("1h", "Opened")
    user.outcome("1h", Reason.ACCEPTED)
    user.outcome("2h", Reason.ACCEPTED)
    assert user.state.reached == [DAY0, 1]


def test_a_week_begins_on_monday_in_utc() -> None:
    # T0 is a Monday.
    assert [monday_of(DAY0 + day) - DAY0 for day in (-1, 0, 6, 7)] == [-7, 0, 0, 7]
    user = User(FREE)
    for at in ("0s", "6d23h59m", "7d"):
        user.event(at, "Opened")
        user.outcome(at, Reason.ACCEPTED)
    assert counted(user.effects) == {
        (0, "WEEK_MESSAGES_1"): 1,
        (0, "WEEK_MESSAGES_2"): 1,
        (7, "WEEK_MESSAGES_1"): 1,
        (7, LAST_REACHED): 1,
    }


def test_the_counters_are_a_recount_of_messages_by_user_and_week() -> None:
    random = Random(5)
    effects, got = Effects(), Counter[tuple[int, int]]()
    last: dict[int, int] = {}
    states = {user: UserState() for user in range(40)}
    at = T0
    for _ in range(3_000):
        at += random.randrange(DAY_MS // 20)
        user = random.choice([*range(40), 1, 1, 1])
        count_accepted(states[user], at, effects)
        got[user, monday_of(at // DAY_MS) - DAY0] += 1
        last[user] = at // DAY_MS - DAY0
    expected: Counter[tuple[int, str]] = Counter()
    for (_, week), number in got.items():
        for k in range(1, min(number, MESSAGES_MAX) + 1):
            expected[week, f"WEEK_MESSAGES_{k}"] += 1
    for day in last.values():
        expected[day, LAST_REACHED] += 1
    assert counted(effects) == expected


def test_merged_profiles_count_as_one_user_in_the_week_of_the_merge() -> None:
    one, other, effects = UserState(), UserState(), Effects()
    for state, days in ((one, (0, 1, 2)), (other, (1, 3))):
        for day in days:
            count_accepted(state, T0 + day * DAY_MS, effects)
    absorb_reached(one, other, effects)
    assert one.reached == [DAY0 + 3, 5]
    assert counted(effects) == {
        (3, LAST_REACHED): 1,
        **{(0, f"WEEK_MESSAGES_{k}"): 1 for k in range(1, 6)},
    }


def test_merged_profiles_stay_two_users_in_weeks_before() -> None:
    one, other, effects = UserState(), UserState(), Effects()
    count_accepted(other, T0, effects)
    count_accepted(one, T0 + 8 * DAY_MS, effects)
    absorb_reached(one, other, effects)
    assert one.reached == [DAY0 + 8, 1]
    assert counted(effects) == {
        (8, LAST_REACHED): 1,
        (0, "WEEK_MESSAGES_1"): 1,
        (7, "WEEK_MESSAGES_1"): 1,
    }


def test_a_user_counts_as_reached_for_a_year_and_is_then_forgotten() -> None:
    user = User(FREE)
    user.event("1h", "Opened")
    user.outcome("1h", Reason.ACCEPTED)
    user.state.devices.clear()
    user.fire(f"{REACHED_DAYS}d")
    assert user.state.reached == [DAY0, 1]
    # All else is forgotten long before, so that the state is small by then.
    state = user.state
    assert [state.sends, state.cooled, state.pending, state.memory] == [[], [], [], {}]
    user.fire(f"{REACHED_DAYS + 2}d")
    assert is_blank(user.state)


def test_a_counter_of_users_says_of_how_many_messages() -> None:
    assert [at_least(stage) for stage in ("WEEK_MESSAGES_12", LAST_REACHED, "ADMITTED")] == [
        12,
        0,
        0,
    ]
