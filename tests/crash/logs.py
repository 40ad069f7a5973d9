"""What the topics hold, read back to their present ends."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from engine.kafka_client import client_options
from engine.settings import Settings
from schemas.topics import Topics

POLL_MS = 1_000

Partitions = dict[int, list[ConsumerRecord]]


@dataclass(frozen=True, slots=True)
class Written:
    """Every topic by partition; `lanes` without what was put back for later."""

    events: Partitions
    decisions: Partitions
    outcomes: Partitions
    dead_letters: Partitions
    lanes: dict[str, Partitions]


async def read_all(settings: Settings) -> Written:
    """Read everything there is. Nobody should be writing any more."""
    topics = Topics(settings.topic_prefix)
    lanes = {lane.value: name for lane, name in topics.lanes.items()}
    names = [topics.events, topics.decisions, topics.outcomes, topics.dead_letters, *lanes.values()]
    found = await read_topics(settings, names)
    return Written(
        events=found[topics.events],
        decisions=found[topics.decisions],
        outcomes=found[topics.outcomes],
        dead_letters=found[topics.dead_letters],
        lanes={lane: found[name] for lane, name in lanes.items()},
    )


async def read_topics(settings: Settings, names: Iterable[str]) -> dict[str, Partitions]:
    """Each topic's records by partition, from the first to the one that is last now."""
    wanted = list(names)
    consumer = AIOKafkaConsumer(
        *wanted,
        **client_options(settings),
        group_id=None,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    try:
        assigned = consumer.assignment()
        ends = await consumer.end_offsets(list(assigned))
        found: dict[str, Partitions] = {name: {} for name in wanted}
        for tp in assigned:
            found[tp.topic][tp.partition] = []
        left = {tp for tp in assigned if ends[tp] > 0}
        while left:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=20_000)
            for tp, records in batches.items():
                found[tp.topic][tp.partition] += records
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        return {name: dict(sorted(partitions.items())) for name, partitions in found.items()}
    finally:
        await consumer.stop()
