"""Faust's Kafka consumer, made to start where the shard store says.

Kafka's committed offset is for lag dashboards only. Faust seeks last in `seek_to_committed`, after
every rebalance; a seek made earlier, from the assignment signal, is overwritten by it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from engine.stream.batches import BatchScheduler
from engine.stream.fetching import SmallFetcher

#: How long a fetch may block while some partition is full.
FULL_POLL_S = 0.05
FETCH_WAIT_MS = 100
#: aiokafka repeats a commit for as long as the coordinator is away, in one of the two tasks that
#: also fetch and seek.
COMMIT_S = 1.0

Positions = Callable[[set[TP], Mapping[TP, int | None]], Awaitable[Mapping[TP, int]]]


class StoreConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with smaller records, and a shorter wait of the fetch (Faust: 1,500
    ms, not a setting).

    There is one fetch under way per broker, for the partitions without fetched records. One that
    is drained meanwhile waits for that fetch to end, so the wait is a latency of quiet partitions.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        """Start the client; its fetcher has done nothing yet, as there is no assignment."""
        await super().on_start()
        self._ensure_consumer()._fetcher.__class__ = SmallFetcher


class StoreConsumer(driver.Consumer):
    """Asks its app's `positions` once per rebalance: assigned partitions -> where to go on."""

    def _new_consumer_thread(self) -> StoreConsumerThread:
        return StoreConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = asyncio.Event()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Open the assigned shards and seek to where each one stands."""
        assigned = set(self.assignment())
        committed = await self._thread.call_thread(self._committed, assigned)
        positions: Positions = self.app.positions  # type: ignore[attr-defined]
        wanted = await positions(assigned, committed)
        if wanted:
            await self._thread.seek_wait(wanted)
            for tp, offset in wanted.items():
                self._linked.sought(tp, offset)
        return wanted

    async def seek_shard(self, tp: TP, offset: int) -> None:
        """Go back (or forward) to `offset`; batches fetched before may still arrive."""
        await self._thread.seek_wait({tp: offset})
        self._read_offset[tp] = offset or None
        self._linked.sought(tp, offset)

    async def commit_for_dashboards(self, offsets: Mapping[TP, int]) -> None:
        """Tell Kafka how far the shards are. Nothing depends on it."""
        assigned = set(self.assignment())
        known = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if known:
            await self._thread.call_thread(self._commit_plain, known)

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._room.set()

    async def _wait_next_records(self, timeout: float) -> Any:
        """Faust sleeps a second when every partition is full, and a fetch of the quiet partitions
        blocks a full one that has drained meanwhile for as long: wait for room instead."""
        if self._buffered_partitions:
            timeout = FULL_POLL_S
            if self.flow_active and not self._get_active_partitions():
                self._room.clear()
                try:
                    async with asyncio.timeout(FULL_POLL_S):
                        await self._room.wait()
                except TimeoutError:
                    return {}, set()
        answer = await super()._wait_next_records(timeout)
        if not self.flow_active:
            # A rebalance is under way. Faust would drop the records and seek by itself, beside the
            # recovery that does the same with the new assignment: shards would be opened twice.
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
            return {}, set()
        return answer

    @property
    def _linked(self) -> BatchScheduler:
        scheduler = self.scheduler
        assert isinstance(scheduler, BatchScheduler)
        return scheduler

    async def _committed(self, tps: set[TP]) -> dict[TP, int | None]:
        consumer = self._thread._ensure_consumer()
        return {tp: await consumer.committed(tp) for tp in tps}

    async def _commit_plain(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._thread._ensure_consumer()
        async with asyncio.timeout(COMMIT_S):
            await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items()})


class StoreTransport(driver.Transport):
    """A Kafka transport whose consumer is `StoreConsumer`."""

    Consumer = StoreConsumer
