"""Intervals that hold at every look, held against SciPy and against GrowthBook's own numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize

from engine.report.sequences import Sums, difference, lift, share, width

#: (base, other, alpha, low, high), arms as (users, sum, sum of squares): what gbstats 0.8.0,
#: `SequentialTwoSidedTTest` with its default tuning of 5,000, says.
GROWTHBOOK = [
    ((1000, 50, 50), (1000, 80, 80), 0.05, -0.0043929668565281035, 0.0643929668565281),
    ((1200, 100, 100), (10800, 1100, 1100), 0.05, -0.007614703864884352, 0.04465174090192139),
    ((40000, 2000, 2000), (40000, 2100, 2100), 0.025, -0.0030104891559173353, 0.008010489155917327),
    ((3000, 9001, 80000), (2500, 8000, 90001), 0.05, -0.1866574060644517, 0.5859907393977855),
]


@pytest.mark.parametrize(("base", "other", "alpha", "low", "high"), GROWTHBOOK)
def test_a_difference_has_the_interval_that_growthbook_gives_it(
    base: tuple[int, int, int], other: tuple[int, int, int], alpha: float, low: float, high: float
) -> None:
    found = difference(Sums(*base), Sums(*other), alpha)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.0125])
@pytest.mark.parametrize("users", [50, 2_000, 5_000, 80_000])
def test_the_width_is_where_the_mixture_martingale_reaches_one_in_alpha(
    users: int, alpha: float
) -> None:
    # The definition instead of its solution: the bet on drifts from N(0, rho^2), for a walk of
    # unit steps, integrated numerically, and the place where it has multiplied its stake.
    rho = math.sqrt((-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / 5_000)

    def log_wealth(errors: float) -> float:
        total = errors * math.sqrt(users)
        best = total / (users + 1 / rho**2)

        def bet(drift: float) -> float:
            return drift * total - drift**2 * users / 2 - drift**2 / (2 * rho**2)

        reach = 12 / math.sqrt(users + 1 / rho**2)
        area, _ = integrate.quad(
            lambda drift: math.exp(bet(drift) - bet(best)), best - reach, best + reach
        )
        return bet(best) + math.log(area / (rho * math.sqrt(2 * math.pi)))

    expected = optimize.brentq(lambda errors: log_wealth(errors) + math.log(alpha), 0.1, 50)
    assert width(users, alpha) == pytest.approx(expected, rel=1e-6)


def test_the_interval_is_narrowest_for_the_users_it_is_tuned_for() -> None:
    def narrowness(users: int, tuned_for: int) -> float:
        return width(users, 0.05, tuned_for)

    for other in (500, 50_000):
        assert narrowness(5_000, 5_000) < narrowness(5_000, other)


@given(
    base=st.tuples(st.integers(2, 10_000), st.integers(0, 10_000)),
    other=st.tuples(st.integers(2, 10_000), st.integers(0, 10_000)),
)
def test_a_lift_leaves_out_zero_exactly_when_the_difference_does(
    base: tuple[int, int], other: tuple[int, int]
) -> None:
    first, second = (share(users, min(users, having)) for users, having in (base, other))
    absolute, relative = difference(first, second), lift(first, second)
    edge = min(abs(absolute.low), abs(absolute.high))
    if relative is None or not math.isfinite(relative.high) or edge < 1e-9:
        return
    assert (absolute.low > 0, absolute.high < 0) == (relative.low > 0, relative.high < 0)


@pytest.mark.parametrize(("base", "other", "alpha", "low", "high"), GROWTHBOOK)
def test_the_bounds_of_a_lift_are_the_ratios_at_which_the_difference_begins_to_hold_zero(
    base: tuple[int, int, int], other: tuple[int, int, int], alpha: float, low: float, high: float
) -> None:
    first, second = Sums(*base), Sums(*other)
    found = lift(first, second, alpha)
    assert found is not None
    reach = width(first.users + second.users, alpha)

    def outside(ratio: float) -> float:
        error = math.sqrt(second.error2 + ratio**2 * first.error2)
        return abs(second.mean - ratio * first.mean) - reach * error

    middle = second.mean / first.mean
    lowest = optimize.brentq(outside, -100, middle)
    highest = optimize.brentq(outside, middle, 100)
    assert found.low == pytest.approx(lowest - 1)
    assert found.high == pytest.approx(highest - 1)


def test_a_lift_on_a_base_that_may_be_zero_has_no_bounds() -> None:
    found = lift(share(1_000, 3), share(1_000, 6))
    assert found is not None
    assert found.estimate == pytest.approx(1.0)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert lift(share(1_000, 0), share(1_000, 6)) is None


def test_large_sums_lose_no_digits() -> None:
    # 10 million users with 1,000,000.000000 or 1,000,000.000002 each: floats would cancel out.
    half = 5 * 10**6
    small, large = 10**12, 10**12 + 2
    total = half * (small + large)
    squares = half * (small**2 + large**2)
    sums = Sums(2 * half, total, squares, 1e-6)
    assert sums.mean == pytest.approx(1_000_000.000001)
    assert sums.variance == pytest.approx(1e-12 * 2 * half / (2 * half - 1))
