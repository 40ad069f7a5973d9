from functools import partial

import pytest
import structlog
from aiokafka.admin import AIOKafkaAdminClient

from engine.http import Health
from engine.local.kafka import KafkaBroker
from engine.local.ports import free_port
from engine.settings import Settings
from engine.tasks import spawn
from engine.topics import TopicsError, admin_client, ensure_topics, inspect_topics, wait_for_topics
from schemas.topics import Topics
from tests.services import FreshKafka, create_topic
from tests.waiting import eventually

pytestmark = pytest.mark.service


def settings(kafka: KafkaBroker, prefix: str, **more: object) -> Settings:
    values: dict[str, object] = {"kafka_servers": kafka.servers, "topic_prefix": prefix}
    return Settings.model_validate(values | {"partitions": 3} | more)


async def create_log(kafka: KafkaBroker, prefix: str, partitions: int, **config: str) -> None:
    """Return when the broker lists the topic, which is later than it says it is created."""
    given = {"message.timestamp.type": "LogAppendTime"}
    given |= {name.replace("_", "."): value for name, value in config.items()}
    await create_topic(kafka.servers, f"{prefix}events", partitions, given)

    async with admin_client(settings(kafka, prefix)) as admin:
        listed: bool = await eventually(partial(_listed, admin, f"{prefix}events"))
        assert listed


async def _listed(admin: AIOKafkaAdminClient, name: str) -> bool:
    return name in await admin.list_topics()


async def test_missing_topics_are_created_as_they_are_specified(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    given = settings(kafka, topic_prefix)
    created = await ensure_topics(given)
    again = await ensure_topics(given, create=False)
    assert created == again
    assert {finding.spec.name: finding.partitions for finding in again} == {
        spec.name: spec.partitions or 3 for spec in Topics(topic_prefix).specs()
    }
    assert [finding.notes for finding in again] == [()] * len(again), "nothing differs"


async def test_with_the_log_clock_the_log_keeps_its_emitters_times(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    await ensure_topics(settings(kafka, topic_prefix, clock="log"))
    with pytest.raises(TopicsError) as refused:
        await ensure_topics(settings(kafka, topic_prefix, clock="wall"))
    (problem,) = refused.value.problems
    assert "message.timestamp.type is CreateTime and must be LogAppendTime" in problem
    assert "TRIPLINE_CLOCK" in problem


async def test_missing_topics_are_refused_when_they_may_not_be_created(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    given = settings(kafka, topic_prefix)
    with pytest.raises(TopicsError, match=f"{topic_prefix}events: is missing"):
        await ensure_topics(given, create=False)
    async with admin_client(given) as admin:
        assert f"{topic_prefix}events" not in await admin.list_topics()


async def test_another_partition_count_is_refused_and_nothing_else_is_created(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    await create_log(kafka, topic_prefix, 5)
    given = settings(kafka, topic_prefix)
    with pytest.raises(TopicsError) as refused:
        await ensure_topics(given)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{topic_prefix}events: has 5 partitions, TRIPLINE_PARTITIONS says 3")
    assert "TRIPLINE_PARTITIONS=5" in problem
    async with admin_client(given) as admin:
        assert f"{topic_prefix}decisions" not in await admin.list_topics()


async def test_a_compacted_log_is_refused(kafka: KafkaBroker, topic_prefix: str) -> None:
    await create_log(kafka, topic_prefix, 3, cleanup_policy="compact")
    with pytest.raises(TopicsError, match=r"cleanup\.policy is compact and must be delete"):
        await ensure_topics(settings(kafka, topic_prefix))


async def test_another_retention_is_an_operators_choice(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    await create_log(kafka, topic_prefix, 3, retention_ms="3600000")
    with structlog.testing.capture_logs() as lines:
        findings = await ensure_topics(settings(kafka, topic_prefix))
    events = next(f for f in findings if f.spec.name == f"{topic_prefix}events")
    assert "retention.ms is 3600000" in events.notes[0]
    assert [line["topic"] for line in lines if line["event"] == "topic_differs"] == [
        f"{topic_prefix}events"
    ]


async def test_two_roles_may_create_the_topics_at_the_same_time(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    given = settings(kafka, topic_prefix)
    tasks = [spawn(ensure_topics(given), f"ensure-{number}") for number in range(3)]
    for task in tasks:
        assert len(await task) == len(Topics(topic_prefix).specs())


async def test_a_finding_per_topic_is_given_whatever_is_wrong(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    given = settings(kafka, topic_prefix)
    specs = Topics(topic_prefix).specs()
    async with admin_client(given) as admin:
        findings = await inspect_topics(admin, specs, given)
    assert [finding.partitions for finding in findings] == [None] * len(specs)
    assert all(len(finding.problems) == 1 for finding in findings)


async def test_a_role_waits_for_kafka_unready_and_goes_on_when_it_comes(
    fresh_kafka: FreshKafka, topic_prefix: str
) -> None:
    kafka = fresh_kafka()
    kafka.kill()
    given = settings(kafka, topic_prefix)
    health = Health(["kafka"])
    waiting = spawn(wait_for_topics(given, health), "wait")

    def said_away() -> bool:
        kafka_is = health.get("kafka")
        return kafka_is is not None and kafka_is.detail == f"no answer from {kafka.servers}"

    await eventually(said_away, within_s=30)
    assert not health.ready
    kafka.start()
    await waiting
    assert health.ready


async def test_an_unreachable_kafka_is_not_taken_for_missing_topics() -> None:
    given = Settings(kafka_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(Exception, match="Unable to bootstrap"):
        await ensure_topics(given)
