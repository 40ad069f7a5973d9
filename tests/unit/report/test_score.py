"""The CRM score: goals won against subscribers lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.report.score import Outcomes, Worth, crm_score, rating
from engine.report.sequences import Sums, share

COUNTS = st.integers(0, 1_000)


def outcomes(users: int, goals: int, lost: int) -> Outcomes:
    """Each goal by a user of their own."""
    return Outcomes(Sums(users, goals, goals), share(users, lost))


def test_the_score_weighs_incremental_goals_against_incremental_unsubscribes() -> None:
    # 30 more goals and 2 more unsubscribes a thousand users, 5 times as bad: (30 - 10) / (30 + 10).
    found = crm_score(outcomes(10_000, 500, 10), outcomes(10_000, 800, 30), Worth(1, 5))
    assert found is not None
    assert found.estimate == pytest.approx(0.5)
    assert found.low < 0.5 < found.high


def test_goals_that_became_fewer_count_as_a_loss() -> None:
    found = crm_score(outcomes(10_000, 800, 10), outcomes(10_000, 500, 10), Worth())
    assert found is not None
    assert found.estimate == -1.0


def test_unsubscribes_that_became_fewer_are_no_gain() -> None:
    assert crm_score(outcomes(10_000, 5, 50), outcomes(10_000, 5, 10), Worth()) is None


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_estimate_lies_in_its_interval(a: int, b: int, c: int, d: int) -> None:
    found = crm_score(outcomes(1_000, a, b), outcomes(1_000, c, d), Worth(1, 5))
    if found is not None:
        assert -1 <= found.low <= found.estimate <= found.high <= 1


def test_above_a_half_is_effective_and_below_zero_is_rework() -> None:
    assert [rating(score) for score in (0.51, 0.5, 0.0, -0.01)] == [
        "EFFECTIVE",
        "MODERATE",
        "MODERATE",
        "REWORK",
    ]
