"""The outbox: what a commit wants published, stored with it, sent afterwards, trimmed later.

An entry is written by the commit that decided it and numbered by the shard. The publisher sends
entries in order, awaits every acknowledgement, and the next commit trims up to `acked`. A crash in
between publishes an entry again: consumers drop repeats (the gate by delivery id, others by the
`seq` header).
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.failpoints import failpoint

SEQ_HEADER = "seq"


class OutMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One record to publish."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] = []
    timestamp_ms: int | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[OutMessage])


def pack_entry(messages: Sequence[OutMessage]) -> bytes:
    """The stored form of an outbox entry."""
    return _encoder.encode(messages)


def unpack_entry(blob: bytes) -> list[OutMessage]:
    """The messages of a stored entry."""
    return _decoder.decode(blob)


class Publisher:
    """Publishes the entries of one shard in order. Bounded: `put` waits while it is full."""

    def __init__(
        self, producer: AIOKafkaProducer, shard: int, entries_max: int, acked: int
    ) -> None:
        self._producer = producer
        self._shard = shard
        self._entries: deque[tuple[int, Sequence[OutMessage]]] = deque()
        self._entries_max = entries_max
        self._changed = asyncio.Condition()
        self._closing = False
        #: Everything up to this sequence number is acknowledged by Kafka.
        self.acked = acked

    @property
    def depth(self) -> int:
        """Entries not acknowledged yet."""
        return len(self._entries)

    async def put(self, seq: int, messages: Sequence[OutMessage]) -> None:
        """Queue a committed entry."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._entries) < self._entries_max)
            self._entries.append((seq, messages))
            self._changed.notify_all()

    async def run(self) -> None:
        """Publish until closed. Raises what Kafka raises for good; it retries what passes."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._entries) or self._closing)
                if not self._entries:
                    return
                ready = list(self._entries)
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

    async def _publish(self, entries: Sequence[tuple[int, Sequence[OutMessage]]]) -> None:
        grouped: dict[tuple[str, int], list[tuple[bytes, OutMessage]]] = {}
        for seq, messages in entries:
            for number, message in enumerate(messages):
                mark = f"{self._shard}:{seq}:{number}".encode()
                grouped.setdefault((message.topic, message.partition), []).append((mark, message))
        acks = []
        for (topic, partition), found in grouped.items():
            acks += await self._send(topic, partition, found)
        await asyncio.gather(*acks)

    async def _send(
        self, topic: str, partition: int, found: list[tuple[bytes, OutMessage]]
    ) -> list[asyncio.Future[object]]:
        acks = []
        batch = self._producer.create_batch()
        for mark, message in found:
            if not _append(batch, mark, message):
                batch.close()
                acks.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                if not _append(batch, mark, message):
                    raise ValueError(f"a record for {topic} is larger than a batch may be")
        batch.close()
        acks.append(await self._producer.send_batch(batch, topic, partition=partition))
        return acks


def _append(batch: BatchBuilder, mark: bytes, message: OutMessage) -> bool:
    added = batch.append(
        key=message.key,
        value=message.value,
        timestamp=message.timestamp_ms,
        headers=[*message.headers, (SEQ_HEADER, mark)],
    )
    return added is not None
