"""The whole pipeline as it happens: append to provider accepted, open loop, and catching up.

Events are appended at a fixed rate whether the engine keeps up or not; APNs answers over TLS and
HTTP/2 after 50 ms. Latency runs from the append time of the record that caused a delivery to the
arrival at the stand-in plus its 50 ms.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine import clock
from engine.kafka_client import client_options
from engine.local.ports import free_port
from engine.local.process import Child
from engine.settings import Settings
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, make_material
from engine.store.redis import RedisStore
from schemas.deliveries import decode_delivery
from schemas.topics import Topics
from tests.bench.bed import PARTITIONS, Batches, Bed
from tests.bench.machine import cores, everywhere
from tests.bench.stream import StreamShape, make_stream
from tests.bench.workspaces import twelve

PROVIDER_MS = 50.0
SLICE_S = 0.02
ALL = cores().subject | cores().rest
REST_WITHIN_S = 120.0


class Latency(NamedTuple):
    """Milliseconds over the deliveries of events appended at `rate` a second."""

    rate: float
    appended: float
    deliveries: int
    p50_ms: float
    p99_ms: float


class _Pipeline(NamedTuple):
    settings: Settings
    push_log: Path


@asynccontextmanager
async def pipeline(bed: Bed) -> AsyncIterator[_Pipeline]:
    """A worker, a delivery worker and the stand-ins on a fresh prefix, on all cores."""
    bed.redis.flush()
    prefix = f"l{uuid4().hex[:6]}-"
    settings = await bed.create(prefix, twelve(), clock_="wall", at_ms=1)
    directory = bed.directory / prefix
    material = make_material(directory / "keys")
    ports = [free_port() for _ in range(3)]
    push_log = directory / "pushes.jsonl"
    standins = [sys.executable, "-m", "engine.standins", "--fcm-port", str(ports[0])]
    standins += ["--apns-port", str(ports[1]), "--control-port", str(ports[2])]
    standins += ["--dir", str(material.directory), "--delay-ms", str(PROVIDER_MS)]
    child = Child(
        "standins",
        everywhere([*standins, "--log", str(push_log)]),
        log_path=directory / "standins.log",
    )
    environment = bed.environment(
        prefix,
        TRIPLINE_CLOCK="wall",
        TRIPLINE_STANDINS_ALLOWED="true",
        TRIPLINE_FCM_SERVICE_ACCOUNT_FILE=str(material.service_account),
        TRIPLINE_FCM_BASE_URL=f"http://127.0.0.1:{ports[0]}",
        TRIPLINE_APNS_KEY_FILE=str(material.apns_key),
        TRIPLINE_APNS_KEY_ID=KEY_ID,
        TRIPLINE_APNS_TEAM_ID=TEAM_ID,
        TRIPLINE_APNS_TOPIC=TOPIC,
        TRIPLINE_APNS_HOST="localhost",
        TRIPLINE_APNS_PORT=str(ports[1]),
        TRIPLINE_PROVIDER_CA_FILE=str(material.ca),
    )
    child.start()
    try:
        with bed.role("worker", environment, ALL), bed.role("deliver", environment, ALL):
            await _ready(bed, settings)
            yield _Pipeline(settings, push_log)
    finally:
        child.stop()


async def open_loop(bed: Bed, rate: float, seconds: float) -> Latency:
    """Append `rate` events a second for so long; what became of the deliveries they caused."""
    async with pipeline(bed) as running:
        appended = await _play(running.settings, rate, seconds)
        await _settled(bed, running.settings)
        latencies = await _latencies(running)
    ordered = sorted(latencies) or [float("nan")]
    return Latency(
        rate,
        appended,
        len(latencies),
        ordered[len(ordered) // 2],
        ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
    )


async def capacity(bed: Bed, events: int) -> float:
    """Events a second of the whole pipeline catching up with a backlog appended at once."""
    async with pipeline(bed) as running:
        started_s = clock.monotonic_s()
        await _play(running.settings, 0.0, 0.0, events)
        await _settled(bed, running.settings)
        return events / (clock.monotonic_s() - started_s)


async def _play(settings: Settings, rate: float, seconds: float, events: int = 0) -> float:
    """Append now; the rate reached. Rate 0: as fast as Kafka takes them."""
    count = events or int(rate * seconds)
    stream = make_stream(StreamShape(events=count, events_per_s=max(rate, 2_000.0)))
    async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
        batches = Batches(producer, Topics(settings.topic_prefix).events)
        started_s = clock.monotonic_s()
        made = 0
        while made < count:
            due = count if not rate else min(count, int((clock.monotonic_s() - started_s) * rate))
            while made < due:
                message = next(stream)
                now_ms = clock.now_ms()
                moved = message._replace(e_ms=now_ms - (message.a_ms - message.e_ms))
                await batches.add(message.user, moved.value, None)
                made += 1
            await batches.flush()
            if rate:
                await asyncio.sleep(SLICE_S)
        return count / (clock.monotonic_s() - started_s)


async def _ready(bed: Bed, settings: Settings) -> None:
    """The activations are applied by every shard: the worker owns them all."""
    await _until_applied(bed, settings)


async def _until_applied(bed: Bed, settings: Settings) -> None:
    store = RedisStore(settings.redis_url)
    deadline_s = clock.monotonic_s() + REST_WITHIN_S
    try:
        while clock.monotonic_s() < deadline_s:
            ends = await bed.ends(settings.topic_prefix)
            metas = [await store.load_shard(shard) for shard in range(PARTITIONS)]
            done = [meta.position.offset + 1 if meta else 0 for meta in metas]
            if all(mine >= end for mine, end in zip(done, ends, strict=True)):
                return
            await asyncio.sleep(0.05)
    finally:
        await store.aclose()
    raise TimeoutError("the log was not applied in time")


async def _settled(bed: Bed, settings: Settings) -> None:
    """Applied, and the outcomes of what was decided are applied as well."""
    while True:
        await _until_applied(bed, settings)
        before = await bed.ends(settings.topic_prefix)
        await asyncio.sleep(0.5)
        if await bed.ends(settings.topic_prefix) == before:
            return


async def _latencies(running: _Pipeline) -> list[float]:
    appended: dict[str, int] = {}
    topics = list(Topics(running.settings.topic_prefix).lanes.values())
    options = client_options(running.settings)
    async with AIOKafkaConsumer(**options, group_id=None) as consumer:
        parts = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
        ends = await consumer.end_offsets(parts)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        left = {tp for tp in parts if ends[tp]}
        while left:
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    delivery = decode_delivery(record.value)
                    appended[delivery.delivery_id] = delivery.appended_at_ms
                if records[-1].offset + 1 >= ends[tp]:
                    left.discard(tp)
    found = []
    for line in (await asyncio.to_thread(running.push_log.read_text)).splitlines():
        entry = json.loads(line)
        since = appended.pop(entry["delivery_id"], None) if entry["accepted"] else None
        if since is not None:
            found.append(entry["at_ms"] + PROVIDER_MS - since)
    return found
