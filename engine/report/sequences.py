"""Intervals for differences of means that hold however often one looks.

Asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central
limit theory and asymptotic confidence sequences, 2021, Theorem 2.2 and equation 161 of version 7):
with probability 1 - alpha the truth stays inside at every look, from the first to the last. The
same bound as GrowthBook's sequential testing. A user counts once, in the arm it was shared out to.
"""

import math
from typing import Final, NamedTuple

#: The intervals are narrowest when both arms together have so many users. GrowthBook's default.
TUNED_FOR_USERS: Final = 5_000
ALPHA: Final = 0.05


class Sums(NamedTuple):
    """What an arm's users sum up to: exact whole numbers of `unit`, squares of its square.

    `added`: users who did and users who did not, so many of each, that the error is estimated with.
    """

    users: int
    total: int
    squares: int
    unit: float = 1.0
    added: int = 0

    @property
    def mean(self) -> float:
        """Per user; 0 without users."""
        return self.total * self.unit / self.users if self.users else 0.0

    @property
    def variance(self) -> float:
        """Between users, unbiased. Whole numbers do not cancel each other out."""
        if self.users < 2:
            return 0.0
        spread = self.users * self.squares - self.total * self.total
        return max(spread, 0) * self.unit**2 / (self.users * (self.users - 1))

    @property
    def error2(self) -> float:
        """The variance of the mean."""
        if not self.users:
            return 0.0
        added = self.added
        more = Sums(self.users + 2 * added, self.total + added, self.squares + added, self.unit)
        return more.variance / self.users


def share(users: int, having: int) -> Sums:
    """The sums of a yes or no. That nobody of an arm did a rare thing must not look like no error
    (one of each is added, as Agresti and Caffo do)."""
    return Sums(users, having, having, added=1)


class Interval(NamedTuple):
    """An estimate and the interval around it; infinite where nothing bounds it."""

    estimate: float
    low: float
    high: float


def width(users: int, alpha: float, tuned_for: int = TUNED_FOR_USERS) -> float:
    """How many standard errors the interval reaches to either side, with `users` in both arms."""
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuned_for
    grown = users * rho2 + 1
    return math.sqrt(2 * grown / (users * rho2) * math.log(math.sqrt(grown) / alpha))


def difference(base: Sums, other: Sums, alpha: float = ALPHA) -> Interval:
    """The mean of `other` less that of `base`. Both have users."""
    estimate = other.mean - base.mean
    reach = width(base.users + other.users, alpha) * math.sqrt(base.error2 + other.error2)
    return Interval(estimate, estimate - reach, estimate + reach)


def lift(base: Sums, other: Sums, alpha: float = ALPHA) -> Interval | None:
    """The mean of `other` by that of `base`, less 1; None where the base's mean is 0.

    Fieller's set: every ratio r for which mean(other) - r mean(base) may be 0. It is as
    time-uniform as the difference, and where it has bounds it excludes 0 exactly when that does
    (the delta method would not). It has none where the base's mean itself may be 0.
    """
    if not base.mean:
        return None
    ratio = other.mean / base.mean
    reach2 = width(base.users + other.users, alpha) ** 2
    first = base.mean**2 - reach2 * base.error2
    if first <= 0:
        return Interval(ratio - 1, -math.inf, math.inf)
    last = other.mean**2 - reach2 * other.error2
    middle = base.mean * other.mean
    root = math.sqrt(max(middle**2 - first * last, 0.0))
    return Interval(ratio - 1, (middle - root) / first - 1, (middle + root) / first - 1)
