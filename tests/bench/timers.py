"""Timers that are all due at once: what an hour with a storm in it asks of one process on one core.

Every user of a log begins to wait within the same minute; when the worker has applied that, one
more record in each partition says that the time has come. What is measured runs from there until
the last delivery is in its lane.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine import clock
from engine.kafka_client import client_options
from schemas.partitioner import partition_of
from schemas.topics import Topics
from tests.bench.bed import PARTITIONS, Batches, Bed
from tests.bench.machine import cpu_s
from tests.bench.report import table
from tests.bench.stream import T0_MS, Message, iso
from tests.bench.worker import applied
from tests.bench.workspaces import Definitions, twelve
from tests.waiting import eventually
from triggers.definition import TriggerDefinition

WAIT, WAIT_MS = "10m", 600_000
#: They begin, and so are due, within this time.
SPAN_MS = 60_000
WITHIN_S = 900.0
POLL_S = 0.05


class Drained(NamedTuple):
    """`timers` fired; wall and CPU seconds of the worker, CPU seconds of Redis."""

    timers: int
    wall_s: float
    cpu_s: float
    redis_s: float


async def bench_timers(bed: Bed, quick: bool) -> str:
    """A storm of timers, each of which sends a message."""
    found = await drain(bed, 50_000 if quick else 1_000_000)
    row = [
        f"{found.timers:,}",
        f"{found.wall_s:.1f}",
        f"{found.timers / found.wall_s:,.0f}",
        f"{found.timers / found.cpu_s:,.0f}",
        f"{found.redis_s / found.timers * 1e6:.1f}",
    ]
    head = ["timers due in a minute", "seconds", "timers/s", "timers per CPU s", "Redis us/timer"]
    text = "One timer of each user, every one of which sends a message; one process on one core."
    return f"### A storm of timers\n\n{text}\n\n{table(head, [row])}"


async def drain(bed: Bed, timers: int) -> Drained:
    """Let so many users wait, then let it be time."""
    prefix = "timers-"
    waiting = reminder(wait=WAIT, unless=[{"event": "Order Completed"}])
    log = await bed.preload(prefix, waiting, _starts(timers))
    await bed.forget(prefix)
    environment = bed.environment(prefix)
    redis_pid = bed.redis.child.pid
    lanes = lanes_of(prefix)
    async with (
        redis.asyncio.Redis.from_url(bed.redis.url) as client,
        AIOKafkaConsumer(**client_options(bed.settings(prefix)), group_id=None) as consumer,
    ):
        with bed.role("worker", environment) as role:

            async def waits() -> bool:
                role.check()
                return bool(await applied(client) >= log.records)

            async def sent() -> bool:
                role.check()
                return bool(sum((await consumer.end_offsets(lanes)).values()) >= timers)

            await eventually(waits, within_s=WITHIN_S, every_s=POLL_S)
            before = clock.monotonic_s(), cpu_s(role.child.pid), cpu_s(redis_pid)
            await _tell_time(bed, prefix)
            await eventually(sent, within_s=WITHIN_S, every_s=POLL_S)
            after = clock.monotonic_s(), cpu_s(role.child.pid), cpu_s(redis_pid)
    return Drained(timers, *(end - start for start, end in zip(before, after, strict=True)))


def lanes_of(prefix: str) -> list[TopicPartition]:
    """Where deliveries wait for a sender."""
    return [TopicPartition(t, p) for t in Topics(prefix).lanes.values() for p in range(PARTITIONS)]


def reminder(**more: Any) -> Definitions:
    """One message for each product in a cart; `more`: what else its trigger says."""
    made = TriggerDefinition.model_validate(
        {
            "id": "reminder",
            "state": "live",
            "category": "reminders",
            "when": {"event": "Product Added"},
            "message": {
                "push": {"title": "Still thinking?", "body": "{{ start.properties.name }}"}
            },
            **more,
        }
    )
    return Definitions({made.id: made}, twelve().policies)


def _starts(timers: int) -> Iterator[Message]:
    for number in range(timers):
        a_ms = T0_MS + number * SPAN_MS // timers
        yield message_of(f"u{number:07d}", number, a_ms, "ios")


def message_of(user: str, number: int, a_ms: int, platform: str) -> Message:
    """A product goes into the cart of a user with a phone."""
    head = (
        f'{{"type":"track","messageId":"00000000-0000-4000-8000-{number:012x}","userId":"{user}",'
        f'"event":"Product Added","properties":{{"product_id":"p{number % 5_000}",'
        f'"name":"Item number {number % 5_000} in blue","price":42}},"timestamp":"'
    )
    token = f"{number * 2_654_435_761 % (1 << 64):064x}"
    tail = f'","context":{{"device":{{"type":"{platform}","token":"{token}"}}}}}}'
    return Message(a_ms, a_ms, user, head, tail)


async def _tell_time(bed: Bed, prefix: str) -> None:
    """A record in every partition of when all timers are due."""
    a_ms = T0_MS + SPAN_MS + WAIT_MS + 3_600_000
    users: dict[int, str] = {}
    for number in count():
        user = f"now-{number}"
        users.setdefault(partition_of(user, PARTITIONS), user)
        if len(users) == PARTITIONS:
            break
    async with AIOKafkaProducer(**client_options(bed.settings(prefix)), acks="all") as producer:
        batches = Batches(producer, Topics(prefix).events)
        for user in users.values():
            head = f'{{"type":"track","messageId":"{user}","userId":"{user}","event":"Now",'
            value = f'{head}"timestamp":"{iso(a_ms)}"}}'
            await batches.add(user, value.encode(), a_ms)
        await batches.flush()
