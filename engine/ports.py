"""What the shell needs of the outside, on one page: the shard store and the gate.

Each method says when it is called, what it may raise and what a caller may rely on. One contract
suite (tests/contract) runs against every implementation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from schemas.deliveries import Limits
from schemas.reasons import Reason
from triggers.effects import Reached
from triggers.program import Withdrawals


class Position(NamedTuple):
    """How far a shard is: the offset of the last applied record (-1 before the first), and how many
    pages of due timers were committed since."""

    offset: int
    page: int


START = Position(-1, 0)


@dataclass(frozen=True, slots=True)
class ShardMeta:
    """What a new owner reads first.

    `next_seq` numbers the next outbox entry. `forwarded` maps a source partition to the last offset
    applied from it. Below `withhold_until` deliveries are withheld (design.md section 4).
    `withdrawn`: what activations have withdrawn so far, by trigger.
    """

    position: Position
    watermark_ms: int
    registry: int
    next_seq: int
    partitions: int
    forwarded: Mapping[int, int]
    withhold_until: int
    next_due: int
    withdrawn: Mapping[str, Withdrawals]


class LedgerEntry(NamedTuple):
    """A delivery that may be sent once: opened by the commit that admitted it."""

    delivery_id: str
    user: str
    expires_at_ms: int


@dataclass(slots=True)
class Commit:
    """Everything one commit changes, all or nothing.

    `states`: user -> encoded state; None deletes it. `forgotten`: users whose journal goes, before
    the lines of `journal` are added, and whose gate ring does where no state is written again: the
    claims that `reached` enters may be of what was decided after.
    `due`: user -> score in the timer index, 0 removes. `outbox`: the entry stored under `seq`, or
    None. `trim_to`: entries with a number <= this are dropped, -1 for none. `withheld` keeps
    delivery records back, `unwithheld` drops them (their outcome is in the log, or they were
    released through the outbox of this very commit). `cancelled`, `untrue` and `refused` call
    deliveries back, from a time on: the gate says CANCELLED, NO_LONGER_TRUE or CONSENT.
    `reached` enters claims that a rolled back store has forgotten in their rings, which then keep
    `ring_keep` claims or more; then `given_back`, (user, delivery) each, takes claims out.
    `withdrawn` sets all withdrawals of a trigger. `pending` counts instances up or down, by
    `trigger|revision`.
    """

    shard: int
    partitions: int
    expected: Position
    new: Position
    commit_id: str
    watermark_ms: int
    registry: int
    seq: int
    states: dict[str, bytes | None] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    outbox: bytes | None = None
    trim_to: int = -1
    opened: list[LedgerEntry] = field(default_factory=list)
    cancelled: list[tuple[str, int]] = field(default_factory=list)
    untrue: list[tuple[str, int]] = field(default_factory=list)
    refused: list[tuple[str, int]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    withheld: dict[str, bytes] = field(default_factory=dict)
    unwithheld: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    journal: dict[str, list[bytes]] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)
    forwarded: dict[int, int] = field(default_factory=dict)
    withhold_until: int = 0
    reached: list[Reached] = field(default_factory=list)
    ring_keep: int = 0
    given_back: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: dict[str, Withdrawals] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)


class CommitStatus(StrEnum):
    """OK: applied, now or by an earlier try of this very commit. DUP: somebody else has stored
    exactly this position. GAP: the stored position is another one."""

    OK = "OK"
    DUP = "DUP"
    GAP = "GAP"


class CommitResult(NamedTuple):
    """`next_due`: the smallest score of the timer index afterwards, 0 for none."""

    status: CommitStatus
    stored: Position
    next_due: int


class StoreUnavailable(Exception):
    """The store cannot be reached or refuses service now; trying again later is right."""


class ShardStore(Protocol):
    """The materialised state of all shards.

    Every method may raise `StoreUnavailable`; nothing else is expected of a healthy store. All keys
    of a shard live in one hash slot.
    """

    async def load_shard(self, shard: int) -> ShardMeta | None:
        """Called by a new owner. None: nothing was ever committed for this shard."""

    async def load_states(self, shard: int, users: Sequence[str]) -> list[bytes | None]:
        """Encoded states in the order asked, None where there is none."""

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        """The first users whose score is < `before_ms`, as (user, score), by (score, user)."""

    async def commit(self, commit: Commit) -> CommitResult:
        """Compare the stored position with `expected`; when equal apply everything and store `new`.

        Idempotent by `commit_id`: a client may send the same commit twice (redis-py retries after
        a lost reply) and gets OK both times.
        """

    async def outbox(self, shard: int) -> list[tuple[int, bytes]]:
        """All entries not trimmed yet, by sequence number."""

    async def withheld(self, shard: int) -> dict[str, bytes]:
        """The delivery records kept back after a rollback, by delivery id."""

    async def journal(self, shard: int, user: str) -> list[bytes]:
        """The user's journal, oldest first."""

    async def funnel(self, shard: int) -> dict[str, int]:
        """All funnel counters of the shard."""

    async def pending(self, shard: int) -> dict[str, int]:
        """How many instances are pending, by `trigger|revision` under which they were armed."""

    async def claims(self, shard: int, user: str) -> list[Reached]:
        """What the user's gate ring holds, oldest first."""

    async def aclose(self) -> None:
        """Give back connections."""


class GateAnswer(StrEnum):
    """What the last look says.

    SEND: claimed, go. GONE: no such open delivery (its outcome is in the log, or it was rolled
    back): drop it silently. WAIT: somebody claimed it less than the lease ago. UNKNOWN: claimed,
    the lease is over, no outcome. CONSENT, CANCELLED, NO_LONGER_TRUE, EXPIRED: end it so. BEHIND:
    the store was rolled back and has not caught up, so claims may be missing: ask later. REFUSED: a
    limit says not now.
    """

    SEND = "SEND"
    GONE = "GONE"
    WAIT = "WAIT"
    UNKNOWN = "UNKNOWN"
    CONSENT = "CONSENT"
    CANCELLED = "CANCELLED"
    NO_LONGER_TRUE = "NO_LONGER_TRUE"
    EXPIRED = "EXPIRED"
    BEHIND = "BEHIND"
    REFUSED = "REFUSED"


class Claim(NamedTuple):
    """One question to the gate. `now_ms` is sending time, `lease_ms` outlives the request.

    `counted`: a marketing message, which enters the user's ring of claim times. `own`: the ghost of
    a trigger's own control group, which enters it for the cooldown of the trigger alone. `after`:
    the offset of the log that the store must have applied, or what it knows of claims is not all.
    `closed_until_ms`: the end of the closed hours at `now_ms`, 0 when they are open.
    """

    shard: int
    delivery_id: str
    user: str
    trigger: str
    now_ms: int
    lease_ms: int
    limits: Limits
    counted: bool = True
    after: int = -1
    own: bool = False
    closed_until_ms: int = 0


class Verdict(NamedTuple):
    """`until_ms`: when to ask again (WAIT, REFUSED), else 0. `reason`: the limit that refused."""

    answer: GateAnswer
    until_ms: int = 0
    reason: Reason | None = None


class Gate(Protocol):
    """The last look right before the provider call (design.md T9). May raise StoreUnavailable."""

    async def claim(self, claims: Sequence[Claim]) -> list[Verdict]:
        """Decide each claim atomically, in order, in one round trip.

        A counted claim that is answered SEND enters the user's ring of claim times. Where a
        replica's acknowledgement is asked for and missing, the answer is WAIT, the claim undone.
        """

    async def release(self, claims: Iterable[Claim]) -> None:
        """Undo claims that were surely not delivered: the ring entry goes, the delivery is open."""
