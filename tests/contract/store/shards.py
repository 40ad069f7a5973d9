"""What the contract tests write with."""

from itertools import count
from typing import Any, TypeAlias

from engine.ports import START, Claim, Commit, CommitResult, LedgerEntry, Position, Verdict
from engine.store.memory import MemoryStore
from engine.store.redis import RedisStore
from schemas.deliveries import Limits

AnyStore: TypeAlias = MemoryStore | RedisStore


def make_commit(
    shard: int, expected: Position, new: Position, commit_id: str, **changes: Any
) -> Commit:
    """A commit with plain values for whatever `changes` does not name."""
    plain: dict[str, Any] = {"partitions": 16, "watermark_ms": 1_000, "registry": 1, "seq": 0}
    return Commit(shard=shard, expected=expected, new=new, commit_id=commit_id, **(plain | changes))


class Shard:
    """Commits to one shard, one offset after the other, as its owner would."""

    def __init__(self, store: AnyStore, number: int) -> None:
        self.store = store
        self.number = number
        self.position = START
        self._ids = (f"commit-{index}" for index in count())

    def next(self, **changes: Any) -> Commit:
        """The commit of the next offset, not sent yet."""
        new = Position(self.position.offset + 1, 0)
        return make_commit(self.number, self.position, new, next(self._ids), **changes)

    async def write(self, **changes: Any) -> CommitResult:
        """Send the commit of the next offset."""
        result = await self.store.commit(self.next(**changes))
        self.position = result.stored
        return result

    async def open(self, delivery_id: str, user: str = "ann", expires_at_ms: int = 10_000) -> None:
        """Commit one ledger entry."""
        await self.write(opened=[LedgerEntry(delivery_id, user, expires_at_ms)])

    def ask(self, delivery_id: str, now_ms: int, **changes: Any) -> Claim:
        """A claim, not sent yet; `changes` may name any of its fields."""
        plain: dict[str, Any] = {
            "user": "ann",
            "trigger": "cart",
            "lease_ms": 100,
            "limits": Limits(),
        }
        return Claim(self.number, delivery_id, now_ms=now_ms, **(plain | changes))

    async def claim(self, delivery_id: str, now_ms: int, **changes: Any) -> Verdict:
        """Send one claim."""
        return (await self.store.claim([self.ask(delivery_id, now_ms, **changes)]))[0]

    async def sent(self, delivery_id: str, now_ms: int, **changes: Any) -> Verdict:
        """Open a delivery that expires late and claim it."""
        await self.open(delivery_id, changes.get("user", "ann"), 1 << 50)
        return await self.claim(delivery_id, now_ms, **changes)
