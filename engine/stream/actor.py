"""The actor: owns a shard for as long as its partition is assigned to this process.

It keeps what the shard must not know: the queue of fetched batches (bounded in bytes, with
back-pressure to Faust), whether a batch really follows the last one, the publisher, and what to do
when the store stands somewhere else than believed.

Positions come apart in three ways, and each ends in reading from the store's position again:
somebody else committed (we are a zombie after a pause), the store was rolled back, or Faust dropped
a batch on the way. None of them is an error of this process; standing still for 10 s is. A log that
no longer holds what comes next is an error nobody here can mend (`LogTruncated`).
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from faust.types import TP

from engine import clock
from engine.ports import START, Position, ShardStore
from engine.stream import observed
from engine.stream.batches import RecordBatch
from engine.stream.fetching import Record
from engine.stream.outbox import Entry, Publisher
from engine.stream.shard import LostPosition, Programs, Shard, ShardSettings
from engine.tasks import spawn

log = structlog.get_logger(__name__)

STUCK_S = 10.0
IDLE_CHECK_S = 5.0
TAKE_OVERS_MAX = 20
#: While a backlog is worked off, due timers are looked for after every so many batches: each look
#: is a page with round trips and a commit of its own, and no verdict depends on when it is made.
BATCHES_PER_POLL = 8
#: And when batches keep coming without a backlog, this long after the look before (decision 9).
POLL_EVERY_S = 0.02


class LogTruncated(Exception):
    """The log and the state do not fit together any more: what to do is in the message."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an actor is given by the worker.

    `seek` moves the consumer, `next_offset` asks Kafka which record really comes at or after an
    offset (None: no more), `bounds` are the begin and end offsets of the partition, `published` is
    the latest position whose deliveries are in their lanes, `full` / `drained` are Faust's
    back-pressure, `fatal` stops the process.
    """

    store: ShardStore
    programs: Programs
    producer: AIOKafkaProducer
    settings: ShardSettings
    batch_records_max: int
    queue_bytes_max: int
    outbox_entries_max: int
    seek: Callable[[TP, int], Awaitable[None]]
    next_offset: Callable[[TP, int], Awaitable[int | None]]
    bounds: Callable[[TP], Awaitable[tuple[int, int]]]
    published: Callable[[TP], Awaitable[Position]]
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
        self._reached = START
        self._stepped_s = clock.monotonic_s()
        self._unpolled = 0
        self._polled_s = -math.inf

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

    @property
    def waiting_s(self) -> float:
        """For how long fetched batches have waited without any being applied."""
        return clock.monotonic_s() - self._stepped_s if self._queue else 0.0

    async def open(self, committed: int | None) -> int:
        """Open the shard; return the offset to go on at. `committed`: Kafka's own opinion.

        Raises `PartitionCountChanged`, `LogTruncated`.
        """
        await self._take_over(Position((committed or 0) - 1, 0))
        self._tasks.insert(0, spawn(self._run(), self._name("shard"), self._around.fatal))
        return self.position + 1

    def offer(self, batch: RecordBatch) -> None:
        """Queue a fetched batch; over the byte bound Faust stops fetching this partition."""
        if not self._queue:
            self._stepped_s = clock.monotonic_s()
        self._queue.append(batch)
        self._queued_bytes += batch.size_bytes
        if not self._is_full and self._queued_bytes >= self._around.queue_bytes_max:
            self._is_full = True
            self._around.full(self.tp)
        self._wake.set()

    async def stop(self, within_s: float) -> None:
        """Finish the commit under way and publish what was committed, then let go."""
        self._stopping = True
        self._wake.set()
        if not self._tasks:
            return
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

    async def _take_over(self, reached: Position) -> None:
        """Open the shard and publish what the owner before left. `reached` was applied once, and so
        was what has deliveries in the lanes: a store that stands before either was rolled back.

        Kafka's committed offset, which `reached` comes from in a new process, is up to a second
        old; the lanes are exact about what matters.
        """
        number = self.tp.partition
        reached = max(reached, await self._around.published(self.tp))
        for _ in range(TAKE_OVERS_MAX):
            pending = await self._make_shard()
            begin, end = await self._around.bounds(self.tp)
            stored = self._shard.position
            check_log(number, stored.offset + 1, reached.offset + 1, begin, end)
            is_back = stored < reached
            if is_back:
                log.warning("shard_rolled_back", shard=number, stored=stored, head=end)
            try:
                left = await self._shard.take_over(end, pending, went_back=is_back)
            except LostPosition as lost:
                # The owner before may still have had a commit under way.
                log.info("shard_moved_on", shard=number, stored=lost.stored.offset)
                continue
            self._publish_from(left)
            return
        raise RuntimeError(f"shard {number}: somebody else keeps committing")

    async def _make_shard(self) -> list[tuple[int, Entry]]:
        around = self._around
        outlet = _Outlet(self)
        shard = Shard(self.tp.partition, around.store, around.programs, outlet, around.settings)
        pending = await shard.open()
        acked = pending[0][0] - 1 if pending else shard.next_seq - 1
        self._shard = shard
        self._publisher = Publisher(around.producer, around.outbox_entries_max, acked)
        return pending

    def _publish_from(self, pending: list[tuple[int, Entry]]) -> None:
        self._publisher.seed(pending)
        publishing = self._publisher.run()
        self._tasks.append(spawn(publishing, self._name("outbox"), self._around.fatal))

    def _name(self, what: str) -> str:
        return f"{what}-{self.tp.partition}"

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._step()
            except LostPosition as lost:
                await self._reopen(lost)
            self._stepped_s = clock.monotonic_s()

    async def _step(self) -> None:
        if not self._queue:
            await self._idle()
        if not self._queue or self._stopping:
            return
        batch = self._take()
        if await self._follows(batch):
            records = self._with_more(batch)
            observed.batch(len(records))
            await self._shard.apply(records)
            self._unpolled += 1
        if self._unpolled >= BATCHES_PER_POLL or (not self._queue and self._until_poll_s <= 0):
            await self._poll()
        if self._is_full and self._queued_bytes < self._around.queue_bytes_max // 2:
            self._is_full = False
            self._around.drained(self.tp)

    @property
    def _until_poll_s(self) -> float:
        return self._polled_s + POLL_EVERY_S - clock.monotonic_s()

    async def _poll(self) -> None:
        """Fire the timers that are due by the watermark."""
        self._unpolled, self._polled_s = 0, clock.monotonic_s()
        await self._shard.drain_due()

    def _take(self) -> RecordBatch:
        batch = self._queue.popleft()
        self._queued_bytes -= batch.size_bytes
        return batch

    def _with_more(self, batch: RecordBatch) -> list[Record]:
        """Its records, and those of the batches behind it as far as one commit may go.

        Fetches bring few records as long as the worker keeps up. When it falls behind, commits get
        larger, and so cheaper by record, instead of more.
        """
        records, last = batch.records, batch.last
        while self._queue:
            after = self._queue[0]
            too_many = len(records) + len(after.records) > self._around.batch_records_max
            if too_many or after.sought or after.after != last:
                break
            records, last = records + self._take().records, after.last
        return records

    async def _idle(self) -> None:
        """Nothing to apply: wait for some, look after timers and withheld deliveries, and notice a
        store or a log that changed behind us."""
        self._wake.clear()
        try:
            async with asyncio.timeout(self._until_poll_s if self._unpolled else IDLE_CHECK_S):
                await self._wake.wait()
        except TimeoutError:
            if not self._unpolled:
                await self._shard.check()
                await self._fetch_again()
        if not self._queue:
            await self._poll()
            await self._shard.release_withheld()

    async def _fetch_again(self) -> None:
        """Faust may have dropped the last batches of the log: nothing else would come after them
        to tell."""
        expected = self.position + 1
        _, end = await self._around.bounds(self.tp)
        if end <= expected or self._queue:
            return
        found = await self._around.next_offset(self.tp, expected)
        if found is not None and not self._queue and self.position + 1 == expected:
            observed.sought("gap")
            await self._around.seek(self.tp, expected)

    async def _follows(self, batch: RecordBatch) -> bool:
        """Is this batch the next part of the log? If not, seek to what is."""
        expected = self.position + 1
        if batch.first <= expected:
            self._lost_since_s = None
            return True
        if batch.after is not None and batch.after < expected:
            # Gaps are legal (transaction markers) and rare. Kafka says whether this is one: after a
            # seek a fetch under way may belong to the old position, and a client whose position was
            # deleted by retention goes on at the beginning without a word.
            begin, _ = await self._around.bounds(self.tp)
            if begin > expected:
                raise _deleted(self.tp.partition, expected, begin)
            if await self._around.next_offset(self.tp, expected) == batch.first:
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
        before = self._shard.position
        shard, stored = self.tp.partition, lost.stored
        log.warning("shard_position_lost", shard=shard, believed=before, stored=stored)
        for task in self._tasks[1:]:
            task.cancel()
        del self._tasks[1:]
        self._reached = max(self._reached, before)
        await self._take_over(self._reached)
        observed.sought("gap")
        self._lost_since_s = None
        if not any(batch.first <= self.position + 1 <= batch.last for batch in self._queue):
            await self._around.seek(self.tp, self.position + 1)


def check_log(shard: int, stored_next: int, known: int, begin: int, end: int) -> None:
    """Does the log hold what the shard needs next? Raises `LogTruncated`.

    `known` is how far the shard was by somebody else's account (Kafka's committed offset, or this
    process), `begin` and `end` what the log holds.
    """
    if stored_next == 0 and known > 0:
        raise LogTruncated(
            f"shard {shard} has no state in Redis, but {known} records were applied once: restore "
            "Redis from a backup (this release cannot rebuild it from the log)"
        )
    if 0 < stored_next < begin:
        raise _deleted(shard, stored_next, begin)
    if stored_next > end:
        raise LogTruncated(
            f"shard {shard} goes on at offset {stored_next}, but the log ends at {end}: the topic "
            "was made again; the state in Redis belongs to another log"
        )


def _deleted(shard: int, expected: int, begin: int) -> LogTruncated:
    return LogTruncated(
        f"shard {shard} goes on at offset {expected}, but the log begins at {begin}: restore a "
        "newer Redis backup"
    )


class _Outlet:
    """The shard's view of whichever publisher is current."""

    def __init__(self, actor: ShardActor) -> None:
        self._actor = actor

    @property
    def acked(self) -> int:
        return self._actor._publisher.acked

    async def put(self, seq: int, entry: Entry) -> None:
        await self._actor._publisher.put(seq, entry)
