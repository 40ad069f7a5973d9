"""Were users shared out as planned? A sample ratio mismatch makes every comparison worthless.

The test may be looked at after every user: its evidence is a martingale while users are shared out
as planned, so the chance that it ever reaches 1 / ALPHA is at most ALPHA (Ville's inequality).
Source: Lindon, Malek: Anytime-valid inference for multinomial count data, 2022. A chi-square test
of the same level that is looked at daily raises false alarms several times as often
(docs/experiments.md has the rates).
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

#: How often, at most, planned sharing is ever called a mismatch.
ALPHA: Final = 0.01
#: How many users' worth of belief in the plan: most sensitive to shares that are wrong by about
#: one and a half percentage points.
_BELIEF: Final = 1_000


class Balance(NamedTuple):
    """`p`: the chance of ever seeing so much evidence against the plan, were it followed."""

    p: float
    mismatch: bool


def evidence(users: Mapping[str, int], shares: Mapping[str, int]) -> float:
    """The logarithm of how much better another sharing than the planned one explains the users.

    `shares`: the planned share of each arm, in any unit. An arm that was to have nobody and has
    somebody is proof: infinite.
    """
    whole = sum(shares.values())
    counted = sum(users.get(arm, 0) for arm in shares)
    log = math.lgamma(_BELIEF) - math.lgamma(_BELIEF + counted)
    for arm, planned in shares.items():
        found = users.get(arm, 0)
        if not planned:
            if found:
                return math.inf
            continue
        prior = _BELIEF * planned / whole
        log += math.lgamma(prior + found) - math.lgamma(prior)
        log -= found * math.log(planned / whole)
    return log


def judge(log_evidence: float) -> Balance:
    """Evidence of several plans, one after the other, is added before it is judged."""
    p = math.exp(-max(log_evidence, 0.0))
    return Balance(p, p <= ALPHA)
