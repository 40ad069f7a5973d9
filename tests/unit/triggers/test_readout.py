"""The readout's sums: what exposed users did, whatever is credited."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import Reason
from tests.unit.triggers.user import User, ms, program_of
from triggers.answers import WORTH_MAX
from triggers.readout import HIGH, worth2
from triggers.state import Exposure, UserState

ONE: dict[str, Any] = {
    "id": "one",
    "state": "live",
    "when": {"event": "A"},
    "goal": {"event": "Ordered", "value": "properties.revenue"},
    "experiment": {"control": "50%", "variants": {"a": "50%"}},
    "message": {"push": {"title": "t", "body": "b"}},
}


def exposed(arm: str = "a") -> User:
    """A user who is exposed at the beginning, with revision 4."""
    user = User(program_of({**ONE}, revision=4))
    user.state.exposed["one"] = Exposure(arm, ms("0s"), 4)
    return user


def sums(user: User) -> dict[str, int]:
    """The sums by stage; WORTH2 put together."""
    found: Counter[str] = Counter()
    for key, number in user.effects.funnel.items():
        if key.stage.startswith(("GOAL", "WORTH", "CONVERTERS", "UNSUBSCRIBERS")):
            assert (key.trigger, key.revision, key.channel) == ("one", 4, "")
            assert key.variant == user.state.exposed["one"].arm
            found[key.stage] += number
    low, high = found.pop("WORTH2", 0), found.pop("WORTH2_HIGH", 0)
    assert 0 <= low < HIGH * max(1, found["GOALS"])
    return {**found, "WORTH2": worth2(low, high)}


@given(
    st.lists(
        st.one_of(
            st.integers(-WORTH_MAX, WORTH_MAX),
            st.floats(-1e6, 1e6, allow_nan=False),
            st.decimals(0, 10**6, places=2, allow_nan=False).map(float),
        ),
        max_size=6,
    )
)
def test_the_sums_of_a_user_are_those_of_all_their_goals_at_once(values: list[float]) -> None:
    user = exposed()
    for number, value in enumerate(values):
        user.event(f"{number + 1}h", "Ordered", revenue=value)
    found = sums(user)
    worths = [row.value for row in user.effects.outcomes if row.kind == "goal"]
    total = sum(worths)
    assert len(worths) == len(values)
    assert found.get("GOALS", 0) == len(values)
    assert found.get("GOALS2", 0) == len(values) ** 2
    assert found.get("CONVERTERS", 0) == (1 if values else 0)
    assert found.get("WORTH", 0) == total
    assert found["WORTH2"] == ((total + 5_000) // 10_000) ** 2


def test_a_goal_counts_whether_a_message_was_sent_or_not() -> None:
    for arm in ("a", "control", "global_control"):
        user = exposed(arm)
        user.event("1h", "Ordered", revenue=3)
        assert sums(user)["GOALS"] == 1
        assert [row.kind for row in user.effects.outcomes] == ["goal"]


def test_a_goal_before_the_exposure_does_not_count() -> None:
    user = exposed()
    user.event("1h", "Ordered", e="-1ms")
    assert "GOALS" not in sums(user)


def test_a_goal_after_the_experiments_end_and_the_goals_window_does_not_count() -> None:
    # 28 days, and 7 days for the goal.
    for at, number in (("34d23h", 1), ("35d", 0)):
        user = exposed()
        user.event(at, "Ordered")
        assert sums(user).get("GOALS", 0) == number


def test_another_goal_than_that_of_the_measured_trigger_does_not_count() -> None:
    user = exposed()
    user.event("1h", "Viewed")
    assert user.effects.outcomes == []


def test_an_event_sent_twice_counts_once() -> None:
    user = exposed()
    for at in ("1h", "2h"):
        user.event(at, "Ordered", id="order")
    assert sums(user)["GOALS"] == 1


def test_a_user_unsubscribes_once() -> None:
    user = exposed("control")
    user.event("1h", "Unsubscribed")
    user.event("2h", "Push Disabled")
    assert sums(user)["UNSUBSCRIBERS"] == 1
    assert [(row.kind, row.variant) for row in user.effects.outcomes] == [
        ("unsubscriber", "control")
    ]


def test_the_sums_belong_to_the_first_exposure_whatever_is_credited() -> None:
    user = exposed("control")
    user.event("1h", "A")
    # Whatever became of the candidate, a message of it or none.
    if user.effects.deliveries:
        user.outcome("1h", Reason.ACCEPTED)
    user.event("2h", "Ordered")
    assert sums(user)["GOALS"] == 1


def test_a_total_beyond_what_a_state_can_hold_adds_nothing() -> None:
    user = exposed()
    user.state.exposed["one"].value = 2**62
    user.event("1h", "Ordered", revenue=1)
    assert user.state.exposed["one"].value == 2**62
    assert sums(user)["GOALS"] == 1
    assert UserState(exposed=user.state.exposed) == UserState(exposed=user.state.exposed)
