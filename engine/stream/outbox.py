"""The outbox: what a commit wants published, stored with it, sent afterwards, trimmed later.

An entry is written by the commit that decided it and numbered by the shard. The publisher sends
entries in order, awaits every acknowledgement, and the next commit trims up to `acked`. A crash in
between publishes an entry again, with the same `seq` header: consumers drop repeats by it (and the
gate by delivery id). The header names the commit, not the number: after a rollback of the store the
numbers are used again for other contents. It also tells the position of the commit, so that the
last record of a lane proves how far its shard was, whatever the store has forgotten since.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.failpoints import failpoint
from schemas.marks import SEQ_HEADER, record_mark

log = structlog.get_logger(__name__)

RETRY_S = 0.5


class OutMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One record to publish. `timestamp_ms` None: the time of publishing."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] = []
    timestamp_ms: int | None = None


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one commit wants published. `mark` is the commit's id; None is a message that has been
    taken out."""

    mark: str
    messages: list[OutMessage | None]


_encoder = msgspec.msgpack.Encoder()
_entry_decoder = msgspec.msgpack.Decoder(Entry)
_message_decoder = msgspec.msgpack.Decoder(OutMessage)


def pack_entry(entry: Entry) -> bytes:
    """The stored form of an outbox entry."""
    return _encoder.encode(entry)


def unpack_entry(blob: bytes) -> Entry:
    """A stored outbox entry."""
    return _entry_decoder.decode(blob)


def pack_message(message: OutMessage) -> bytes:
    """The stored form of a withheld delivery."""
    return _encoder.encode(message)


def unpack_message(blob: bytes) -> OutMessage:
    """A withheld delivery."""
    return _message_decoder.decode(blob)


class Publisher:
    """Publishes the entries of one shard in order. Bounded: `put` waits while it is full."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        entries_max: int,
        acked: int,
    ) -> None:
        self._producer = producer
        self._entries: deque[tuple[int, Entry]] = deque()
        self._entries_max = entries_max
        self._changed = asyncio.Condition()
        self._closing = False
        #: Everything up to this sequence number is acknowledged by Kafka.
        self.acked = acked

    @property
    def depth(self) -> int:
        """Entries not acknowledged yet."""
        return len(self._entries)

    def seed(self, pending: Sequence[tuple[int, Entry]]) -> None:
        """Begin with the entries the owner before left behind; before `run`."""
        self._entries.extend(pending)

    async def put(self, seq: int, entry: Entry) -> None:
        """Queue a committed entry."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._entries) < self._entries_max)
            self._entries.append((seq, entry))
            self._changed.notify_all()

    async def run(self) -> None:
        """Publish until closed. Waits for Kafka as long as it is away; raises what is final."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._entries) or self._closing)
                if not self._entries:
                    return
                ready = list(self._entries)[: self._entries_max]
            failpoint("before_publish")
            await self._publish(ready)
            failpoint("after_publish")
            async with self._changed:
                for _ in ready:
                    self._entries.popleft()
                self.acked = ready[-1][0]
                self._changed.notify_all()

    async def close(self) -> None:
        """Let `run` end once everything queued is acknowledged."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()

    async def _publish(self, entries: Sequence[tuple[int, Entry]]) -> None:
        grouped: dict[tuple[str, int], list[tuple[bytes, OutMessage]]] = {}
        for _, entry in entries:
            for number, message in enumerate(entry.messages):
                if message is None:
                    continue
                mark = record_mark(entry.mark, number)
                grouped.setdefault((message.topic, message.partition), []).append((mark, message))
        acks = []
        for (topic, partition), found in grouped.items():
            for batch in self._batches(topic, found):
                acks.append(await self._send(batch, topic, partition))
        await asyncio.gather(*acks)

    def _batches(self, topic: str, found: list[tuple[bytes, OutMessage]]) -> list[BatchBuilder]:
        batches = [self._producer.create_batch()]
        for mark, message in found:
            if not _append(batches[-1], mark, message):
                batches.append(self._producer.create_batch())
                if not _append(batches[-1], mark, message):
                    raise ValueError(f"a record for {topic} is larger than a batch may be")
        for batch in batches:
            batch.close()
        return batches

    async def _send(
        self, batch: BatchBuilder, topic: str, partition: int
    ) -> asyncio.Future[object]:
        """Hand over one batch. Order holds: the next one is not tried before this one is taken."""
        while True:
            try:
                ack: asyncio.Future[object] = await self._producer.send_batch(
                    batch, topic, partition=partition
                )
                return ack
            except KafkaError as error:
                # aiokafka gives up after its request timeout when the leader is away so long that
                # the batch before has not left; nothing of this one was taken then.
                if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                log.warning("publish_waits", topic=topic, partition=partition, error=repr(error))
                await asyncio.sleep(RETRY_S)


def _append(batch: BatchBuilder, mark: bytes, message: OutMessage) -> bool:
    added = batch.append(
        key=message.key,
        value=message.value,
        timestamp=message.timestamp_ms,
        headers=[*message.headers, (SEQ_HEADER, mark)],
    )
    return added is not None
