"""Ghosts: users of a control group, who are treated like everybody and sent nothing.

Who they are is worked out here anew, from docs/experiments.md, docs/language.md ("Control groups")
and the published hash, version 2, of GrowthBook's SDK specification.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from tests.crash.evidence import Evidence
from tests.crash.findings import Allowance, Findings, log_ms
from tests.crash.triggers import (
    CONTROL_SHARE,
    GROUP_ROTATES,
    GROUP_SIZE,
    MARKETING,
    NEWS_ID,
)

OWN = "CONTROL"
EVERYTHING = "GLOBAL_CONTROL"
GHOSTS = (OWN, EVERYTHING)
BUCKETS = 10_000


def bucket_of(seed: str, user: str) -> int:
    """Of 10,000: FNV-1a of 32 bits, of the decimal digits of the same of seed and user."""
    return _fnv1a(str(_fnv1a(seed + user))) % BUCKETS


def _fnv1a(text: str) -> int:
    value = 2_166_136_261
    for byte in text.encode("ascii"):
        value = (value ^ byte) * 16_777_619 % 2**32
    return value


def is_in_the_group(user: str, at_ms: int) -> bool:
    """A window of buckets that moves on with each month, UTC."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = (12 * moment.year + moment.month) * GROUP_ROTATES
    return (bucket_of("global_control", user) - first) % BUCKETS < GROUP_SIZE


def arm_of(user: str) -> str:
    """Of NEWS: control comes first, then the variants."""
    bucket = bucket_of(f"experiment:{NEWS_ID}", user)
    if bucket < CONTROL_SHARE:
        return "control"
    return "a" if bucket < CONTROL_SHARE + (BUCKETS - CONTROL_SHARE) // 2 else "b"


def ghosts_are_whom_the_hash_says(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Whoever passed every check is a ghost, or is not, by the hash alone, and in the right arm."""
    for key, rows in evidence.decided.rows.items():
        for row in rows:
            passed = row["outcome"] == "ADMITTED" or row["reason"] in GHOSTS
            marketing = key.trigger in MARKETING
            arm = arm_of(key.user) if key.trigger == NEWS_ID else None
            reason = OWN if arm == "control" else None
            if marketing and is_in_the_group(key.user, log_ms(row["at"])):
                reason, arm = EVERYTHING, None
            if passed and (row["reason"], row["variant"]) != (reason, arm):
                yield f"{key} should be {reason} in arm {arm}: {row}", key.user
            if not passed and row["variant"]:
                yield f"{key} has an arm, but was never shared out: {row}", key.user


def ghosts_are_never_sent(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """No provider ever heard of one, and it ends as what it is unless it ends earlier."""
    for delivery_id, row in evidence.opened().items():
        reasons = {ended.reason for ended in evidence.outcomes.get(delivery_id, [])}
        marked = {delivery.get("ghost") for delivery in evidence.deliveries.get(delivery_id, [])}
        if row["reason"] not in GHOSTS:
            if reasons & set(GHOSTS) or marked - {None}:
                yield f"{delivery_id} is no ghost, but ended as one: {row}", row["user"]
            continue
        findings.ghosts[row["reason"]] += 1
        if evidence.accepted.get(delivery_id):
            yield f"{delivery_id} is a ghost and was sent: {row}", row["user"]
        if reasons & {"ACCEPTED", *GHOSTS} - {row["reason"]}:
            yield f"{delivery_id} is a ghost and ended {reasons}: {row}", row["user"]
        if marked - {row["reason"]}:
            yield f"{delivery_id} is a ghost and was handed on as {marked}: {row}", row["user"]
