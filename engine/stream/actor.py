"""The actor: owns a shard for as long as its partition is assigned to this process.

It keeps what the shard must not know: the queue of fetched batches (bounded in bytes, with
back-pressure to Faust), whether a batch really follows the last one, the publisher, and what to do
when the store stands somewhere else than believed.

Positions come apart in three ways, and each ends in reading from the store's position again:
somebody else committed (we are a zombie after a pause), the store was rolled back, or Faust dropped
a batch on the way. None of them is an error of this process; standing still for 10 s is.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from faust.types import TP

from engine import clock
from engine.ports import ShardStore
from engine.stream import observed
from engine.stream.batches import RecordBatch
from engine.stream.outbox import OutMessage, Publisher
from engine.stream.shard import LostPosition, Programs, Shard, ShardSettings
from engine.tasks import spawn

log = structlog.get_logger(__name__)

STUCK_S = 10.0
IDLE_CHECK_S = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an actor is given by the worker.

    `seek` moves the consumer, `next_offset` asks Kafka which record really comes at or after an
    offset (None: no more), `head` is the end offset of the partition, `full` / `drained` are
    Faust's back-pressure, `fatal` stops the process.
    """

    store: ShardStore
    programs: Programs
    producer: AIOKafkaProducer
    settings: ShardSettings
    queue_bytes_max: int
    outbox_entries_max: int
    seek: Callable[[TP, int], Awaitable[None]]
    next_offset: Callable[[TP, int], Awaitable[int | None]]
    head: Callable[[TP], Awaitable[int]]
    full: Callable[[TP], None]
    drained: Callable[[TP], None]
    fatal: Callable[[BaseException], None]


class ShardActor:
    """One task that applies batches, one that publishes."""

    def __init__(self, tp: TP, around: Surroundings) -> None:
        self.tp = tp
        self._around = around
        self._queue: deque[RecordBatch] = deque()
        self._queued_bytes = 0
        self._is_full = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._shard: Shard
        self._publisher: Publisher
        self._tasks: list[asyncio.Task[None]] = []
        self._lost_since_s: float | None = None

    @property
    def position(self) -> int:
        """The offset of the last applied record."""
        return self._shard.position.offset

    @property
    def next_due_ms(self) -> int:
        """The earliest deadline of the shard, 0 for none."""
        return self._shard.next_due

    @property
    def is_idle(self) -> bool:
        """Nothing fetched is waiting to be applied."""
        return not self._queue

    @property
    def outbox_depth(self) -> int:
        """Entries not acknowledged by Kafka yet."""
        return self._publisher.depth

    async def open(self, committed: int | None) -> int:
        """Open the shard; return the offset to go on at. `committed`: Kafka's own opinion.

        Raises `PartitionCountChanged`.
        """
        pending = await self._make_shard()
        stored_next = self.position + 1
        if committed is not None and committed > stored_next:
            head = await self._around.head(self.tp)
            log.warning("shard_rolled_back", shard=self.tp.partition, stored=stored_next, head=head)
            await self._shard.withhold(head)
        self._tasks = [
            spawn(self._run(), f"shard-{self.tp.partition}", self._around.fatal),
        ]
        self._republish(pending)
        return stored_next

    def offer(self, batch: RecordBatch) -> None:
        """Queue a fetched batch; over the byte bound Faust stops fetching this partition."""
        self._queue.append(batch)
        self._queued_bytes += batch.size_bytes
        if not self._is_full and self._queued_bytes >= self._around.queue_bytes_max:
            self._is_full = True
            self._around.full(self.tp)
        self._wake.set()

    def nudge(self) -> None:
        """Look at the timers again although nothing was fetched."""
        self._wake.set()

    async def stop(self, within_s: float) -> None:
        """Finish the commit under way and publish what was committed, then let go."""
        self._stopping = True
        self._wake.set()
        run, *others = self._tasks
        done, _ = await asyncio.wait([run], timeout=within_s)
        if not done:
            run.cancel()
        await self._publisher.close()
        if others:
            await asyncio.wait(others, timeout=within_s)
        for task in self._tasks:
            if not task.done():
                task.cancel()

    async def _make_shard(self) -> list[tuple[int, list[OutMessage]]]:
        around = self._around
        outlet = _Outlet(self)
        shard = Shard(self.tp.partition, around.store, around.programs, outlet, around.settings)
        pending = await shard.open()
        acked = pending[0][0] - 1 if pending else shard.next_seq - 1
        publisher = Publisher(around.producer, self.tp.partition, around.outbox_entries_max, acked)
        self._shard, self._publisher = shard, publisher
        return pending

    def _republish(self, pending: list[tuple[int, list[OutMessage]]]) -> None:
        """Publish what the owner before committed and may not have published."""
        publisher = self._publisher
        name = f"outbox-{self.tp.partition}"

        async def feed() -> None:
            for seq, messages in pending:
                await publisher.put(seq, messages)

        self._tasks.append(spawn(publisher.run(), name, self._around.fatal))
        if pending:
            self._tasks.append(spawn(feed(), f"{name}-feed", self._around.fatal))

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._step()
            except LostPosition as lost:
                await self._reopen(lost)

    async def _step(self) -> None:
        if not self._queue:
            self._wake.clear()
            try:
                async with asyncio.timeout(IDLE_CHECK_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._shard.check()
            if not self._queue:
                await self._shard.drain_due()
                return
        batch = self._queue.popleft()
        self._queued_bytes -= batch.size_bytes
        if await self._follows(batch):
            observed.batch(len(batch.records))
            await self._shard.apply(batch.records)
            await self._shard.drain_due()
        if self._is_full and self._queued_bytes < self._around.queue_bytes_max // 2:
            self._is_full = False
            self._around.drained(self.tp)

    async def _follows(self, batch: RecordBatch) -> bool:
        """Is this batch the next part of the log? If not, seek to what is."""
        expected = self.position + 1
        if batch.first <= expected:
            self._lost_since_s = None
            return True
        linked = batch.after is not None and batch.after < expected
        if linked and batch.sought:
            # A fetch under way during a seek may belong to the old position: ask Kafka.
            linked = await self._around.next_offset(self.tp, expected) == batch.first
        if linked:
            log.info("log_gap", shard=self.tp.partition, expected=expected, found=batch.first)
            self._lost_since_s = None
            return True
        now_s = clock.monotonic_s()
        if self._lost_since_s is None:
            self._lost_since_s = now_s
        elif now_s - self._lost_since_s > STUCK_S:
            raise RuntimeError(
                f"shard {self.tp.partition}: record {expected} not seen within {STUCK_S:g} s"
            )
        observed.sought("gap")
        observed.skipped(len(batch.records), "gap")
        await self._around.seek(self.tp, expected)
        return False

    async def _reopen(self, lost: LostPosition) -> None:
        """Forget the shard, read the store again, go on from there."""
        before = self.position
        shard, stored = self.tp.partition, lost.stored.offset
        log.warning("shard_position_lost", shard=shard, believed=before, stored=stored)
        await self._publisher.close()
        for task in self._tasks[1:]:
            task.cancel()
        del self._tasks[1:]
        pending = await self._make_shard()
        if self.position < before:
            observed.sought("gap")
            await self._shard.withhold(await self._around.head(self.tp))
        self._republish(pending)
        self._lost_since_s = None
        if not any(batch.first <= self.position + 1 <= batch.last for batch in self._queue):
            await self._around.seek(self.tp, self.position + 1)


class _Outlet:
    """The shard's view of whichever publisher is current."""

    def __init__(self, actor: ShardActor) -> None:
        self._actor = actor

    @property
    def acked(self) -> int:
        return self._actor._publisher.acked

    async def put(self, seq: int, messages: Sequence[OutMessage]) -> None:
        await self._actor._publisher.put(seq, messages)
