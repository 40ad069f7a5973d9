"""A worker in this process on a real Kafka and a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine import clock
from engine.http import Health
from engine.registry.operations import Signature, open_to_write
from engine.settings import Settings, load_settings
from engine.store.redis import RedisStore
from engine.stream.worker import Worker
from engine.tasks import spawn
from engine.topics import ensure_topics
from schemas.kinds import Kind, header, sealed_headers
from schemas.marks import SEQ_HEADER
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from schemas.records import OutcomeRecord, encode
from schemas.topics import Topics
from tests.unit.stream.builders import iso
from tests.waiting import eventually
from triggers.definition import Policy, TriggerDefinition

PARTITIONS = 4


def make_settings(servers: str, redis_url: str, prefix: str, **changes: str) -> Settings:
    """Settings of one test."""
    return load_settings(
        {
            "TRIPLINE_KAFKA_SERVERS": servers,
            "TRIPLINE_REDIS_URL": redis_url,
            "TRIPLINE_LOG_SECRET": "s" * 32,
            "TRIPLINE_TOPIC_PREFIX": prefix,
            "TRIPLINE_GROUP": f"{prefix}group",
            "TRIPLINE_PARTITIONS": str(PARTITIONS),
            "TRIPLINE_SESSION_TIMEOUT_S": "6",
            "TRIPLINE_HEARTBEAT_S": "1",
        }
        | {f"TRIPLINE_{name.upper()}": value for name, value in changes.items()}
    )


@dataclass
class Rig:
    """Everything a test touches."""

    settings: Settings
    store: RedisStore
    producer: AIOKafkaProducer
    health: Health = field(default_factory=Health)
    sent_ms: int = 0

    @property
    def topics(self) -> Topics:
        return Topics(self.settings.topic_prefix)

    async def apply(
        self,
        *documents: Mapping[str, Any],
        policy: Mapping[str, Any] | None = None,
        cancel_pending: bool = False,
    ) -> int:
        """Register and activate these triggers."""
        triggers = [TriggerDefinition.model_validate(document) for document in documents]
        policies = {"default": Policy.model_validate(policy or {"grace": "0s"})}
        async with open_to_write(self.settings, 20.0) as registry:
            plan = registry.plan(
                {t.id: t for t in triggers}, policies, cancel_pending=cancel_pending
            )
            return (await registry.put_in_force(plan, Signature("test"))).number

    async def send(
        self,
        user: str,
        event: str,
        *,
        message_id: str = "",
        properties: Mapping[str, Any] | None = None,
        device: str | None = None,
        partition: int | None = None,
    ) -> None:
        """Append one client event of now, later than the one before: at one moment, two are a tie,
        and what cancels a start also cancels it from then."""
        await eventually(lambda: clock.now_ms() > self.sent_ms, every_s=0.001)
        self.sent_ms = clock.now_ms()
        message: dict[str, Any] = {
            "type": "track",
            "messageId": message_id or f"{user}-{event}-{clock.monotonic_s()}",
            "event": event,
            "userId": user,
            "timestamp": iso(self.sent_ms),
            "properties": dict(properties or {}),
        }
        if device:
            message["context"] = {"device": {"token": device, "type": "android"}}
        await self.append(msgspec.json.encode(message), user, partition)

    async def append(self, value: bytes, user: str, partition: int | None = None) -> None:
        home = partition_of(user, PARTITIONS) if partition is None else partition
        await self.producer.send_and_wait(
            self.topics.events, value, key=user.encode(), partition=home
        )

    async def end(self, delivery: Mapping[str, Any], reason: Reason) -> None:
        """Append the outcome of a delivery as a delivery worker would."""
        assert self.settings.log_secret is not None
        secret = self.settings.log_secret.get_secret_value().encode()
        record = OutcomeRecord(
            delivery["delivery_id"], delivery["user"], delivery["trigger"], reason, clock.now_ms()
        )
        key, value, shard = delivery["user"].encode(), encode(record), delivery["shard"]
        headers = sealed_headers(secret, Kind.OUTCOME, shard, key, value)
        await self.producer.send_and_wait(
            self.topics.events, value, key=key, partition=shard, headers=headers
        )

    async def ends(self) -> dict[int, int]:
        """The end offset of each partition of the log."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_servers, group_id=None
        ) as consumer:
            ends = await consumer.end_offsets(self._log)
        return {tp.partition: offset for tp, offset in ends.items()}

    async def committed(self) -> dict[TopicPartition, int]:
        """What the workers' group has told Kafka. The group must have no members."""
        async with self._group() as consumer:
            found = {tp: await consumer.committed(tp) for tp in self._log}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Kafka something else. The group must have no members."""
        async with self._group() as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(dict(offsets))

    @property
    def _log(self) -> list[TopicPartition]:
        return [TopicPartition(self.topics.events, n) for n in range(PARTITIONS)]

    def _group(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_servers,
            group_id=f"{self.settings.group}.worker",
            enable_auto_commit=False,
        )

    async def rows(self, topic: str, *, once: bool = False) -> list[dict[str, Any]]:
        """Everything on a topic, decoded; `once`: without what an outbox has published again."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_servers, group_id=None
        ) as consumer:
            count = 1 if topic == self.topics.dead_letters else PARTITIONS
            tps = [TopicPartition(topic, partition) for partition in range(count)]
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            found: list[dict[str, Any]] = []
            marks: set[bytes | None] = set()
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                batches = await consumer.getmany(timeout_ms=200)
                for record in (record for records in batches.values() for record in records):
                    mark = header(record.headers, SEQ_HEADER)
                    if not once or mark not in marks:
                        found.append(msgspec.json.decode(record.value))
                    marks.add(mark)
        return found

    async def decisions(self) -> list[tuple[str, str, str]]:
        """(trigger, user, outcome or reason), sorted."""
        rows = await self.rows(self.topics.decisions)
        return sorted((r["trigger"], r["user"], r["reason"] or r["outcome"]) for r in rows)

    async def decided(
        self, expected: Sequence[tuple[str, str, str]], within_s: float = 30.0
    ) -> None:
        """Wait until exactly these decisions were made."""

        async def equal() -> bool:
            return await self.decisions() == sorted(expected)

        try:
            await eventually(equal, within_s=within_s, every_s=0.2)
        except AssertionError as error:
            found = await self.decisions()
            raise AssertionError(f"decided {found}, not {sorted(expected)}") from error

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """A worker that runs while the block does, and stops well."""
        worker = Worker(self.settings, self.store, self.health)
        task = spawn(worker.run(), "worker")
        try:
            await eventually(
                lambda: task.done() or ((c := self.health.get("assignment")) and c.ok), within_s=30
            )
            if task.done():
                task.result()
            yield worker
        finally:
            worker.stop()
            await asyncio.wait([task], timeout=30)
        task.result()


@asynccontextmanager
async def open_rig(settings: Settings) -> AsyncIterator[Rig]:
    """Topics made, store ready, a producer."""
    await ensure_topics(settings)
    store = RedisStore(settings.redis_url, settings.key_prefix)
    await store.wait_ready(20.0)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_servers, acks="all")
    await producer.start()
    try:
        yield Rig(settings, store, producer)
    finally:
        await producer.stop()
        await store.aclose()
