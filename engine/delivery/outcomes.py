"""What a delivery worker writes: outcomes into the log, re-queued deliveries, dead letters.

Everything goes out in batches (a record by itself costs aiokafka 20 us, in a batch 3) and is told
to its owner once Kafka has acknowledged it on all in-sync replicas: only then the source offset
counts as done.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.delivery.attempt import Finish, Requeue, Rules
from schemas.deadletters import dead_letter
from schemas.deliveries import Delivery, encode_delivery
from schemas.kinds import Kind, header, sealed_headers
from schemas.reasons import DeadLetterReason
from schemas.records import OutcomeRecord, encode
from schemas.topics import RETRY_TIERS_MS, Topics

#: On a re-queued delivery: a request of an earlier round may have arrived.
UNCERTAIN_HEADER = "uncertain"
#: Outcomes are in nobody's way: waiting for company halves their cost at 2,000 a second.
LINGER_S = 0.01


class OutRecord(NamedTuple):
    """One record to append."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int | None = None


class Records:
    """Makes the records, with everything they need that does not change."""

    def __init__(self, topics: Topics, secret: bytes, rules: Rules) -> None:
        self._topics = topics
        self._secret = secret
        self._rules = rules
        self._tiers = tuple(topics.retry(tier_ms) for tier_ms in RETRY_TIERS_MS)

    @property
    def tier_topics(self) -> tuple[str, ...]:
        """The re-queue topics, one for each tier of the rules."""
        return self._tiers

    def outcome(self, delivery: Delivery, end: Finish, now_ms: int) -> OutRecord:
        """The sealed outcome on the delivery's own shard. With the log clock it happened when the
        delivery was decided."""
        at_ms = self._rules.gate_now_ms(delivery, now_ms)
        value = encode(
            OutcomeRecord(
                delivery_id=delivery.delivery_id,
                user=delivery.user,
                trigger=delivery.trigger,
                reason=end.reason,
                at_ms=at_ms,
                provider=end.provider,
                code=end.code,
                attempts=end.attempts,
                dead_tokens=list(end.dead_tokens),
                claimed_at_ms=end.claimed_at_ms,
            )
        )
        key = delivery.user.encode()
        headers = sealed_headers(self._secret, Kind.OUTCOME, delivery.shard, key, value)
        stamp = at_ms if self._rules.log_clock else None
        return OutRecord(self._topics.events, delivery.shard, key, value, headers, stamp)

    def requeued(self, delivery: Delivery, wanted: Requeue, now_ms: int) -> tuple[int, OutRecord]:
        """(index of the tier, the record for it). It never waits longer than its tier: whoever
        must wait longer goes round again."""
        tier = self._rules.tier_of(wanted.wait_ms)
        wait_ms = min(max(wanted.wait_ms, 0), self._rules.tiers_ms[tier])
        changed = msgspec.structs.replace(
            delivery, attempt=wanted.attempt, not_before_ms=now_ms + wait_ms
        )
        headers = [(UNCERTAIN_HEADER, b"1")] if wanted.uncertain else []
        key, value = delivery.user.encode(), encode_delivery(changed)
        return tier, OutRecord(self._tiers[tier], delivery.shard, key, value, headers)

    def refused(self, record: ConsumerRecord, detail: str) -> OutRecord:
        """The dead letter of a record that is no delivery."""
        value = dead_letter(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            DeadLetterReason.BAD_ENGINE_RECORD,
            detail,
            record.key,
            record.value,
            record.headers,
        )
        return OutRecord(self._topics.dead_letters, 0, record.key, value, [])


def is_uncertain(record: ConsumerRecord) -> bool:
    """Whether the re-queued delivery carries the mark."""
    return header(record.headers, UNCERTAIN_HEADER) is not None


class LogWriter:
    """Appends records in batches. Bounded by its callers, who hold a slot for each record."""

    def __init__(self, producer: AIOKafkaProducer, linger_s: float = LINGER_S) -> None:
        self._producer = producer
        self._linger_s = linger_s
        self._waiting: list[tuple[OutRecord, Callable[[], None]]] = []
        self._something = asyncio.Event()
        self._closing = asyncio.Event()

    def append(self, record: OutRecord, acked: Callable[[], None]) -> None:
        """Queue a record; `acked` is called once it is written for good."""
        self._waiting.append((record, acked))
        self._something.set()

    async def run(self) -> None:
        """Write until closed. aiokafka retries what passes; what it raises ends the process: an
        idempotent producer that gave a batch up has a gap in its numbers and can write no more."""
        while True:
            await self._something.wait()
            if not self._waiting:
                return
            await self._company()
            ready, self._waiting = self._waiting, []
            if not self._closing.is_set():
                self._something.clear()
            await self._write([record for record, _ in ready])
            for _, acked in ready:
                acked()

    def close(self) -> None:
        """Let `run` end once everything queued is written."""
        self._closing.set()
        self._something.set()

    async def _company(self) -> None:
        if self._closing.is_set():
            return
        try:
            async with asyncio.timeout(self._linger_s):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _write(self, records: list[OutRecord]) -> None:
        grouped: dict[tuple[str, int], list[OutRecord]] = {}
        for record in records:
            grouped.setdefault((record.topic, record.partition), []).append(record)
        acks: list[asyncio.Future[object]] = []
        for (topic, partition), found in grouped.items():
            for batch in self._batches(found):
                acks.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acks)

    def _batches(self, records: list[OutRecord]) -> list[BatchBuilder]:
        batch = self._producer.create_batch()
        batches = [batch]
        for record in records:
            if not _added(batch, record):
                batch.close()
                batch = self._producer.create_batch()
                batches.append(batch)
                if not _added(batch, record):
                    raise ValueError(f"a record for {record.topic} is larger than a batch may be")
        batch.close()
        return batches


def _added(batch: BatchBuilder, record: OutRecord) -> bool:
    added = batch.append(
        key=record.key,
        value=record.value,
        timestamp=record.timestamp_ms,
        headers=record.headers,
    )
    return added is not None
