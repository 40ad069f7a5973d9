"""The CRM score: goals won against subscribers lost (docs/experiments.md).

(G - L) / (G + L): G = more goals a user x their worth, L = more unsubscribes a user x their worth;
goals that became fewer count in L, unsubscribes that became fewer count nowhere.
"""

from typing import Final, NamedTuple

from engine.report.sequences import ALPHA, Interval, Sums, difference

EFFECTIVE: Final = 0.5
REWORK: Final = 0.0


class Worth(NamedTuple):
    """What one goal and one unsubscribe weigh (`worth` of the policy)."""

    goal: float = 1.0
    unsubscribe: float = 5.0


class Outcomes(NamedTuple):
    """Goals and unsubscribed users of an arm."""

    goals: Sums
    unsubscribed: Sums


def crm_score(
    base: Outcomes, other: Outcomes, worth: Worth, alpha: float = ALPHA
) -> Interval | None:
    """-1 to 1, None where nothing was won or lost.

    Half of alpha goes to either difference; the score never falls with more goals nor with fewer
    unsubscribes, so its bounds are those of the corners.
    """
    goals = difference(base.goals, other.goals, alpha / 2)
    lost = difference(base.unsubscribed, other.unsubscribed, alpha / 2)
    estimate = _score(goals.estimate, lost.estimate, worth)
    if estimate is None:
        return None
    low, high = _score(goals.low, lost.high, worth), _score(goals.high, lost.low, worth)
    return Interval(estimate, -1.0 if low is None else low, 1.0 if high is None else high)


def rating(score: float) -> str:
    """EFFECTIVE, REWORK, or MODERATE between them."""
    if score > EFFECTIVE:
        return "EFFECTIVE"
    return "REWORK" if score < REWORK else "MODERATE"


def _score(goals: float, lost: float, worth: Worth) -> float | None:
    won = max(goals, 0.0) * worth.goal
    loss = max(-goals, 0.0) * worth.goal + max(lost, 0.0) * worth.unsubscribe
    return (won - loss) / (won + loss) if won + loss else None
