"""Append a user's preference to the log: the one way in for the command line and the API.

The shard of the user applies it in log order, so whatever its commit releases afterwards obeys it.
"""

import asyncio

from aiokafka import AIOKafkaProducer

from engine.kafka_client import client_options
from engine.registry.connect import close, connect
from engine.registry.operations import LOG_CLOCK_MS
from engine.registry.reader import TopicMissingError
from engine.settings import Settings
from schemas.events import ID_CHARS_MAX
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.records import PreferenceRecord, encode
from schemas.topics import Topics


async def append_preference(
    settings: Settings, record: PreferenceRecord, timeout_s: float
) -> tuple[int, int]:
    """Write one record, acknowledged by all replicas; its partition and offset.

    Raises ValueError for an id that no user can have or without a log secret,
    KafkaUnreachableError, TopicMissingError, KafkaError, TimeoutError.
    """
    if settings.log_secret is None:
        raise ValueError("writing a preference needs the log secret")
    for name, text in (("user", record.user), ("id", record.id)):
        if not 0 < len(text) <= ID_CHARS_MAX:
            raise ValueError(f"{name} has 1 to {ID_CHARS_MAX} characters")
    secret = settings.log_secret.get_secret_value().encode()
    topic = Topics(settings.topic_prefix).events
    producer = await connect(
        lambda: AIOKafkaProducer(**client_options(settings), acks="all", enable_idempotence=True),
        timeout_s,
    )
    try:
        async with asyncio.timeout(timeout_s):
            partitions = await producer.partitions_for(topic)
            if not partitions:
                raise TopicMissingError(f"there is no topic {topic}")
            key, value = record.user.encode(), encode(record)
            home = partition_of(record.user, len(partitions))
            written = await producer.send_and_wait(
                topic,
                value,
                key,
                partition=home,
                timestamp_ms=LOG_CLOCK_MS if settings.clock == "log" else None,
                headers=sealed_headers(secret, Kind.PREFERENCE, home, key, value),
            )
    finally:
        await close(producer)
    return home, int(written.offset)
