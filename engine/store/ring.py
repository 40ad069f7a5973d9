"""The gate ring of one user: when deliveries were claimed, and what that forbids.

`functions/tripline.lua` does the same in Redis; the contract suite and a stateful test compare
the two. Something at t0 blocks until t - t0 >= period; in a calendar window until it ends.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.ports import Claim, GateAnswer, Verdict
from engine.store.keys import GHOST_MARK, RING_MAX, RING_SPARE
from schemas.deliveries import CalendarCap, Limits
from schemas.reasons import Reason

_DAY_MS = 86_400_000


class Claimed(NamedTuple):
    """One claim that was answered SEND. `category` "": one without caps of its own. `trigger` of a
    ghost begins with `GHOST_MARK`."""

    at_ms: int
    delivery_id: str
    trigger: str
    category: str = ""

    @property
    def is_ghost(self) -> bool:
        """It counts in the cooldown of its own trigger only."""
        return self.trigger.startswith(GHOST_MARK)


@dataclass(slots=True)
class Ring:
    """`claims` in the order they were made; `keep` is the most that stay, of all and of each
    category, and only grows. The newest of each trigger stays for its cooldown."""

    keep: int = 0
    claims: list[Claimed] = field(default_factory=list)

    def refusal(self, claim: Claim) -> Verdict | None:
        """The first limit that refuses, and when all those that refuse now are free."""
        now_ms, limits = claim.now_ms, claim.limits
        refused = [
            (Reason.COOLDOWN, made.at_ms + limits.cooldown_ms)
            for made in self.claims
            if made.trigger in (claim.trigger, GHOST_MARK + claim.trigger)
            and _blocks(made, limits.cooldown_ms, now_ms)
        ]
        refused += [
            (Reason.SPACING, made.at_ms + limits.spacing_ms)
            for made in self.claims
            if not made.is_ghost and _blocks(made, limits.spacing_ms, now_ms)
        ]
        refused += [(Reason.FREQUENCY_CAP, at_ms) for at_ms in self._caps_free_at(limits, now_ms)]
        if not refused:
            return None
        return Verdict(
            GateAnswer.REFUSED, max(free_at_ms for _, free_at_ms in refused), refused[0][0]
        )

    def add(self, claim: Claim) -> None:
        """Enter a claim; the oldest go."""
        limits = claim.limits
        counts = [max_count for max_count, _ in (*limits.caps, *limits.own_caps)]
        largest = max([0, *counts, *(cap.max for cap in limits.calendars)])
        self.keep = min(max(self.keep, largest + RING_SPARE), RING_MAX)
        made = Claimed(claim.now_ms, claim.delivery_id, claim.trigger, limits.category)
        if claim.own:
            made = made._replace(trigger=GHOST_MARK + claim.trigger, category="")
        self.claims.append(made)
        self._forget()

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
        self._forget()

    def remove(self, delivery_id: str) -> None:
        """Forget the claims of a delivery."""
        self.claims = [made for made in self.claims if made.delivery_id != delivery_id]

    def _forget(self) -> None:
        """The newest `keep` of all and of each category stay, and the newest of each trigger,
        `RING_MAX` at most. Of ghosts only that one, so that they never hide a message."""
        kept: list[Claimed] = []
        number = 0
        of_category: Counter[str] = Counter()
        triggers: set[str] = set()
        for made in reversed(self.claims):
            stays = made.trigger not in triggers
            if not made.is_ghost:
                of_category[made.category] += 1
                own = made.category and of_category[made.category] <= self.keep
                stays |= number < self.keep or bool(own)
                number += 1
            if stays and len(kept) < RING_MAX:
                kept.append(made)
            triggers.add(made.trigger)
        self.claims = kept[::-1]

    def _caps_free_at(self, limits: Limits, now_ms: int) -> Iterator[int]:
        """When each cap is free that refuses now."""
        sent = [made for made in self.claims if not made.is_ghost]
        own = [made for made in sent if made.category == limits.category]
        for claims, caps in ((sent, limits.caps), (own, limits.own_caps)):
            for max_count, per_ms in caps:
                at_ms = _cap_free_at(claims, max_count, per_ms, now_ms)
                if at_ms is not None:
                    yield at_ms
        for calendar in limits.calendars:
            at_ms = _calendar_free_at(own if calendar.own else sent, calendar, now_ms)
            if at_ms is not None:
                yield at_ms


def _cap_free_at(claims: list[Claimed], max_count: int, per_ms: int, now_ms: int) -> int | None:
    if max_count <= 0:
        return now_ms + per_ms if per_ms > 0 else None
    times = sorted(made.at_ms for made in claims if _blocks(made, per_ms, now_ms))
    return times[-max_count] + per_ms if len(times) >= max_count else None


def _calendar_free_at(claims: list[Claimed], cap: CalendarCap, now_ms: int) -> int | None:
    """The end of the window around now, when it is full; behind the last start, a day later.

    A clock that is behind the decision is taken to be in its window.
    """
    place = max((n for n, start in enumerate(cap.starts) if start <= now_ms), default=0)
    start_ms, *later = cap.starts[place:]
    end_ms = later[0] if later else None
    used = sum(
        start_ms <= made.at_ms and (end_ms is None or made.at_ms < end_ms) for made in claims
    )
    if used < cap.max:
        return None
    return now_ms + _DAY_MS if end_ms is None else end_ms


def _blocks(made: Claimed, period_ms: int, now_ms: int) -> bool:
    # A claim made by a faster clock lies ahead: a period of 0 blocks nothing even then.
    return period_ms > 0 and now_ms - made.at_ms < period_ms
