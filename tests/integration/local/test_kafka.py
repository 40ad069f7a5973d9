import asyncio
import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from engine.local import jars
from engine.local.errors import ChildError, MissingProgramError
from engine.local.kafka import KafkaBroker
from tests.services import FreshKafka, create_topic

pytestmark = pytest.mark.service


async def _produce(servers: str, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def _consume(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, group_id=None, auto_offset_reset="earliest"
    )
    async with consumer:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]


async def test_a_produced_record_is_consumed(kafka: KafkaBroker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}events"
    await create_topic(kafka.servers, topic, partitions=3)
    await _produce(kafka.servers, topic, b"one")
    assert await _consume(kafka.servers, topic, 1) == [b"one"]


async def test_a_consumer_group_reads_at_once(kafka: KafkaBroker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}events"
    await create_topic(kafka.servers, topic)
    await _produce(kafka.servers, topic, b"one")
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.servers,
        group_id=f"{topic_prefix}group",
        auto_offset_reset="earliest",
        session_timeout_ms=1_000,
        heartbeat_interval_ms=300,
    )
    async with consumer:
        async with asyncio.timeout(20):
            assert (await consumer.getone()).value == b"one"
        await consumer.commit()


async def test_no_topic_is_made_by_asking_for_it(kafka: KafkaBroker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}unknown"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
    await admin.start()
    try:
        await admin.describe_topics([topic])
        assert topic not in await admin.list_topics()
    finally:
        await admin.close()


async def test_topic_settings_reach_the_broker_and_a_second_topic_of_the_name_is_refused(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}events"
    await create_topic(kafka.servers, topic, settings={"message.timestamp.type": "LogAppendTime"})
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, acks="all") as producer:
        sent = await producer.send_and_wait(topic, b"one", timestamp_ms=1_000)
    assert sent.timestamp > 1_000
    with pytest.raises(Exception, match="TopicAlreadyExists"):
        await create_topic(kafka.servers, topic)


async def test_a_restart_and_a_kill_keep_the_data_and_the_port(fresh_kafka: FreshKafka) -> None:
    broker = fresh_kafka()
    servers = broker.servers
    await create_topic(servers, "events")
    await _produce(servers, "events", b"one")
    await broker.restart_async()
    await _produce(servers, "events", b"two")
    broker.kill()
    assert not broker.alive
    await broker.start_async()
    assert broker.servers == servers
    assert await _consume(servers, "events", 2) == [b"one", b"two"]


async def test_a_paused_broker_answers_nothing_until_it_is_resumed(
    fresh_kafka: FreshKafka,
) -> None:
    broker = fresh_kafka()
    await create_topic(broker.servers, "events")
    async with AIOKafkaProducer(bootstrap_servers=broker.servers, acks="all") as producer:
        await producer.send_and_wait("events", b"one")
        broker.pause()
        sending = asyncio.ensure_future(producer.send_and_wait("events", b"two"))
        done, _ = await asyncio.wait([sending], timeout=0.5)
        assert not done
        broker.resume()
        async with asyncio.timeout(20):
            await sending
    assert await _consume(broker.servers, "events", 2) == [b"one", b"two"]


def test_every_new_broker_is_a_cluster_of_its_own(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        broker = KafkaBroker(tmp_path / name)
        broker.launch()
        broker.kill()
        meta = (broker.data_directory / "meta.properties").read_text()
        ids += re.findall(r"^(?:cluster|directory)\.id=(\S+)$", meta, re.MULTILINE)
    assert len(set(ids)) == 4


def test_storage_is_formatted_by_kafkas_tool_where_nothing_was_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libs = tmp_path / "libs"
    libs.symlink_to(jars.find_libs())
    with KafkaBroker(tmp_path / "kafka", libs=libs) as broker:
        assert broker.alive
    assert not jars.storage_template_path(libs).exists()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path, settings={"log.retention.ms": "never"})
    with pytest.raises(ChildError, match="Invalid value never for configuration"):
        broker.start()
    assert not broker.alive


def test_missing_jars_are_answered_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLINE_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(MissingProgramError, match="run `make setup`"):
        KafkaBroker(tmp_path / "kafka").start()


def test_missing_java_is_answered_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingProgramError, match="java is not installed: run `make setup`"):
        jars.find_java()


def test_the_version_is_the_one_that_is_fetched() -> None:
    pom = Path(__file__).parents[3] / "deploy" / "kafka" / "pom.xml"
    found = re.search(r"<kafka\.version>(.*)</kafka\.version>", pom.read_text())
    assert found is not None
    assert found[1] == jars.KAFKA_VERSION
