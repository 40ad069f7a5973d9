"""A commit, a claim and their answers as arguments and replies of the Redis functions.

The order is that of `functions/tripline.lua`. This is the hot path: flat lists, keys spelled out
here, because joining strings costs Redis more than it costs us.
"""

from collections.abc import Iterable

import msgspec

from engine.ports import Claim, Commit, CommitResult, CommitStatus, GateAnswer, Position, Verdict
from engine.store import functions
from engine.store.link import Argument, Command, Reply
from schemas.deliveries import Limits
from schemas.reasons import Reason
from triggers.effects import Reached
from triggers.program import Withdrawals


def commit_command(commit: Commit, tag: str) -> Command:
    """The FCALL of a commit."""
    words: list[Argument] = ["FCALL", functions.COMMIT, 1, tag + "m", tag, commit.commit_id]
    words += commit.expected
    words += commit.new
    has_entry = commit.outbox is not None
    words += (
        commit.watermark_ms,
        commit.registry,
        commit.partitions,
        commit.withhold_until,
        commit.trim_to,
        commit.seq + has_entry,
    )
    _add(words, [commit.seq, commit.outbox] if commit.outbox is not None else [])
    _add(words, _meta(commit))
    removed: list[Argument] = [f"{tag}d:{delivery_id}" for delivery_id in commit.closed]
    _add_states(words, removed, commit, tag)
    _add_ledger(words, commit, tag)
    _add(words, _flat(commit.withheld.items()))
    _add(words, commit.unwithheld)
    _add_rings(words, commit, tag)
    _add_journal(words, commit, tag)
    _add(words, _flat(commit.funnel.items()))
    _add(words, _flat(commit.pending.items()))
    _add(words, removed)
    return words


def commit_result(reply: Reply) -> CommitResult:
    """What the commit function answered."""
    status, offset, page, next_due = reply
    return CommitResult(
        CommitStatus(status.decode()), Position(int(offset), int(page)), int(next_due)
    )


def claim_command(claim: Claim, tag: str, token: str) -> Command:
    """The FCALL of a claim."""
    words: list[Argument] = [
        "FCALL",
        functions.CLAIM,
        3,
        f"{tag}d:{claim.delivery_id}",
        f"{tag}g:{claim.user}",
        f"{tag}m",
        claim.now_ms,
        claim.lease_ms,
        claim.delivery_id,
        claim.trigger,
        token,
        "g" if claim.own else int(claim.counted),
        claim.after,
        claim.closed_until_ms,
    ]
    _add_limits(words, claim.limits)
    return words


def _add_limits(words: list[Argument], limits: Limits) -> None:
    words += (limits.cooldown_ms, limits.spacing_ms, limits.category)
    _add(words, _flat(limits.caps))
    _add(words, _flat(limits.own_caps))
    for cap in limits.calendars:
        words += (cap.max, int(cap.own))
        _add(words, cap.starts)


def release_command(claim: Claim, tag: str) -> Command:
    """The FCALL of a release."""
    entry, ring = f"{tag}d:{claim.delivery_id}", f"{tag}g:{claim.user}"
    return ["FCALL", functions.RELEASE, 2, entry, ring, claim.delivery_id]


def verdict(reply: Reply) -> Verdict:
    """What the claim function answered."""
    answer, until_ms, reason = reply
    return Verdict(
        GateAnswer(answer.decode()), int(until_ms), Reason(reason.decode()) if reason else None
    )


def pack_withdrawals(withdrawals: Withdrawals) -> str:
    """`revision:time` of each, apart by spaces."""
    return " ".join(f"{revision}:{at_ms}" for revision, at_ms in withdrawals)


def unpack_withdrawals(packed: bytes) -> Withdrawals:
    """What `pack_withdrawals` has packed."""
    pairs = (pair.split(":") for pair in packed.decode().split())
    return tuple((int(revision), int(at_ms)) for revision, at_ms in pairs)


def _add(words: list[Argument], items: Iterable[Argument]) -> None:
    flat = items if isinstance(items, list) else list(items)
    words.append(len(flat))
    words += flat


def _flat(pairs: Iterable[tuple[Argument, Argument]]) -> list[Argument]:
    return [word for pair in pairs for word in pair]


def _add_states(words: list[Argument], removed: list[Argument], commit: Commit, tag: str) -> None:
    key = tag + "u:"
    written: list[Argument] = []
    for user, state in commit.states.items():
        if state is None:
            removed.append(key + user)
        else:
            written.append(key + user)
            written.append(state)
    _add(words, written)
    timers: list[Argument] = []
    gone: list[Argument] = []
    for user, score in commit.due.items():
        if score:
            timers.append(score)
            timers.append(user)
        else:
            gone.append(user)
    _add(words, timers)
    _add(words, gone)


def _add_ledger(words: list[Argument], commit: Commit, tag: str) -> None:
    opened: list[Argument] = []
    for delivery_id, user, expires_at_ms in commit.opened:
        opened += (f"{tag}d:{delivery_id}", user, expires_at_ms)
    _add(words, opened)
    for called_back in (commit.cancelled, commit.untrue, commit.refused):
        _add(words, _flat((f"{tag}d:{delivery_id}", at) for delivery_id, at in called_back))


def _meta(commit: Commit) -> list[Argument]:
    fields: list[Argument] = []
    for source, offset in commit.forwarded.items():
        fields += (f"f{source}", offset)
    for trigger, withdrawals in commit.withdrawn.items():
        fields += (f"x{trigger}", pack_withdrawals(withdrawals))
    return fields


def unpack_claims(user: str, packed: bytes) -> list[Reached]:
    """The claims of a gate ring."""
    _, *claims = msgspec.msgpack.decode(packed)
    parts = (claims[part::4] for part in range(4))
    return [
        Reached(user, str(name), str(trigger), int(at), str(category))
        for at, name, trigger, category in zip(*parts, strict=True)
    ]


def _add_rings(words: list[Argument], commit: Commit, tag: str) -> None:
    claims: list[Argument] = []
    for user, delivery_id, trigger, at_ms, category in commit.reached:
        claims += (f"{tag}g:{user}", commit.ring_keep, delivery_id, trigger, category, at_ms)
    _add(words, claims)
    _add(words, _flat((f"{tag}g:{user}", delivery_id) for user, delivery_id in commit.given_back))


def _add_journal(words: list[Argument], commit: Commit, tag: str) -> None:
    gone: list[Argument] = []
    for user in commit.forgotten:
        gone.append(f"{tag}j:{user}")
        if commit.states.get(user) is None:
            gone.append(f"{tag}g:{user}")
    _add(words, gone)
    journal: list[Argument] = []
    for user, entries in commit.journal.items():
        if entries:
            journal += (f"{tag}j:{user}", len(entries), *entries)
    _add(words, journal)
