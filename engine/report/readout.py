"""What an experiment says, by intention to treat: every user counts in the arm they were shared out
to when their first candidate reached the control check, whatever happened to them later.

A revision is an experiment of its own: it exposes users anew. `compare` looks at the sums of all
its days up to now; how often it is called does not matter.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from engine.report.balance import Balance, evidence, judge
from engine.report.plans import CONTROL, GLOBAL_CONTROL, Plan
from engine.report.score import Outcomes, Worth, crm_score
from engine.report.sequences import ALPHA, Interval, Sums, difference, lift, share

#: Below it nothing is said: intervals are not yet what they claim to be (language.md, CRM score).
USERS_MIN: Final = 1_000
#: In each arm: sums of fewer are not yet normal, least of all those of value
#: (docs/experiments.md has the measurement).
CONVERTERS_MIN: Final = 50

_MICRO: Final = 1e-6
#: Squares of value are of hundredths: (1e-2)^2 in (1e-6)^2.
_SQUARED_HUNDREDTH: Final = 10**8
#: A counter has 64 bits: the upper part of a sum of squares has one of its own.
_HIGH: Final = 2**40


class Verdict(StrEnum):
    """What may be said of an arm. The first three refuse."""

    MISMATCH = "MISMATCH"
    TOO_FEW_USERS = "TOO_FEW_USERS"
    TOO_FEW_CONVERSIONS = "TOO_FEW_CONVERSIONS"
    BETTER = "BETTER"
    WORSE = "WORSE"
    OPEN = "OPEN"


class Arm(NamedTuple):
    """The users of an arm and what they did; sums of goals and of value are over its users."""

    users: int
    converters: int
    goals: Sums
    value: Sums
    unsubscribers: int


class Effect(NamedTuple):
    """How far an arm is from the baseline; `lift` None where the baseline is 0."""

    difference: Interval
    lift: Interval | None


class Comparison(NamedTuple):
    """An arm against the baseline. The verdict is about the share of users who converted; the rest
    is None where nothing may be said."""

    verdict: Verdict
    conversion: Effect | None = None
    goals: Effect | None = None
    value: Effect | None = None
    unsubscribed: Effect | None = None
    crm: Interval | None = None


class Readout(NamedTuple):
    """`alpha`: of each comparison, so that all verdicts together are wrong at most ALPHA of the
    time. `baseline` None: nothing to compare."""

    arms: dict[str, Arm]
    shares: dict[str, int]
    balance: Balance
    alpha: float
    baseline: str | None
    comparisons: dict[str, Comparison]


def arm_of(counts: Mapping[str, int]) -> Arm:
    """The arm whose experiment counters these are."""
    users = counts.get("USERS", 0)
    goals, goals2 = counts.get("GOALS", 0), counts.get("GOALS2", 0)
    worth = counts.get("WORTH", 0)
    worth2 = counts.get("WORTH2", 0) + counts.get("WORTH2_HIGH", 0) * _HIGH
    return Arm(
        users,
        counts.get("CONVERTERS", 0),
        Sums(users, goals, goals2),
        Sums(users, worth, worth2 * _SQUARED_HUNDREDTH, _MICRO),
        counts.get("UNSUBSCRIBERS", 0),
    )


def compare(counts: Mapping[str, Mapping[str, int]], plan: Plan) -> Readout:
    """`counts`: of each arm of one revision, by stage. Without planned shares nothing is compared:
    what arms there are for is not known."""
    arms = {name: arm_of(found) for name, found in sorted(counts.items()) if found.get("USERS")}
    balance = judge(evidence({name: arm.users for name, arm in arms.items()}, plan.shares))
    baseline = _baseline(plan.shares)
    compared = [name for name in plan.shares if name != baseline]
    alpha = ALPHA / max(len(compared), 1)
    comparisons = {name: Comparison(Verdict.MISMATCH) for name in compared}
    if baseline is not None and not balance.mismatch:
        base = arms.get(baseline, _NOBODY)
        for name in compared:
            comparisons[name] = _compare(base, arms.get(name, _NOBODY), plan.worth, alpha)
    return Readout(arms, plan.shares, balance, alpha, baseline, comparisons)


def _baseline(shares: Mapping[str, int]) -> str | None:
    """Those who get nothing, else the variant that is named first."""
    for name in (CONTROL, GLOBAL_CONTROL):
        if name in shares:
            return name
    return next(iter(shares), None)


def _compare(base: Arm, other: Arm, worth: Worth, alpha: float) -> Comparison:
    if min(base.users, other.users) < USERS_MIN:
        return Comparison(Verdict.TOO_FEW_USERS)
    before, after = _outcomes(base), _outcomes(other)
    unsubscribed = _effect(before.unsubscribed, after.unsubscribed, alpha)
    crm = crm_score(before, after, worth, alpha)
    if min(base.converters, other.converters) < CONVERTERS_MIN:
        return Comparison(Verdict.TOO_FEW_CONVERSIONS, unsubscribed=unsubscribed, crm=crm)
    conversion = _effect(_converted(base), _converted(other), alpha)
    if conversion.difference.low > 0:
        verdict = Verdict.BETTER
    else:
        verdict = Verdict.WORSE if conversion.difference.high < 0 else Verdict.OPEN
    goals = _effect(base.goals, other.goals, alpha)
    value = _effect(base.value, other.value, alpha)
    return Comparison(verdict, conversion, goals, value, unsubscribed, crm)


def _converted(arm: Arm) -> Sums:
    return share(arm.users, arm.converters)


def _outcomes(arm: Arm) -> Outcomes:
    return Outcomes(arm.goals, share(arm.users, arm.unsubscribers))


def _effect(base: Sums, other: Sums, alpha: float) -> Effect:
    return Effect(difference(base, other, alpha), lift(base, other, alpha))


_NOBODY: Final = arm_of({})
