"""The gate ring of one user: when deliveries were claimed, and what that forbids.

`functions/tripline.lua` does the same in Redis; the contract suite and a stateful test compare
the two. Something at t0 blocks until t - t0 >= period.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from engine.ports import Claim, GateAnswer, Verdict
from engine.store.keys import RING_MAX, RING_SPARE
from schemas.reasons import Reason


class Claimed(NamedTuple):
    """One claim that was answered SEND."""

    at_ms: int
    delivery_id: str
    trigger: str


@dataclass(slots=True)
class Ring:
    """`claims` in the order they were made; `keep` is the most that stay, and only grows."""

    keep: int = 0
    claims: list[Claimed] = field(default_factory=list)

    def refusal(self, claim: Claim) -> Verdict | None:
        """The first limit that refuses, and when all those that refuse now are free."""
        now_ms, limits = claim.now_ms, claim.limits
        refused = [
            (Reason.COOLDOWN, made.at_ms + limits.cooldown_ms)
            for made in self.claims
            if made.trigger == claim.trigger and _blocks(made, limits.cooldown_ms, now_ms)
        ]
        refused += [
            (Reason.SPACING, made.at_ms + limits.spacing_ms)
            for made in self.claims
            if _blocks(made, limits.spacing_ms, now_ms)
        ]
        for max_count, per_ms in limits.caps:
            free_at_ms = self._cap_free_at(max_count, per_ms, now_ms)
            if free_at_ms is not None:
                refused.append((Reason.FREQUENCY_CAP, free_at_ms))
        if not refused:
            return None
        return Verdict(
            GateAnswer.REFUSED, max(free_at_ms for _, free_at_ms in refused), refused[0][0]
        )

    def add(self, claim: Claim) -> None:
        """Enter a claim; the oldest go."""
        largest = max([0, *(max_count for max_count, _ in claim.limits.caps)])
        self.keep = min(max(self.keep, largest + RING_SPARE), RING_MAX)
        self.claims.append(Claimed(claim.now_ms, claim.delivery_id, claim.trigger))
        del self.claims[: max(0, len(self.claims) - self.keep)]

    def restore(self, forgotten: Claimed, keep: int) -> None:
        """Enter a claim that the log knows of in its place, if it is missing."""
        if any(made.delivery_id == forgotten.delivery_id for made in self.claims):
            return
        place = next(
            (n for n, made in enumerate(self.claims) if made.at_ms > forgotten.at_ms),
            len(self.claims),
        )
        self.claims.insert(place, forgotten)
        self.keep = max(self.keep, keep)
        del self.claims[: max(0, len(self.claims) - self.keep)]

    def remove(self, delivery_id: str) -> None:
        """Forget the claims of a delivery."""
        self.claims = [made for made in self.claims if made.delivery_id != delivery_id]

    def _cap_free_at(self, max_count: int, per_ms: int, now_ms: int) -> int | None:
        if max_count <= 0:
            return now_ms + per_ms if per_ms > 0 else None
        times = sorted(made.at_ms for made in self.claims if _blocks(made, per_ms, now_ms))
        return times[-max_count] + per_ms if len(times) >= max_count else None


def _blocks(made: Claimed, period_ms: int, now_ms: int) -> bool:
    # A claim made by a faster clock lies ahead: a period of 0 blocks nothing even then.
    return period_ms > 0 and now_ms - made.at_ms < period_ms
