"""Spacing, cooldown and caps: kept where it was sent, kept and not made up where it was decided.

Of marketing candidates of one moment one may win: the others lose against it, not against a limit.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.crash.evidence import Claimed, Evidence, Push
from tests.crash.findings import Allowance, Findings, log_ms
from tests.crash.triggers import CAPS, COOLDOWN_MS, MARKETING, SPACING_MS

#: Time from a claim to its arrival at the provider where the ring no longer has the claim.
UNKNOWN_FLIGHT_MS = 1_000
#: How a delivery ends that the provider has taken, or may have.
TAKEN = ("ACCEPTED", "UNKNOWN")
LOST = "LOWER_PRIORITY"
#: Why a marketing candidate of somebody reachable may be refused.
LIMITS = frozenset({"COOLDOWN", "SPACING", "FREQUENCY_CAP", LOST})


def limits_hold_where_it_was_sent(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Spacing, cooldown and caps of marketing, in claim times and in arrival times.

    What was under way when its sender died and the store lost its claim is known to the provider
    alone (`Allowance.twice_max` bounds it, `every_delivery_ends_once` counts it).
    """
    rows = evidence.admitted()
    claimed_ms: dict[str, int] = {}
    for user, claims in evidence.claims.items():
        claimed_ms |= {claim.delivery_id: claim.at_ms for claim in claims}
        marketing = sorted(claim for claim in claims if claim.trigger in MARKETING)
        for fault in _limit_faults(marketing, {}):
            yield f"claims of {user}: {fault}", user
    by_user: dict[str, list[Claimed]] = {}
    flights: dict[str, int] = {}
    for delivery_id, pushes in evidence.accepted.items():
        row = rows.get(delivery_id)
        if row is None or row["trigger"] not in MARKETING:
            continue
        ended = evidence.outcomes.get(delivery_id)
        if allowance.twice_max and not (ended and ended[0].reason in TAKEN):
            continue
        for push in pushes:
            arrived = Claimed(push.at_ms, delivery_id, row["trigger"])
            by_user.setdefault(row["user"], []).append(arrived)
            flights[delivery_id] = _flight_ms(push, claimed_ms)
    for user, arrivals in by_user.items():
        for fault in _limit_faults(sorted(arrivals), flights):
            yield f"arrivals of {user}: {fault}", user


def _flight_ms(push: Push, claimed_ms: dict[str, int]) -> int:
    """How long before its arrival a push may have been claimed: by so much it may stand closer to
    the next one than the limit says, because the gate counts from the claim."""
    claimed = claimed_ms.get(push.delivery_id)
    return UNKNOWN_FLIGHT_MS if claimed is None else push.at_ms - claimed


def _limit_faults(sent: list[Claimed], flights: dict[str, int]) -> Iterator[str]:
    last_of: dict[str, Claimed] = {}
    for before, after in pairwise(sent):
        if after.at_ms - before.at_ms < SPACING_MS - flights.get(before.delivery_id, 0):
            yield f"spacing {after.at_ms - before.at_ms} ms: {before}, {after}"
    for one in sent:
        before_ = last_of.get(one.trigger)
        last_of[one.trigger] = one
        if before_ is None:
            continue
        if one.at_ms - before_.at_ms < COOLDOWN_MS - flights.get(before_.delivery_id, 0):
            yield f"cooldown {one.at_ms - before_.at_ms} ms: {before_}, {one}"
    for count_max, per_ms in CAPS:
        for number, last in enumerate(sent[count_max:]):
            first = sent[number]
            if last.at_ms - first.at_ms < per_ms - flights.get(first.delivery_id, 0):
                yield f"{count_max + 1} in {last.at_ms - first.at_ms} ms, from {first}"


def limits_hold_where_it_was_decided(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """In log time: what reached somebody kept every limit, and no limit was made up."""
    reached: dict[str, list[Claimed]] = defaultdict(list)
    taken: dict[str, list[Claimed]] = defaultdict(list)
    refused: list[tuple[str, Claimed, str]] = []
    lost: list[tuple[str, Claimed, str]] = []
    for key, rows in evidence.decided.rows.items():
        row = rows[0]
        decided = Claimed(log_ms(row["at"]), row["delivery_id"] or "", key.trigger)
        if key.trigger not in MARKETING:
            continue
        if row["outcome"] == "ADMITTED":
            taken[key.user].append(decided)
            ended = evidence.outcomes.get(row["delivery_id"], [])
            if ended and ended[0].reason in TAKEN:
                reached[key.user].append(decided)
        elif row["reason"] == LOST:
            lost.append((key.user, decided, row.get("by", "")))
        elif row["reason"] in LIMITS:
            refused.append((key.user, decided, row["reason"]))
    for user, sent in reached.items():
        for fault in _limit_faults(sorted(sent), {}):
            yield f"decisions of {user}: {fault}", user
    for user, decided, reason in refused:
        if not _is_limited(decided, reason, taken[user]):
            yield f"{decided} of {user} was refused for {reason}, which nothing explains", user
    for user, decided, by in lost:
        won = {one.delivery_id for one in taken[user] if one.at_ms == decided.at_ms}
        if by not in won:
            yield f"{decided} of {user} lost to {by or 'nobody'}, at that moment won {won}", user


def _is_limited(refused: Claimed, reason: str, taken: list[Claimed]) -> bool:
    """Could earlier admissions, given back or not, explain the refusal?

    One of the same moment is a reason for its trigger's cooldown only; else one loses to it.
    """
    ages = [(refused.at_ms - one.at_ms, one.trigger) for one in taken]
    if reason == "COOLDOWN":
        return any(0 <= age < COOLDOWN_MS and trigger == refused.trigger for age, trigger in ages)
    if reason == "SPACING":
        return any(0 < age < SPACING_MS for age, _ in ages)
    return any(sum(0 < age < per_ms for age, _ in ages) >= count for count, per_ms in CAPS)
