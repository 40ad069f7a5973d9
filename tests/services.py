"""Fixtures for a real Kafka broker and a real Redis, started as child processes.

- `kafka`: one broker for the whole session; keep apart by `topic_prefix`.
- `redis_server` / `redis_url`: one Redis for the whole session, emptied before each test.
- `fresh_kafka`, `fresh_redis`, `fresh_redis_cluster`: makers of servers of a test's own, for
  tests that kill, pause or restart them.

They block while they start, so they are plain fixtures, usable by tests with and without a loop.
When Java, the Kafka jars or redis-server are missing the tests fail and say what to do.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from engine.local.kafka import Jit, KafkaBroker
from engine.local.redis import AppendFsync, RedisCluster, RedisServer


class FreshKafka(Protocol):
    """Start a broker of the test's own; stopped and removed after the test."""

    def __call__(
        self,
        *,
        jit: Jit = ...,
        heap_mb: int = ...,
        settings: Mapping[str, str] | None = ...,
    ) -> KafkaBroker: ...


class FreshRedis(Protocol):
    """Start a Redis of the test's own; stopped and removed after the test."""

    def __call__(
        self,
        *,
        appendonly: bool = ...,
        appendfsync: AppendFsync = ...,
        replica_of: RedisServer | None = ...,
        settings: Mapping[str, str] | None = ...,
    ) -> RedisServer: ...


class FreshRedisCluster(Protocol):
    """Start a Redis Cluster of the test's own; stopped and removed after the test."""

    def __call__(self, *, nodes: int = ...) -> RedisCluster: ...


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The session's broker. Tests that stop it must use `fresh_kafka` instead."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.kill()  # nobody reads its data again, so no time is spent on a clean shutdown
    shutil.rmtree(broker.data_directory)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's Redis. Tests that stop or promote it must use `fresh_redis` instead."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of the session's Redis, without any key or function in it."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topic and group names that no other test has."""
    return f"t{uuid4().hex[:10]}-"


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[FreshKafka]:
    """See `FreshKafka`."""
    started: list[KafkaBroker] = []

    def start(
        *,
        jit: Jit = "quick",
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
    ) -> KafkaBroker:
        directory = tmp_path / f"kafka-{len(started)}"
        broker = KafkaBroker(directory, jit=jit, heap_mb=heap_mb, settings=settings)
        started.append(broker)
        broker.start()
        return broker

    yield start
    _each(started, KafkaBroker.kill)
    for broker in started:
        shutil.rmtree(broker.data_directory, ignore_errors=True)


@pytest.fixture
def fresh_redis(tmp_path: Path) -> Iterator[FreshRedis]:
    """See `FreshRedis`."""
    started: list[RedisServer] = []

    def start(
        *,
        appendonly: bool = True,
        appendfsync: AppendFsync = "everysec",
        replica_of: RedisServer | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> RedisServer:
        server = RedisServer(
            tmp_path / f"redis-{len(started)}",
            appendonly=appendonly,
            appendfsync=appendfsync,
            replica_of=replica_of,
            settings=settings,
        )
        started.append(server)
        server.start()
        if replica_of is not None:
            server.wait_linked()
        return server

    yield start
    _each(started, RedisServer.kill)


@pytest.fixture
def fresh_redis_cluster(tmp_path: Path) -> Iterator[FreshRedisCluster]:
    """See `FreshRedisCluster`."""
    started: list[RedisCluster] = []

    def start(*, nodes: int = 3) -> RedisCluster:
        cluster = RedisCluster(tmp_path / f"cluster-{len(started)}", nodes=nodes)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    _each(started, RedisCluster.kill)


async def create_topic(
    servers: str, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None
) -> None:
    """Create a topic and return when the broker has accepted it. Raises the broker's error."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        answer: Any = await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=dict(settings or {}))]
        )
    finally:
        await admin.close()
    for _, code, *details in answer.topic_errors:
        if code != 0:
            raise for_code(code)(f"{name}: {details}")


S = TypeVar("S")


def _each(services: list[S], end: Callable[[S], None]) -> None:
    for service in services:
        end(service)
