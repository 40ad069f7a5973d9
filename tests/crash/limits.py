"""Spacing, cooldown and caps: kept where it was sent, kept and not made up where it was decided.

Of marketing candidates of one moment one may win: the others lose against it, not against a limit.
People with several profiles (`Meaning.merged`) are bound by what all of them were sent, from the
record on that made them one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.crash.evidence import Claimed, Evidence, Push, Row
from tests.crash.findings import Allowance, Findings, log_ms
from tests.crash.ghosts import GHOSTS, OWN
from tests.crash.triggers import (
    CAPS,
    COOLDOWN_MS,
    DAY_MAX,
    MARKETING,
    NEWS_CAP,
    NEWS_ID,
    SPACING_MS,
)

#: Time from a claim to its arrival at the provider where the ring no longer has the claim.
UNKNOWN_FLIGHT_MS = 1_000
DAY_MS = 86_400_000
#: How a delivery ends that the provider has taken, or may have.
TAKEN = ("ACCEPTED", "UNKNOWN")
LOST = "LOWER_PRIORITY"
#: What earlier messages refuse.
LIMITS = frozenset({"COOLDOWN", "SPACING", "FREQUENCY_CAP"})

Flights = Mapping[str, int]


def limits_hold_where_it_was_sent(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Spacing, cooldown and caps of marketing, in claim times and in arrival times.

    What was under way when its sender died and the store lost its claim is known to the provider
    alone (`Allowance.twice_max` bounds it, `every_delivery_ends_once` counts it).
    """
    opened, rows = evidence.opened(), evidence.admitted()
    decided_ms = {name: log_ms(row["at"]) for name, row in opened.items()}
    claimed_ms: dict[str, int] = {}
    claimed: dict[str, list[Claimed]] = {}
    for user, claims in evidence.claims.items():
        claimed_ms |= {claim.delivery_id: claim.at_ms for claim in claims}
        # With those of a profile that was merged: they keep back what is decided after that.
        claimed[user] = sorted(
            claim
            for claim in claims
            if claim.trigger in MARKETING
            and opened.get(claim.delivery_id, {}).get("user", user) == user
        )
        for fault in _limit_faults(claimed[user], {}):
            yield f"claims of {user}: {fault}", user
    for user, fault in _faults_of_kin(evidence, claimed, decided_ms, {}):
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
        arrivals.sort()
        for fault in _limit_faults(arrivals, flights):
            yield f"arrivals of {user}: {fault}", user
    for user, fault in _faults_of_kin(evidence, by_user, decided_ms, flights):
        yield f"arrivals of {user}: {fault}", user


def _flight_ms(push: Push, claimed_ms: dict[str, int]) -> int:
    """How long before its arrival a push may have been claimed: by so much it may stand closer to
    the next one than the limit says, because the gate counts from the claim."""
    claimed = claimed_ms.get(push.delivery_id)
    return UNKNOWN_FLIGHT_MS if claimed is None else push.at_ms - claimed


def _limit_faults(sent: Sequence[Claimed], flights: Flights) -> Iterator[str]:
    for number, one in enumerate(sent):
        yield from _faults_of(one, sent[:number], flights)


def _faults_of(one: Claimed, before: Sequence[Claimed], flights: Flights) -> Iterator[str]:
    """What should have kept `one` back, by what was sent before it."""

    def ago_ms(earlier: Claimed) -> int:
        return one.at_ms - earlier.at_ms + flights.get(earlier.delivery_id, 0)

    for earlier in before:
        if earlier.trigger == one.trigger and ago_ms(earlier) < COOLDOWN_MS:
            yield f"cooldown {ago_ms(earlier)} ms: {earlier}, {one}"
    if one.own:
        return
    counted = [earlier for earlier in before if not earlier.own]
    for earlier in counted:
        if ago_ms(earlier) < SPACING_MS:
            yield f"spacing {ago_ms(earlier)} ms: {earlier}, {one}"
    news = [earlier for earlier in counted if earlier.trigger == NEWS_ID]
    caps = [(counted, *cap) for cap in CAPS]
    caps += [(news, *NEWS_CAP)] if one.trigger == NEWS_ID else []
    for counting, count_max, per_ms in caps:
        within = [earlier for earlier in counting if ago_ms(earlier) < per_ms]
        if len(within) >= count_max:
            yield f"{len(within) + 1} in {per_ms} ms: {within}, {one}"
    # A day that begins while the earlier one is on its way does not make a fault.
    day = [
        earlier
        for earlier in counted
        if one.at_ms // DAY_MS == (earlier.at_ms - flights.get(earlier.delivery_id, 0)) // DAY_MS
    ]
    if len(day) >= DAY_MAX:
        yield f"{len(day) + 1} on a day: {day}, {one}"


def limits_hold_where_it_was_decided(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """In log time: what reached somebody kept every limit, and no limit was made up."""
    reached: dict[str, list[Claimed]] = defaultdict(list)
    taken: dict[str, list[Claimed]] = defaultdict(list)
    refused: list[tuple[str, Claimed, Row]] = []
    for key, rows in evidence.decided.rows.items():
        row = rows[0]
        if key.trigger not in MARKETING:
            continue
        own = row["reason"] == OWN
        decided = Claimed(log_ms(row["at"]), row["delivery_id"] or "", key.trigger, own)
        if row["outcome"] == "ADMITTED" or row["reason"] in GHOSTS:
            taken[key.user].append(decided)
            ended = evidence.outcomes.get(row["delivery_id"], [])
            if ended and ended[0].reason in (*TAKEN, row["reason"]):
                reached[key.user].append(decided)
        elif row["reason"] in (LOST, *LIMITS):
            refused.append((key.user, decided, row))
    for user, sent in reached.items():
        sent.sort()
        for fault in _limit_faults(sent, {}):
            yield f"decisions of {user}: {fault}", user
    decided_ms = {one.delivery_id: one.at_ms for sent in reached.values() for one in sent}
    for user, fault in _faults_of_kin(evidence, reached, decided_ms, {}):
        yield f"decisions of {user}: {fault}", user
    for user, decided, row in refused:
        reason = row["reason"]
        findings.refused[reason] += 1
        known = [one for name in evidence.meaning.kin_of(user) for one in taken[name]]
        if reason == LOST:
            won = {one.delivery_id for one in known if one.at_ms == decided.at_ms and not one.own}
            by = row.get("by")
            # Who is decided late, behind a merge, may lose to a message that has ended by then.
            if by not in won and (by or not won or not won <= evidence.outcomes.keys()):
                yield f"{decided} of {user} lost to {row.get('by')}, at that moment won {won}", user
        elif not (why := _reasons(decided, reason, known)):
            yield f"{decided} of {user} was refused for {reason}, which nothing explains", user
        else:
            findings.only_for.update(why if len(why) == 1 else ())


def _faults_of_kin(
    evidence: Evidence,
    sent: Mapping[str, list[Claimed]],
    decided_ms: Mapping[str, int],
    flights: Flights,
) -> Iterator[tuple[str, str]]:
    """What was decided after a merge knows what the other profile was sent, and is the last."""
    for user, merges in evidence.meaning.merged.items():
        for one in sent.get(user, ()):
            guests = {merge.guest for merge in merges if merge.a < decided_ms[one.delivery_id]}
            others = [other for guest in guests for other in sent.get(guest, ())]
            if others:
                known = sorted(other for other in (*others, *sent[user]) if other < one)
                for fault in _faults_of(one, known, flights):
                    yield user, f"{fault} (merged {guests})"
            for other in others:
                if other.at_ms - flights.get(other.delivery_id, 0) > one.at_ms:
                    yield user, f"{other} of a merged profile came after {one}"


def _reasons(refused: Claimed, reason: str, taken: Sequence[Claimed]) -> list[str]:
    """Which limits could explain the refusal, with what was admitted earlier, given back or not.

    One of the same moment is a reason for its trigger's cooldown only; else one loses to it.
    """
    ages = [(refused.at_ms - one.at_ms, one) for one in taken]
    if reason == "COOLDOWN":
        same = [age for age, one in ages if one.trigger == refused.trigger]
        return ["cooldown"] if any(0 <= age < COOLDOWN_MS for age in same) else []
    earlier = [(age, one) for age, one in ages if age > 0 and not one.own]
    if reason == "SPACING":
        return ["spacing"] if any(age < SPACING_MS for age, _ in earlier) else []
    why = [
        f"{count} per {per_ms} ms"
        for count, per_ms in CAPS
        if sum(age < per_ms for age, _ in earlier) >= count
    ]
    count, per_ms = NEWS_CAP
    news = [age for age, one in earlier if one.trigger == refused.trigger == NEWS_ID]
    if sum(age < per_ms for age in news) >= count:
        why.append("category")
    day = refused.at_ms // DAY_MS
    if sum(one.at_ms // DAY_MS == day for _, one in earlier) >= DAY_MAX:
        why.append("day")
    return why
