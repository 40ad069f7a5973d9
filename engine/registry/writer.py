"""Append to the registry topic and activate versions in the log. Every send is awaited."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from engine.registry.entries import (
    Body,
    BodyKey,
    Manifest,
    body_key,
    encode,
    manifest_key,
)
from schemas.kinds import Kind, sealed_headers
from schemas.records import ActivateRecord
from schemas.records import encode as encode_record


async def append_apply(
    producer: AIOKafkaProducer,
    topic: str,
    apply_id: str,
    bodies: Sequence[tuple[BodyKey, Body]],
    manifest: Manifest,
) -> int:
    """Write the bodies, then the manifest; the number its version has if it is accepted.

    Raises KafkaError; then the manifest may be in the topic all the same.
    """
    sent = [
        await producer.send(topic, encode(body), body_key(key, apply_id), partition=0)
        for key, body in bodies
    ]
    await asyncio.gather(*sent)
    value = encode(manifest)
    written = await producer.send_and_wait(topic, value, manifest_key(apply_id), partition=0)
    return int(written.offset) + 1


async def activate(
    producer: AIOKafkaProducer,
    topic: str,
    secret: bytes,
    number: int,
    timestamp_ms: int | None = None,
) -> int:
    """Append the activation of version `number` to every partition of the log; how many there are.

    Doing it again is harmless: a shard never goes back to a smaller number. `timestamp_ms` is for a
    log that keeps its records' own time (`--clock log`). Raises KafkaError.
    """
    partitions = sorted(await producer.partitions_for(topic))
    value = encode_record(ActivateRecord(number))
    sent = [
        await producer.send(
            topic,
            value,
            partition=partition,
            timestamp_ms=timestamp_ms,
            headers=sealed_headers(secret, Kind.ACTIVATE, partition, None, value),
        )
        for partition in partitions
    ]
    await asyncio.gather(*sent)
    return len(partitions)
