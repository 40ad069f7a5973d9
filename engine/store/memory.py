"""The state of the shards in this process: unit tests, backtests and the embedded modes.

The same contract as `RedisStore`, with nothing behind it that could fail or survive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.ports import (
    START,
    Claim,
    Commit,
    CommitResult,
    CommitStatus,
    GateAnswer,
    Position,
    ShardMeta,
    Verdict,
)
from engine.store.dump import empty_dump
from engine.store.keys import JOURNAL_MAX
from engine.store.ring import Claimed, Ring
from triggers.effects import Reached
from triggers.program import Withdrawals

#: A counter of Redis has 64 bits.
COUNTER_BEYOND = 2**63


@dataclass(slots=True)
class _Entry:
    """A ledger entry. `claimed_ms` is None while nobody has claimed it."""

    user: str
    expires_ms: int
    cancelled_ms: int | None = None
    untrue_ms: int | None = None
    refused_ms: int | None = None
    claimed_ms: int | None = None
    lease_ms: int = 0


@dataclass(slots=True)
class _Shard:
    position: Position = START
    commit_id: str | None = None
    watermark_ms: int = 0
    registry: int = 0
    next_seq: int = 0
    partitions: int = 0
    withhold_until: int = 0
    forwarded: dict[int, int] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    outbox: dict[int, bytes] = field(default_factory=dict)
    withheld: dict[str, bytes] = field(default_factory=dict)
    ledger: dict[str, _Entry] = field(default_factory=dict)
    journal: dict[str, list[bytes]] = field(default_factory=dict)
    rings: dict[str, Ring] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    withdrawn: dict[str, Withdrawals] = field(default_factory=dict)

    def next_due(self) -> int:
        return min(self.timers.values(), default=0)


class MemoryStore:
    """`ShardStore` and `Gate` in memory. Never raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}

    async def load_shard(self, shard: int) -> ShardMeta | None:
        """See `ShardStore.load_shard`."""
        held = self._shards.get(shard)
        if held is None or held.commit_id is None:
            return None
        return ShardMeta(
            position=held.position,
            watermark_ms=held.watermark_ms,
            registry=held.registry,
            next_seq=held.next_seq,
            partitions=held.partitions,
            forwarded=dict(held.forwarded),
            withhold_until=held.withhold_until,
            next_due=held.next_due(),
            withdrawn=dict(held.withdrawn),
        )

    async def load_states(self, shard: int, users: Sequence[str]) -> list[bytes | None]:
        """See `ShardStore.load_states`."""
        states = self._shard(shard).states
        return [states.get(user) for user in users]

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        """See `ShardStore.due_users`."""
        timers = self._shard(shard).timers.items()
        due = sorted((score, user) for user, score in timers if score < before_ms)
        return [(user, score) for score, user in due[:count_max]]

    async def commit(self, commit: Commit) -> CommitResult:
        """See `ShardStore.commit`."""
        held = self._shard(commit.shard)
        if held.position == commit.new:
            is_retry = held.commit_id == commit.commit_id
            status = CommitStatus.OK if is_retry else CommitStatus.DUP
        elif held.position != commit.expected:
            status = CommitStatus.GAP
        else:
            status = CommitStatus.OK
            _apply_meta(held, commit)
            _apply_users(held, commit)
            _apply_deliveries(held, commit)
            _remove(held, commit)
        return CommitResult(status, held.position, held.next_due())

    async def outbox(self, shard: int) -> list[tuple[int, bytes]]:
        """See `ShardStore.outbox`."""
        return sorted(self._shard(shard).outbox.items())

    async def withheld(self, shard: int) -> dict[str, bytes]:
        """See `ShardStore.withheld`."""
        return dict(self._shard(shard).withheld)

    async def journal(self, shard: int, user: str) -> list[bytes]:
        """See `ShardStore.journal`."""
        return list(self._shard(shard).journal.get(user, []))

    async def claims(self, shard: int, user: str) -> list[Reached]:
        """See `ShardStore.claims`."""
        ring = self._shard(shard).rings.get(user) or Ring()
        return [Reached(user, name, trigger, at, where) for at, name, trigger, where in ring.claims]

    async def funnel(self, shard: int) -> dict[str, int]:
        """See `ShardStore.funnel`."""
        return dict(self._shard(shard).funnel)

    async def pending(self, shard: int) -> dict[str, int]:
        """See `ShardStore.pending`."""
        return dict(self._shard(shard).pending)

    async def claim(self, claims: Sequence[Claim]) -> list[Verdict]:
        """See `Gate.claim`."""
        return [self._claim(claim) for claim in claims]

    async def release(self, claims: Iterable[Claim]) -> None:
        """See `Gate.release`."""
        for claim in claims:
            held = self._shard(claim.shard)
            entry = held.ledger.get(claim.delivery_id)
            if entry is None or entry.claimed_ms is None:
                continue
            entry.claimed_ms = None
            if claim.user in held.rings:
                held.rings[claim.user].remove(claim.delivery_id)

    async def dump(self, shard: int) -> dict[str, Any]:
        """Everything held of a shard, by `keys.STORED` name."""
        return _dump(self._shard(shard))

    async def aclose(self) -> None:
        """Nothing to give back; what is held stays readable."""

    def _shard(self, shard: int) -> _Shard:
        return self._shards.setdefault(shard, _Shard())

    def _claim(self, claim: Claim) -> Verdict:
        held = self._shard(claim.shard)
        entry = held.ledger.get(claim.delivery_id)
        if entry is None:
            return Verdict(GateAnswer.GONE)
        if entry.claimed_ms is not None:
            lease_ends_ms = entry.claimed_ms + entry.lease_ms
            if claim.now_ms < lease_ends_ms:
                return Verdict(GateAnswer.WAIT, lease_ends_ms)
            return Verdict(GateAnswer.UNKNOWN)
        if entry.refused_ms is not None and entry.refused_ms <= claim.now_ms:
            return Verdict(GateAnswer.CONSENT)
        if entry.cancelled_ms is not None and entry.cancelled_ms <= claim.now_ms:
            return Verdict(GateAnswer.CANCELLED)
        if entry.untrue_ms is not None and entry.untrue_ms <= claim.now_ms:
            return Verdict(GateAnswer.NO_LONGER_TRUE)
        if claim.now_ms > entry.expires_ms:
            return Verdict(GateAnswer.EXPIRED)
        if held.position.offset < claim.after or held.withhold_until:
            return Verdict(GateAnswer.BEHIND)
        ring = held.rings.get(claim.user) or Ring()
        refusal = ring.refusal(claim)
        if refusal is not None:
            return refusal
        if claim.counted or claim.own:
            held.rings[claim.user] = ring
            ring.add(claim)
        entry.claimed_ms, entry.lease_ms = claim.now_ms, claim.lease_ms
        return Verdict(GateAnswer.SEND)


def _apply_meta(held: _Shard, commit: Commit) -> None:
    held.position = commit.new
    held.commit_id = commit.commit_id
    held.watermark_ms = commit.watermark_ms
    held.registry = commit.registry
    held.partitions = commit.partitions
    held.withhold_until = commit.withhold_until
    held.forwarded.update(commit.forwarded)
    held.withdrawn.update(commit.withdrawn)
    held.next_seq = max(held.next_seq, commit.seq + (commit.outbox is not None))
    if commit.outbox is not None:
        held.outbox[commit.seq] = commit.outbox
    for seq in [seq for seq in held.outbox if seq <= commit.trim_to]:
        del held.outbox[seq]


def _apply_users(held: _Shard, commit: Commit) -> None:
    for user, state in commit.states.items():
        if state is not None:
            held.states[user] = state
    for user, score in commit.due.items():
        if score:
            held.timers[user] = score
        else:
            held.timers.pop(user, None)
    for user, delivery_id, trigger, claimed_at_ms, category in commit.reached:
        ring = held.rings.setdefault(user, Ring())
        ring.restore(Claimed(claimed_at_ms, delivery_id, trigger, category), commit.ring_keep)
    for user, delivery_id in commit.given_back:
        if user in held.rings:
            held.rings[user].remove(delivery_id)
    for user in commit.forgotten:
        held.journal.pop(user, None)
        if commit.states.get(user) is None:
            held.rings.pop(user, None)
    for user, entries in commit.journal.items():
        kept = [*held.journal.get(user, []), *entries][-JOURNAL_MAX:]
        if kept:
            held.journal[user] = kept
    for name, number in commit.funnel.items():
        # As Redis: what would lead beyond 64 bits is left out.
        counted = held.funnel.get(name, 0) + number
        if all(-COUNTER_BEYOND <= one < COUNTER_BEYOND for one in (number, counted)):
            held.funnel[name] = counted
    for name, number in commit.pending.items():
        left = held.pending.pop(name, 0) + number
        if left:
            held.pending[name] = left


def _apply_deliveries(held: _Shard, commit: Commit) -> None:
    for delivery_id, user, expires_ms in commit.opened:
        held.ledger.setdefault(delivery_id, _Entry(user, expires_ms))
    for delivery_id, at_ms in commit.cancelled:
        entry = held.ledger.get(delivery_id)
        if entry is not None:
            earlier_ms = at_ms if entry.cancelled_ms is None else entry.cancelled_ms
            entry.cancelled_ms = min(at_ms, earlier_ms)
    for delivery_id, at_ms in commit.untrue:
        entry = held.ledger.get(delivery_id)
        if entry is not None:
            entry.untrue_ms = at_ms if entry.untrue_ms is None else min(at_ms, entry.untrue_ms)
    for delivery_id, at_ms in commit.refused:
        entry = held.ledger.get(delivery_id)
        if entry is not None:
            entry.refused_ms = at_ms if entry.refused_ms is None else min(at_ms, entry.refused_ms)
    held.withheld.update(commit.withheld)
    for delivery_id in commit.unwithheld:
        held.withheld.pop(delivery_id, None)


def _remove(held: _Shard, commit: Commit) -> None:
    for delivery_id in commit.closed:
        held.ledger.pop(delivery_id, None)
    for user, state in commit.states.items():
        if state is None:
            held.states.pop(user, None)


def _dump(held: _Shard) -> dict[str, Any]:
    dump = empty_dump()
    dump |= {
        "offset": held.position.offset,
        "page": held.position.page,
        "commit_id": held.commit_id or "",
        "watermark_ms": held.watermark_ms,
        "registry": held.registry,
        "next_seq": held.next_seq,
        "partitions": held.partitions,
        "withhold_until": held.withhold_until,
        "forwarded": dict(held.forwarded),
        "timers": dict(held.timers),
        "states": dict(held.states),
        "journal": {user: list(entries) for user, entries in held.journal.items()},
        "outbox": dict(held.outbox),
        "withheld": dict(held.withheld),
        "rings": {user: [ring.keep, *ring.claims] for user, ring in held.rings.items()},
        "funnel": dict(held.funnel),
        "pending": dict(held.pending),
        "withdrawn": dict(held.withdrawn),
    }
    for delivery_id, entry in held.ledger.items():
        dump["ledger_user"][delivery_id] = entry.user
        dump["ledger_expires_ms"][delivery_id] = entry.expires_ms
        if entry.cancelled_ms is not None:
            dump["ledger_cancelled_ms"][delivery_id] = entry.cancelled_ms
        if entry.untrue_ms is not None:
            dump["ledger_untrue_ms"][delivery_id] = entry.untrue_ms
        if entry.refused_ms is not None:
            dump["ledger_refused_ms"][delivery_id] = entry.refused_ms
        if entry.claimed_ms is not None:
            dump["ledger_claimed_ms"][delivery_id] = entry.claimed_ms
            dump["ledger_lease_ms"][delivery_id] = entry.lease_ms
    return dump
