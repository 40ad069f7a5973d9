"""A registry topic and a log on the session's broker, and what was appended to them."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from pydantic import SecretStr

from engine.kafka_client import client_options
from engine.registry.operations import Applied, Signature, WritableRegistry, open_to_write
from engine.registry.reader import RegistryReader
from engine.settings import Settings
from schemas.kinds import KIND_HEADER, Kind, header, is_sealed
from schemas.records import ActivateRecord, decode
from schemas.topics import Topics
from tests.services import create_topic
from tests.unit.registry.made import policy, trigger
from triggers.definition import TriggerDefinition

SECRET = "a secret of the tests"
PARTITIONS = 4
WITHIN_S = 20.0
ANN = Signature("ann", "because")


@dataclass
class World:
    """Settings of one prefix, with its two topics created."""

    settings: Settings

    @property
    def topics(self) -> Topics:
        return Topics(self.settings.topic_prefix)

    def reader(self) -> RegistryReader:
        return RegistryReader(client_options(self.settings), self.topics.registry)

    async def apply(self, *triggers: TriggerDefinition, prune: bool = False) -> Applied:
        async with open_to_write(self.settings, WITHIN_S) as registry:
            return await put(registry, *triggers, prune=prune)

    async def log(self) -> list[ConsumerRecord]:
        """Every record of the log by partition and offset."""
        return await everything(self.settings, self.topics.events)

    async def activations(self) -> dict[int, list[int]]:
        """The numbers activated on each partition, in order; asserts kind, seal and key."""
        found: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        for record in await self.log():
            assert header(record.headers, KIND_HEADER) == Kind.ACTIVATE.encode()
            assert record.key is None
            assert is_sealed(
                SECRET.encode(),
                record.headers,
                Kind.ACTIVATE,
                record.partition,
                record.key,
                record.value,
            )
            found[record.partition].append(decode(record.value, ActivateRecord).registry)
        return found


async def put(
    registry: WritableRegistry, *triggers: TriggerDefinition, prune: bool = False
) -> Applied:
    """Apply definitions through an open registry, with a default policy."""
    wanted = {made.id: made for made in triggers}
    plan = registry.plan(wanted, {"default": policy(spacing="1h")}, prune=prune)
    return await registry.put_in_force(plan, ANN)


async def make_world(servers: str, prefix: str) -> World:
    """Create the topics."""
    settings = Settings(
        kafka_servers=servers,
        topic_prefix=prefix,
        partitions=PARTITIONS,
        log_secret=SecretStr(SECRET),
    )
    topics = Topics(prefix)
    wanted = (topics.events, topics.registry)
    for spec in topics.specs():
        if spec.name in wanted:
            await create_topic(servers, spec.name, spec.partitions or PARTITIONS, spec.config)
    return World(settings)


async def everything(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All records of a topic up to its present end."""
    consumer = AIOKafkaConsumer(
        topic, **client_options(settings), group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = sorted(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                found = await consumer.getmany(partition, timeout_ms=1_000)
                records += found.get(partition, [])
        return records
    finally:
        await consumer.stop()


__all__ = ["ANN", "PARTITIONS", "SECRET", "WITHIN_S", "World", "make_world", "put", "trigger"]
