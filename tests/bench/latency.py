"""The whole pipeline as it happens: append to provider accepted, open loop, and catching up.

Events are appended at a fixed rate whether the engine keeps up or not; APNs answers over TLS and
HTTP/2 after 50 ms. Latency runs from the append time of the record that caused a delivery to the
arrival at the stand-in plus its 50 ms. The generator is the process of the bench itself, worker,
delivery worker and stand-ins are others; all share the machine.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import redis.asyncio
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
from tests.bench.machine import cores, cpu_s, everywhere
from tests.bench.stream import Message, StreamShape, make_stream
from tests.bench.worker import applied
from tests.bench.workspaces import twelve

PROVIDER_MS = 50.0
SLICE_S = 0.02
ALL = cores().subject | cores().rest
REST_WITHIN_S = 120.0
#: Not counted: the broker compiles its hot paths, the first requests connect.
WARM_UP_S = 3.0
#: The part of a backlog over which a rate is taken.
WINDOW = (0.1, 0.9)


class Spread(NamedTuple):
    """Milliseconds: the median and the 99th percentile."""

    p50: float
    p99: float


class Latency(NamedTuple):
    """Over the deliveries of events appended at `rate` a second.

    `whole` runs from append to accepted, `decide` from append to the delivery's publication by the
    worker, `deliver` from there to the request's arrival at the provider; the provider's own time
    is the rest. `bench_cores`: processors kept busy by the load generator and the stand-ins.
    """

    rate: float
    appended: float
    deliveries: int
    bench_cores: float
    whole: Spread
    decide: Spread
    deliver: Spread


class _Pipeline(NamedTuple):
    settings: Settings
    push_log: Path
    standins_pid: int


class _Delivery(NamedTuple):
    """When the record that caused a delivery was appended, when the worker published it, when it
    arrived at the provider: wall clock milliseconds."""

    appended: int
    published: int
    arrived: int


@asynccontextmanager
async def pipeline(bed: Bed, backlog: int = 0) -> AsyncIterator[_Pipeline]:
    """A worker, a delivery worker and the stand-ins on a fresh prefix, on all cores. They are ready
    when nothing, or find so many events when they start."""
    bed.redis.flush()
    prefix = f"l{uuid4().hex[:6]}-"
    settings = await bed.create(prefix, twelve(), clock_="wall", at_ms=1)
    if backlog:
        await play(settings, _messages(backlog, 0.0), 0.0)
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
            if not backlog:
                await until_applied(bed, settings)
            yield _Pipeline(settings, push_log, child.pid)
    finally:
        child.stop()


async def open_loop(bed: Bed, rate: float, seconds: float) -> Latency:
    """Append `rate` events a second for so long; what became of the deliveries they caused."""
    messages = _messages(int(rate * (WARM_UP_S + seconds)), rate)
    async with pipeline(bed) as running:
        pids = (os.getpid(), running.standins_pid)
        used_s, began_s = sum(map(cpu_s, pids)), clock.monotonic_s()
        from_ms = clock.now_ms() + WARM_UP_S * 1000
        appended = await play(running.settings, messages, rate)
        cores_used = (sum(map(cpu_s, pids)) - used_s) / (clock.monotonic_s() - began_s)
        await _settled(bed, running.settings)
        found = [one for one in await _deliveries(running) if one.appended >= from_ms]
    return Latency(
        rate,
        appended,
        len(found),
        cores_used,
        spread([one.arrived + PROVIDER_MS - one.appended for one in found]),
        spread([float(one.published - one.appended) for one in found]),
        spread([float(one.arrived - one.published) for one in found]),
    )


def spread(values: list[float]) -> Spread:
    """nan without values."""
    ordered = sorted(values) or [float("nan")]
    last = min(len(ordered) - 1, len(ordered) * 99 // 100)
    return Spread(ordered[len(ordered) // 2], ordered[last])


class Capacity(NamedTuple):
    """Working off a backlog. `events_per_s` by the worker between a tenth and nine tenths of it;
    `sent_share`: what was sent meanwhile of what was decided meanwhile, 1 when delivery keeps up.
    """

    events_per_s: float
    sent_share: float

    @property
    def whole(self) -> float:
        """Events a second that the slower of the two stands for long."""
        return self.events_per_s * min(1.0, self.sent_share)


async def capacity(bed: Bed, events: int) -> Capacity:
    """The whole pipeline on a backlog that was there when it started: neither starting, nor
    appending, nor the last stragglers are in the window."""
    async with pipeline(bed, events) as running:
        total = sum(await bed.ends(running.settings.topic_prefix))
        marks: dict[float, tuple[int, int]] = {}
        deadline_s = clock.monotonic_s() + REST_WITHIN_S
        async with redis.asyncio.Redis.from_url(bed.redis.url) as client:
            while len(marks) < len(WINDOW):
                await asyncio.sleep(0.02)
                done = await applied(client)
                for share in WINDOW:
                    if done >= share * total:
                        marks.setdefault(share, (clock.now_ms(), done))
                if clock.monotonic_s() > deadline_s:
                    raise TimeoutError(f"{done} of {total} records in {REST_WITHIN_S:g} s")
        await _settled(bed, running.settings)
        found = await _deliveries(running)
    (from_ms, first), (to_ms, last) = (marks[share] for share in WINDOW)
    decided = sum(from_ms <= one.published < to_ms for one in found)
    sent = sum(from_ms <= one.arrived < to_ms for one in found)
    return Capacity((last - first) / (to_ms - from_ms) * 1000, sent / max(decided, 1))


def _messages(events: int, rate: float) -> list[Message]:
    """Made before the clock starts: a stream of sessions under way costs seconds to begin."""
    return list(make_stream(StreamShape(events=events, events_per_s=max(rate, 2_000.0))))


async def play(settings: Settings, messages: list[Message], rate: float) -> float:
    """Append now; the rate reached. Rate 0: as fast as Kafka takes them. At a rate nothing waits
    for acknowledgements: a slow broker does not slow the load down."""
    count, made = len(messages), 0
    async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
        batches = Batches(producer, Topics(settings.topic_prefix).events)
        started_s = clock.monotonic_s()
        while made < count:
            due = count if not rate else min(count, int((clock.monotonic_s() - started_s) * rate))
            for message in messages[made:due]:
                e_ms = clock.now_ms() - (message.a_ms - message.e_ms)
                await batches.add(message.user, message._replace(e_ms=e_ms).value, None)
            made = due
            await batches.send()
            if rate:
                await asyncio.sleep(SLICE_S)
        reached = count / (clock.monotonic_s() - started_s)
        await batches.flush()
    return reached


async def until_applied(bed: Bed, settings: Settings) -> None:
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
        await until_applied(bed, settings)
        before = await bed.ends(settings.topic_prefix)
        await asyncio.sleep(0.5)
        if await bed.ends(settings.topic_prefix) == before:
            return


async def _deliveries(running: _Pipeline) -> list[_Delivery]:
    """What was accepted, by the records of the lanes and the provider's log."""
    published: dict[str, tuple[int, int]] = {}
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
                    times = (delivery.appended_at_ms, record.timestamp)
                    published[delivery.delivery_id] = times
                if records[-1].offset + 1 >= ends[tp]:
                    left.discard(tp)
    found = []
    for line in (await asyncio.to_thread(running.push_log.read_text)).splitlines():
        entry = json.loads(line)
        if entry["accepted"] and entry["delivery_id"] in published:
            found.append(_Delivery(*published.pop(entry["delivery_id"]), entry["at_ms"]))
    return found
