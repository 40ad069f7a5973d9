"""A store that waits: while the real one is unavailable, calls are repeated with back-off.

Redis down means: stop consuming, Kafka keeps the log. A repeated commit is harmless because the
store knows it by its id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from engine.ports import Commit, CommitResult, ShardMeta, ShardStore, StoreUnavailable
from triggers.effects import Reached

log = structlog.get_logger(__name__)
T = TypeVar("T")

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0


async def patiently(
    call: Callable[[], Awaitable[T]], what: str, waiting: Callable[[bool], None] | None = None
) -> T:
    """Repeat `call` until the store answers. `waiting` hears when it starts and stops waiting."""
    backoff_s = BACKOFF_FIRST_S
    waited = False
    while True:
        try:
            answer = await call()
        except StoreUnavailable as error:
            log.warning("store_unavailable", what=what, error=str(error), again_in_s=backoff_s)
            if not waited and waiting is not None:
                waiting(True)
            waited = True
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        else:
            if waited and waiting is not None:
                waiting(False)
            return answer


class PatientStore:
    """`ShardStore` whose calls never raise `StoreUnavailable`."""

    def __init__(self, store: ShardStore, waiting: Callable[[bool], None] | None = None) -> None:
        self._store = store
        self._waiting = waiting

    async def load_shard(self, shard: int) -> ShardMeta | None:
        return await self._try(lambda: self._store.load_shard(shard), "load_shard")

    async def load_states(self, shard: int, users: Sequence[str]) -> list[bytes | None]:
        return await self._try(lambda: self._store.load_states(shard, users), "load_states")

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        return await self._try(
            lambda: self._store.due_users(shard, before_ms, count_max), "due_users"
        )

    async def commit(self, commit: Commit) -> CommitResult:
        return await self._try(lambda: self._store.commit(commit), "commit")

    async def outbox(self, shard: int) -> list[tuple[int, bytes]]:
        return await self._try(lambda: self._store.outbox(shard), "outbox")

    async def withheld(self, shard: int) -> dict[str, bytes]:
        return await self._try(lambda: self._store.withheld(shard), "withheld")

    async def journal(self, shard: int, user: str) -> list[bytes]:
        return await self._try(lambda: self._store.journal(shard, user), "journal")

    async def claims(self, shard: int, user: str) -> list[Reached]:
        return await self._try(lambda: self._store.claims(shard, user), "claims")

    async def funnel(self, shard: int) -> dict[str, int]:
        return await self._try(lambda: self._store.funnel(shard), "funnel")

    async def pending(self, shard: int) -> dict[str, int]:
        return await self._try(lambda: self._store.pending(shard), "pending")

    async def aclose(self) -> None:
        await self._store.aclose()

    async def _try(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        return await patiently(call, what, self._waiting)
