import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr

from engine.clock import monotonic_s
from engine.kafka_client import client_options
from engine.local.kafka import KafkaBroker
from engine.registry.changes import Change, Plan, Row
from engine.registry.connect import KafkaUnreachableError
from engine.registry.entries import (
    TRIGGER,
    BodyKey,
    Manifest,
    TriggerBody,
    TriggerRef,
    encode,
    manifest_key,
)
from engine.registry.history import Contents
from engine.registry.operations import ConflictError, open_to_read, open_to_write
from engine.registry.reader import (
    RegistryLostError,
    RegistryReader,
    RegistryTimeoutError,
    TopicMissingError,
)
from engine.registry.versions import UnknownVersionError
from engine.settings import Settings
from schemas.topics import Topics
from tests.integration.registry.world import (
    ANN,
    PARTITIONS,
    WITHIN_S,
    World,
    everything,
    make_world,
    trigger,
)
from tests.services import FreshKafka, create_topic
from tests.waiting import eventually
from triggers.workspace import TRIGGERS_MAX

LATE = 10**9

pytestmark = pytest.mark.service


@pytest_asyncio.fixture
async def world(kafka: KafkaBroker, topic_prefix: str) -> World:
    return await make_world(kafka.servers, topic_prefix)


@pytest_asyncio.fixture
async def producer(world: World) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(**client_options(world.settings))
    await made.start()
    yield made
    await made.stop()


async def test_apply_puts_a_sealed_activation_on_every_partition(world: World) -> None:
    applied = await world.apply(trigger("a"), trigger("b"))
    assert applied.partitions == PARTITIONS
    assert applied.number > 0
    expected = {partition: [applied.number] for partition in range(PARTITIONS)}
    assert await world.activations() == expected


async def test_the_version_number_is_the_manifests_offset_plus_one(world: World) -> None:
    applied = await world.apply(trigger("a"))
    records = await everything(world.settings, world.topics.registry)
    manifest = next(record for record in records if record.key.startswith(b"manifest/"))
    assert applied.number == manifest.offset + 1


async def test_one_changed_trigger_makes_one_new_revision(world: World) -> None:
    first = await world.apply(trigger("a"), trigger("b"))
    before = len(await everything(world.settings, world.topics.registry))
    second = await world.apply(trigger("a", wait="3h"), trigger("b"))
    written = (await everything(world.settings, world.topics.registry))[before:]
    assert [record.key.split(b"/")[:3] for record in written[:-1]] == [[b"trigger", b"a", b"2"]]
    assert written[-1].key.startswith(b"manifest/")
    changes = {row.name: row.change for row in second.plan.rows}
    assert changes == {
        "a": Change.CHANGED,
        "b": Change.UNCHANGED,
        "default": Change.UNCHANGED,
    }
    assert await world.activations() == {
        partition: [first.number, second.number] for partition in range(PARTITIONS)
    }


async def test_of_two_applies_at_once_exactly_one_wins(world: World) -> None:
    async with (
        open_to_write(world.settings, WITHIN_S) as mine,
        open_to_write(world.settings, WITHIN_S) as theirs,
    ):
        my_plan = mine.plan({"a": trigger("a", priority=1)}, {})
        their_plan = theirs.plan({"a": trigger("a", priority=2)}, {})
        won = await theirs.put_in_force(their_plan, ANN)
        with pytest.raises(ConflictError, match=f"version {won.number} "):
            await mine.put_in_force(my_plan, ANN)
        seen = await mine.reader.version(won.number, WITHIN_S)
        assert seen.triggers["a"].definition.priority == 2
    assert await world.activations() == {partition: [won.number] for partition in range(PARTITIONS)}
    again = await world.apply(trigger("a", priority=1))
    assert again.plan.contents.triggers["a"].revision == 2


async def test_an_apply_that_died_before_its_activation_is_finished_by_the_next(
    world: World,
) -> None:
    async with open_to_write(world.settings, WITHIN_S) as registry:
        plan = registry.plan({"a": trigger("a")}, {})
        number = await registry.write(plan, ANN)
    assert await world.log() == []
    async with open_to_write(world.settings, WITHIN_S) as registry:
        again = registry.plan({"a": trigger("a")}, {})
        applied = await registry.put_in_force(again, ANN)
    assert not applied.plan.changes
    assert applied.number == number
    assert await world.activations() == {partition: [number] for partition in range(PARTITIONS)}


async def test_an_apply_that_died_between_its_bodies_and_its_manifest_leaves_no_trace(
    world: World, producer: AIOKafkaProducer
) -> None:
    await producer.send_and_wait(
        world.topics.registry, b'{"document":{},"registered_at_ms":1}', b"trigger/a/1/died"
    )
    applied = await world.apply(trigger("a"))
    assert applied.plan.contents.triggers["a"].revision == 1
    async with open_to_read(world.settings, WITHIN_S) as reader:
        assert reader.definition("a", 1) == trigger("a")


async def test_pause_and_resume_are_versions_that_change_one_state(world: World) -> None:
    first = await world.apply(trigger("a"), trigger("b"))
    async with open_to_write(world.settings, WITHIN_S) as registry:
        paused = await registry.pause("a", ANN)
        states = {name: held.state for name, held in (await seen(world, paused.number)).items()}
        assert states == {"a": "paused", "b": "live"}
        resumed = await registry.resume("a", ANN)
        assert {held.revision for held in (await seen(world, resumed.number)).values()} == {1}
    numbers = [first.number, paused.number, resumed.number]
    assert numbers == sorted(set(numbers))
    assert await world.activations() == dict.fromkeys(range(PARTITIONS), numbers)


async def seen(world: World, number: int) -> dict[str, Any]:
    async with open_to_read(world.settings, WITHIN_S) as reader:
        return dict((await reader.version(number, WITHIN_S)).triggers)


async def test_a_reader_started_before_and_one_started_after_see_the_same_versions(
    world: World, producer: AIOKafkaProducer
) -> None:
    before = world.reader()
    await before.start(WITHIN_S)
    assert before.latest is None
    assert (await before.version(0, WITHIN_S)).triggers == {}
    numbers = [(await world.apply(trigger("a", priority=number))).number for number in range(3)]
    await producer.send_and_wait(world.topics.registry, b"no json", b"manifest/junk")
    stale = Manifest(numbers[0], "eve", 1, "", {}, {})
    await producer.send_and_wait(world.topics.registry, encode(stale), manifest_key("eve"))
    numbers.append((await world.apply(trigger("b"))).number)
    after = world.reader()
    await after.start(WITHIN_S)
    try:
        for number in numbers:
            held = await before.version(number, WITHIN_S)
            assert await after.version(number, WITHIN_S) == held
            assert before.program(number).number == number
        assert after.latest is not None
        assert after.latest.number == numbers[-1]
        assert set(after.latest.triggers) == {"a", "b"}
        for reader in (before, after):
            assert (reader.history.malformed, reader.history.void) == (1, 1)
        with pytest.raises(UnknownVersionError):
            await after.version(numbers[-1] - 1, WITHIN_S)
        with pytest.raises(RegistryTimeoutError):
            await after.version(numbers[-1] + 1, 0.1)
    finally:
        await before.stop()
        await after.stop()


async def test_a_version_may_hold_as_many_triggers_as_a_workspace(world: World) -> None:
    names = [f"{number:064d}" for number in range(TRIGGERS_MAX)]
    plan = Plan(0, Contents({name: TriggerRef(LATE, "paused") for name in names}, {}, {}, {}))
    plan.rows = [Row(TRIGGER, name, Change.CREATED, LATE, 0) for name in names]
    plan.bodies = [(BodyKey(TRIGGER, name, LATE), TriggerBody({}, 1)) for name in names]
    async with open_to_write(world.settings, WITHIN_S) as registry:
        number = await registry.write(plan, ANN)
        assert len(registry.reader.history.contents(number).triggers) == TRIGGERS_MAX
    records = await everything(world.settings, world.topics.registry)
    assert len(records[-1].value) > 1024 * 1024  # more than a broker takes by default


async def test_the_tail_survives_a_restart_of_the_broker(
    fresh_kafka: FreshKafka, topic_prefix: str
) -> None:
    broker = fresh_kafka()
    world = await make_world(broker.servers, topic_prefix)
    first = await world.apply(trigger("a"))
    reader = world.reader()
    await reader.start(WITHIN_S)
    try:
        broker.kill()
        with pytest.raises(RegistryTimeoutError):
            await reader.version(first.number + 1, 1.0)
        assert (await reader.version(first.number, 0)).number == first.number
        await asyncio.to_thread(broker.start)
        second = await world.apply(trigger("a", priority=1))
        held = await reader.version(second.number, 30.0)
        assert held.triggers["a"].definition.priority == 1
    finally:
        await reader.stop()


async def test_a_topic_that_was_made_anew_ends_the_tail_and_tells_the_owner(
    world: World,
) -> None:
    await world.apply(trigger("a"))
    failures: list[BaseException] = []
    reader = RegistryReader(
        client_options(world.settings), world.topics.registry, on_failure=failures.append
    )
    await reader.start(WITHIN_S)
    try:
        admin = AIOKafkaAdminClient(**client_options(world.settings))
        await admin.start()
        try:
            await admin.delete_topics([world.topics.registry])
            gone: Callable[[], bool | Awaitable[bool]] = partial(
                _is_gone, admin, world.topics.registry
            )
            await eventually(gone)
        finally:
            await admin.close()
        await create_topic(world.settings.kafka_servers, world.topics.registry)
        await eventually(lambda: failures, within_s=30.0)
        assert isinstance(failures[0], RegistryLostError)
        with pytest.raises(RegistryLostError):
            await reader.version(1_000, WITHIN_S)
    finally:
        await reader.stop()


async def test_a_registry_whose_start_was_deleted_is_not_read(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    settings = Settings(kafka_servers=kafka.servers, topic_prefix=topic_prefix)
    topic = Topics(topic_prefix).registry
    await create_topic(kafka.servers, topic, settings={"cleanup.policy": "delete"})
    async with AIOKafkaProducer(**client_options(settings)) as writer:
        for _ in range(3):
            await writer.send_and_wait(topic, b"{}", b"manifest/x", partition=0)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=2)})
    finally:
        await admin.close()
    with pytest.raises(RegistryLostError, match="holds offsets 2 to 3, but 0 is next"):
        async with open_to_read(settings, WITHIN_S):
            pass


async def _is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic not in await admin.list_topics()


async def test_missing_topics_are_said_and_nothing_is_written(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    topics = Topics(topic_prefix)
    settings = Settings(
        kafka_servers=kafka.servers, topic_prefix=topic_prefix, log_secret=SecretStr("x" * 16)
    )
    with pytest.raises(TopicMissingError, match=topics.registry):
        async with open_to_write(settings, WITHIN_S):
            pass
    await create_topic(kafka.servers, topics.registry)
    with pytest.raises(TopicMissingError, match=topics.events):
        async with open_to_write(settings, WITHIN_S):
            pass
    assert await everything(settings, topics.registry) == []


async def test_a_kafka_that_hangs_is_given_up_in_time(fresh_kafka: FreshKafka) -> None:
    broker = fresh_kafka()
    settings = Settings(kafka_servers=broker.servers)
    broker.pause()
    try:
        started_s = monotonic_s()
        with pytest.raises(KafkaUnreachableError):
            async with open_to_read(settings, 0.5):
                pass
        assert monotonic_s() - started_s < 5
    finally:
        broker.resume()
