"""What at-least-once delivery does at its worst: records written twice, lanes read again."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from engine.kafka_client import client_options
from engine.settings import Settings
from schemas.topics import Topics
from tests.crash.logs import read_topics
from tests.crash.model import is_outcome


async def copy_deliveries(settings: Settings, count_max: int) -> int:
    """Append copies of deliveries to the lanes they are in; how many."""
    topics = Topics(settings.topic_prefix)
    found = await read_topics(settings, topics.lanes.values())
    records = [
        record
        for partitions in found.values()
        for partition in partitions.values()
        for record in partition
    ]
    return await _append(settings, records[-count_max:])


async def copy_outcomes(settings: Settings, count_max: int) -> int:
    """Append copies of outcomes, seals and all, to the log; how many."""
    topic = Topics(settings.topic_prefix).events
    found = await read_topics(settings, [topic])
    outcomes = [
        record
        for records in found[topic].values()
        for record in records
        if is_outcome(dict(record.headers))
    ]
    return await _append(settings, outcomes[-count_max:])


async def rewind_lanes(settings: Settings) -> None:
    """Set every lane's group back to the first record. The groups must have no members."""
    topics = Topics(settings.topic_prefix)
    for lane, topic in topics.lanes.items():
        consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=f"{settings.group}.deliver.{lane}",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, n) for n in range(settings.partitions)]
            consumer.assign(partitions)
            await consumer.commit(dict.fromkeys(partitions, 0))
        finally:
            await consumer.stop()


async def _append(settings: Settings, records: list[ConsumerRecord]) -> int:
    assert records, "there is nothing to copy"
    producer = AIOKafkaProducer(**client_options(settings), acks="all")
    await producer.start()
    try:
        sent = [
            await producer.send(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
            for record in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return len(records)
