"""One partition of a topic between two offsets, read without a group."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from engine.clock import monotonic_s
from engine.kafka_client import client_options
from engine.registry.connect import KafkaUnreachableError, close, connect
from engine.settings import Settings

RECORDS_MAX = 2_000
POLL_MS = 100
#: Beyond the end of one partition the broker holds a fetch for so long, and with it the next one.
FETCH_WAIT_MS = 20
#: Nothing for so long while there are records to come: the broker is away.
SILENT_MAX_S = 30.0


class Extent(NamedTuple):
    """What of a partition is to be read: offsets from `start` up to, not including, `end`.
    `begin` is the first offset the broker still has."""

    begin: int
    start: int
    end: int


class LogReader:
    """Reads partitions. Raises KafkaError, KafkaUnreachableError; see `open_log`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def extent(self, topic: str, partition: int, since_ms: int | None = None) -> Extent:
        """All of the partition, or what was appended since `since_ms`."""
        tp = TopicPartition(topic, partition)
        begin: int = (await self._consumer.beginning_offsets([tp]))[tp]
        end: int = (await self._consumer.end_offsets([tp]))[tp]
        start = begin
        if since_ms is not None:
            found = (await self._consumer.offsets_for_times({tp: max(since_ms, 0)}))[tp]
            start = end if found is None else found.offset
        return Extent(begin, start, end)

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """The records in batches of at most `RECORDS_MAX`, in log order."""
        if start >= end:
            return
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, start)
        position, heard_s = start, monotonic_s()
        while (now := await self._consumer.position(tp)) < end:
            if now > position:
                position, heard_s = now, monotonic_s()
            elif monotonic_s() - heard_s > SILENT_MAX_S:
                raise KafkaUnreachableError(f"{topic}: no record for {SILENT_MAX_S:g} s")
            found = await self._consumer.getmany(tp, timeout_ms=POLL_MS, max_records=RECORDS_MAX)
            records = [record for record in found.get(tp, ()) if record.offset < end]
            if records:
                yield records


@asynccontextmanager
async def open_log(settings: Settings, timeout_s: float) -> AsyncIterator[LogReader]:
    """A reader of any topic. Raises KafkaUnreachableError."""

    def make() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )

    consumer = await connect(make, timeout_s)
    try:
        yield LogReader(consumer)
    finally:
        await close(consumer)
