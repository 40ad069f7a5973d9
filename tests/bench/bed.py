"""The test bed: a broker and a Redis of the benches' own, topics, workspaces, preloaded logs."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.kafka_client import client_options
from engine.local.kafka import KafkaBroker
from engine.local.ports import free_port
from engine.local.process import Child
from engine.local.redis import RedisServer
from engine.registry.changes import plan_apply
from engine.registry.operations import Signature, open_to_write
from engine.registry.writer import activate
from engine.settings import Settings, load_settings
from engine.topics import ensure_topics
from schemas.partitioner import partition_of
from schemas.topics import Topics
from tests.bench.machine import cores, pinned
from tests.bench.stream import T0_MS, Message
from tests.bench.workspaces import Definitions

PARTITIONS = 8
BATCH_BYTES = 512 << 10
REGISTRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Log:
    """A preloaded log under a topic prefix. `ends`: end offset by partition; `events` in all."""

    prefix: str
    events: int
    bytes: int
    ends: tuple[int, ...]

    @property
    def records(self) -> int:
        """Everything in it, activations too."""
        return sum(self.ends)


@dataclass
class Bed:
    """Kafka with its full JIT and Redis with an append-only file, on the cores not measured."""

    directory: Path
    kafka: KafkaBroker
    redis: RedisServer
    secret: str = field(default_factory=lambda: uuid4().hex)

    def environment(self, prefix: str, **more: str) -> dict[str, str]:
        """The settings of a role that works on the log under `prefix`, in a new group."""
        return {
            "TRIPLINE_KAFKA_SERVERS": self.kafka.servers,
            "TRIPLINE_REDIS_URL": self.redis.url,
            "TRIPLINE_LOG_SECRET": self.secret,
            "TRIPLINE_PARTITIONS": str(PARTITIONS),
            "TRIPLINE_TOPIC_PREFIX": prefix,
            "TRIPLINE_GROUP": f"bench-{uuid4().hex[:8]}",
            "TRIPLINE_CLOCK": "log",
            "TRIPLINE_LOG_FORMAT": "json",
            "TRIPLINE_LOG_LEVEL": "warning",
            **more,
        }

    def settings(self, prefix: str, **more: str) -> Settings:
        """The same for use in this process."""
        return load_settings(self.environment(prefix, **more))

    def role(
        self, role: str, environment: Mapping[str, str], where: Iterable[int] | None = None
    ) -> "Role":
        """A role ready to start on these cores (default: the measured one)."""
        return Role(self.directory, role, environment, cores().subject if where is None else where)

    async def create(
        self, prefix: str, definitions: Definitions, clock_: str = "log", at_ms: int = T0_MS
    ) -> Settings:
        """Topics, and a workspace in force from log time `at_ms` on."""
        settings = self.settings(prefix, TRIPLINE_CLOCK=clock_)
        await ensure_topics(settings)
        async with open_to_write(settings, REGISTRY_S) as registry:
            plan = plan_apply(
                registry.reader.history,
                definitions.triggers,
                definitions.policies,
                prune=False,
                now_ms=at_ms,
            )
            number = await registry.write(plan, Signature("bench"))
        async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
            secret = self.secret.encode()
            events = Topics(prefix).events
            stamp = at_ms if clock_ == "log" else None
            await activate(producer, events, secret, number, stamp)
        return settings

    async def preload(
        self, prefix: str, definitions: Definitions, messages: Iterable[Message]
    ) -> Log:
        """A log with its own time that holds a whole stream."""
        settings = await self.create(prefix, definitions)
        events = size = 0
        async with AIOKafkaProducer(
            **client_options(settings), acks="all", max_batch_size=BATCH_BYTES, linger_ms=5
        ) as producer:
            batches = Batches(producer, Topics(prefix).events)
            for message in messages:
                value = message.value
                await batches.add(message.user, value, message.a_ms)
                events += 1
                size += len(value)
            await batches.flush()
        return Log(prefix, events, size, await self.ends(prefix))

    async def forget(self, prefix: str) -> None:
        """An empty Redis, and empty lanes: their records prove that the log was applied once."""
        self.redis.flush()
        all_of_it = RecordsToDelete(before_offset=-1)
        lanes = Topics(prefix).lanes.values()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.servers)
        await admin.start()
        try:
            await admin.delete_records(
                {TopicPartition(lane, n): all_of_it for lane in lanes for n in range(PARTITIONS)}
            )
        finally:
            await admin.close()

    async def ends(self, prefix: str) -> tuple[int, ...]:
        """The end offsets of the log under `prefix`."""
        topic = Topics(prefix).events
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka.servers) as consumer:
            asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            found = await consumer.end_offsets(asked)
        return tuple(found[partition] for partition in asked)


class Batches:
    """Records gathered into one batch per partition: 3 us a record where `send` takes 20."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._open: dict[int, BatchBuilder] = {}
        self._homes: dict[str, int] = {}
        self._acks: list[asyncio.Future[object]] = []

    async def add(self, user: str, value: bytes, a_ms: int | None) -> None:
        """Append a record; `a_ms` None leaves the time to the broker."""
        home = self._homes.get(user)
        if home is None:
            home = self._homes[user] = partition_of(user, PARTITIONS)
        batch = self._open.get(home)
        if batch is None:
            batch = self._open[home] = self._producer.create_batch()
        key = user.encode()
        if batch.append(key=key, value=value, timestamp=a_ms) is None:
            await self._send(home)
            batch = self._open[home] = self._producer.create_batch()
            batch.append(key=key, value=value, timestamp=a_ms)

    async def send(self) -> None:
        """Send what is open."""
        for home in list(self._open):
            await self._send(home)

    async def flush(self) -> None:
        """Send what is open; return when all is acknowledged."""
        await self.send()
        acks, self._acks = self._acks, []
        await asyncio.gather(*acks)

    async def _send(self, home: int) -> None:
        batch = self._open.pop(home)
        batch.close()
        ack = await self._producer.send_batch(batch, self._topic, partition=home)
        self._acks.append(ack)
        if len(self._acks) > 256:
            await self._acks.pop(0)


class Role:
    """A role of the engine as a child process, with its metrics at a known port."""

    def __init__(
        self,
        directory: Path,
        role: str,
        environment: Mapping[str, str],
        where: Iterable[int],
    ) -> None:
        self.metrics_port = free_port()
        argv = pinned(where, [sys.executable, "-m", "engine.cli", role])
        variables = {**environment, "TRIPLINE_METRICS_PORT": str(self.metrics_port)}
        log_path = directory / "logs" / f"{role}.log"
        self.child = Child(role, argv, log_path=log_path, env=variables)

    def __enter__(self) -> "Role":
        self.child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop(20.0)

    def check(self) -> None:
        """Raise RuntimeError with its last words when it has ended."""
        if not self.child.alive:
            raise RuntimeError(f"{self.child.name} ended:\n{self.child.log_tail()}")


@asynccontextmanager
async def make_bed(directory: Path) -> AsyncIterator[Bed]:
    """Start the services; their data goes away afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # With settings from outside this would not be the same bench everywhere.
    for name in [name for name in os.environ if name.startswith("TRIPLINE_")]:
        if name != "TRIPLINE_KAFKA_LIBS":
            del os.environ[name]
    kafka = KafkaBroker(directory / "kafka", jit="full", heap_mb=1024)
    redis = RedisServer(directory / "redis")
    try:
        await asyncio.gather(kafka.start_async(), redis.start_async())
        yield Bed(directory, kafka, redis)
    finally:
        await asyncio.gather(kafka.stop_async(), redis.stop_async())
        shutil.rmtree(kafka.data_directory, ignore_errors=True)
        shutil.rmtree(redis.directory, ignore_errors=True)
