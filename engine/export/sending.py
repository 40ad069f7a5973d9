"""Segment events of the outcomes topic, into a file or another topic.

A file is made anew and holds the range that is asked for. A topic goes on where the last run to it
ended: that position is the committed offset of a consumer group of its own. A run that dies between
sending and committing sends its last records again, with the same messageIds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine.explain.log import LogReader
from engine.export.manifest import settle
from engine.export.repeats import LOOK_BACK, Repeats
from engine.export.rows import OUTCOMES, BadRow, ExportedOutcome
from engine.export.run import (
    Exported,
    TopicMissingError,
    Wanted,
    extent_in,
    open_topic_log,
    topic_of,
)
from engine.export.segment import segment_message
from engine.files import EVERYTHING, ProblemKind, Problems, Span, open_output
from engine.kafka_client import client_options
from engine.registry.connect import close, connect
from engine.settings import Settings
from engine.topics import admin_client


class _Message(NamedTuple):
    user: str
    value: bytes


async def write_segment(
    settings: Settings, path: Path, problems: Problems, *, span: Span, timeout_s: float
) -> Exported:
    """Replace the file by the events of the range, JSON lines in the order of the partitions.

    Raises what `open_topic_log` raises, and OSError.
    """
    done, topic = Exported(), topic_of(OUTCOMES, settings)
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        async with open_topic_log(settings, topic, timeout_s) as log:
            wanted = [await extent_in(log, topic, n, span) for n in range(settings.partitions)]
            with open_output(unfinished) as out:
                for number, part in enumerate(wanted):
                    async for _, messages in _messages(log, topic, number, part, problems, done):
                        out.writelines(message.value + b"\n" for message in messages)
        settle(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    done.files = 1
    return done


async def send_segment(
    settings: Settings, target: str, problems: Problems, *, span: Span, timeout_s: float
) -> Exported:
    """Publish the events that were not sent to `target` yet, keyed by user; with a bounded `span`
    those of the range, whatever was sent before.

    Raises what `open_topic_log` raises; TopicMissingError also for the target.
    """
    done, topic = Exported(), topic_of(OUTCOMES, settings)
    async with (
        open_topic_log(settings, topic, timeout_s) as log,
        _group(settings, target, timeout_s) as group,
        _producer(settings, target, timeout_s) as producer,
    ):
        wanted = [await extent_in(log, topic, n, span) for n in range(settings.partitions)]
        for number, part in enumerate(wanted):
            place = TopicPartition(topic, number)
            if span == EVERYTHING:
                sent: int | None = await group.committed(place)
                if sent is not None:
                    done.lost += max(part.begin - sent, 0)
                part = part._replace(start=max(part.begin, sent or 0))
            async for position, messages in _messages(log, topic, number, part, problems, done):
                acks = [
                    await producer.send(target, message.value, key=message.user.encode())
                    for message in messages
                ]
                await asyncio.gather(*acks)
                if span == EVERYTHING:
                    await group.commit({place: position})
    return done


async def _messages(
    log: LogReader,
    topic: str,
    partition: int,
    part: Wanted,
    problems: Problems,
    done: Exported,
) -> AsyncIterator[tuple[int, list[_Message]]]:
    """The events of a range, in batches with the offset each was read up to."""
    repeats = Repeats()
    if part.start >= part.end:
        return
    async for batch in log.read(
        topic, partition, max(part.begin, part.start - LOOK_BACK), part.end
    ):
        messages = []
        for record in batch:
            repeated = repeats.is_repeat(record.value, record.headers, record.offset)
            if record.offset < part.start:
                continue
            if repeated:
                done.repeated += 1
                continue
            try:
                row = OUTCOMES.row(record.value, partition, record.offset)
            except BadRow as error:
                place = f"{topic}[{partition}]"
                problems.add(ProblemKind.WRONG_TYPE, place, record.offset, str(error))
                continue
            assert isinstance(row, ExportedOutcome)
            value = segment_message(row)
            if value is not None:
                messages.append(_Message(row.user, value))
        done.rows += len(messages)
        if batch[-1].offset >= part.start:
            yield batch[-1].offset + 1, messages


@asynccontextmanager
async def _group(
    settings: Settings, target: str, timeout_s: float
) -> AsyncIterator[AIOKafkaConsumer]:
    """The group that keeps the position of a target. It never has members."""

    def make() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(settings),
            group_id=f"{settings.group}.export.{target}",
            enable_auto_commit=False,
        )

    consumer = await connect(make, timeout_s)
    try:
        topic = topic_of(OUTCOMES, settings)
        consumer.assign([TopicPartition(topic, n) for n in range(settings.partitions)])
        yield consumer
    finally:
        await close(consumer)


@asynccontextmanager
async def _producer(
    settings: Settings, target: str, timeout_s: float
) -> AsyncIterator[AIOKafkaProducer]:
    def make() -> AIOKafkaProducer:
        return AIOKafkaProducer(**client_options(settings), enable_idempotence=True, acks="all")

    async with admin_client(settings) as admin:
        if target not in await admin.list_topics():
            raise TopicMissingError(f"there is no topic {target}")
    producer = await connect(make, timeout_s)
    try:
        yield producer
    finally:
        await close(producer)
