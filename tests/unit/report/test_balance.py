"""The check of how users were shared out, held against SciPy's Dirichlet-multinomial."""

import math

import numpy as np
import pytest
from scipy import stats

from engine.report.balance import ALPHA, evidence, judge


@pytest.mark.parametrize(
    ("users", "shares"),
    [
        ({"a": 5_000, "b": 5_100}, {"a": 50, "b": 50}),
        ({"control": 1_000, "a": 4_600, "b": 4_400}, {"control": 1_000, "a": 4_500, "b": 4_500}),
        ({"a": 3, "b": 0}, {"a": 1, "b": 99}),
    ],
)
def test_evidence_is_the_dirichlet_multinomial_by_the_multinomial(
    users: dict[str, int], shares: dict[str, int]
) -> None:
    found = list(users.values())
    planned = [share / sum(shares.values()) for share in shares.values()]
    prior = [1_000 * share for share in planned]
    mixture = stats.dirichlet_multinomial(prior, [sum(found)])
    plain = stats.multinomial(sum(found), planned)
    expected = np.ravel(mixture.logpmf(found))[0] - float(plain.logpmf(found))
    assert evidence(users, shares) == pytest.approx(expected, abs=1e-8)


def test_users_shared_out_as_planned_are_no_mismatch() -> None:
    found = judge(evidence({"a": 50_100, "b": 49_900}, {"a": 50, "b": 50}))
    assert not found.mismatch
    assert found.p == 1.0


def test_a_share_that_is_wrong_by_two_points_is_a_mismatch_within_ten_thousand_users() -> None:
    found = judge(evidence({"a": 5_200, "b": 4_800}, {"a": 50, "b": 50}))
    assert found.mismatch
    assert found.p < ALPHA


def test_users_in_an_arm_that_was_to_have_none_are_proof() -> None:
    assert evidence({"a": 100, "b": 1}, {"a": 100, "b": 0}) == math.inf
    assert judge(math.inf).p == 0.0
    assert evidence({"a": 100}, {"a": 100, "b": 0}) == pytest.approx(0.0)
