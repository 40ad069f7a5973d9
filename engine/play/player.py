"""A clickstream appended to the log, partition by partition, in the order of its append times."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from engine import clock
from engine.files import FileEvent, to_segment
from engine.kafka_client import client_options
from engine.play.merges import Merges
from engine.ports import ShardStore
from engine.settings import Settings
from schemas.events import ENGINE_MADE, Event, occurred_at_ms
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.records import SignalRecord, encode, preference_record
from schemas.topics import Topics
from triggers.names import is_merging

BATCH_BYTES = 256 << 10
#: At the clickstream's own pace, events of so long are sent together.
SLICE_MS = 50


@dataclass(slots=True)
class Played:
    """How far the player is."""

    events: int = 0
    last_a_ms: int = 0
    started_s: float = 0.0
    ended_s: float = 0.0
    users: set[str] = field(default_factory=set)


class _Batches:
    """One open batch per partition."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._open: dict[int, BatchBuilder] = {}
        self._sent: list[asyncio.Future[Any]] = []

    async def add(
        self, partition: int, key: bytes, value: bytes, a_ms: int | None, headers: Any = ()
    ) -> None:
        batch = self._open.get(partition)
        if batch is None:
            batch = self._open[partition] = self._producer.create_batch()
        if batch.append(key=key, value=value, timestamp=a_ms, headers=list(headers)) is None:
            await self._send(partition)
            batch = self._open[partition] = self._producer.create_batch()
            batch.append(key=key, value=value, timestamp=a_ms, headers=list(headers))

    async def flush(self) -> None:
        """Send what is open; return when all of it is acknowledged."""
        for partition in list(self._open):
            await self._send(partition)
        await asyncio.gather(*self._sent)
        self._sent.clear()

    async def _send(self, partition: int) -> None:
        batch = self._open.pop(partition)
        if batch.record_count():
            batch.close()
            self._sent.append(
                await self._producer.send_batch(batch, self._topic, partition=partition)
            )


async def play_events(
    settings: Settings,
    events: Iterable[FileEvent],
    played: Played,
    stopped: Callable[[], bool],
    store: ShardStore,
) -> None:
    """Append every event. With the wall clock at the stream's own pace, its times shifted to now;
    with the log clock as fast as Kafka takes them, and a last tick in every partition.

    With the log clock a user without a device is given one, as the backtest assumes.
    """
    topics = Topics(settings.topic_prefix)
    async with AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
    ) as producer:
        batches = _Batches(producer, topics.events)
        played.started_s = clock.monotonic_s()
        if settings.clock == "log":
            async with AIOKafkaConsumer(**client_options(settings), group_id=None) as consumer:
                merges = _merges(settings, batches, store, consumer)
                await _play_log_time(settings, events, batches, played, stopped, merges)
        else:
            await _play_now(settings, events, batches, played, stopped)
        await batches.flush()
        played.ended_s = clock.monotonic_s()


async def _play_now(
    settings: Settings,
    events: Iterable[FileEvent],
    batches: _Batches,
    played: Played,
    stopped: Callable[[], bool],
) -> None:
    shift_ms: int | None = None
    slice_ends_ms = 0
    for found in events:
        if shift_ms is None:
            shift_ms = clock.now_ms() - found.a_ms
            slice_ends_ms = found.a_ms + SLICE_MS
        if found.a_ms >= slice_ends_ms:
            await batches.flush()
            slice_ends_ms = found.a_ms + SLICE_MS
            await asyncio.sleep(max(0.0, (found.a_ms + shift_ms - clock.now_ms()) / 1000))
            if stopped():
                return
        event = found.event
        if event.timestamp is not None:
            event.timestamp += timedelta(milliseconds=shift_ms)
        user = event.profile
        partition = partition_of(user, settings.partitions)
        value, headers = _entry(settings, event, found.a_ms + shift_ms, partition)
        await batches.add(partition, user.encode(), value, None, headers)
        _count(played, found, user)


def _entry(
    settings: Settings, event: Event, a_ms: int, partition: int
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of an event in the log; a signal or a preference of a file becomes a sealed
    one."""
    if event.type not in ENGINE_MADE:
        return to_segment(event, a_ms), []
    at_ms = occurred_at_ms(event, a_ms)
    if event.type == "preference":
        kind, value = Kind.PREFERENCE, encode(preference_record(event, at_ms))
    else:
        kind, value = (
            Kind.SIGNAL,
            encode(
                SignalRecord(
                    user=event.profile,
                    name=event.event or "",
                    id=event.message_id,
                    at_ms=at_ms,
                    properties=event.properties or {},
                )
            ),
        )
    key = event.profile.encode()
    return value, sealed_headers(_secret(settings), kind, partition, key, value)


def _merges(
    settings: Settings, batches: _Batches, store: ShardStore, consumer: AIOKafkaConsumer
) -> Merges:
    secret = _secret(settings)

    async def tick(partition: int, a_ms: int) -> None:
        headers = sealed_headers(secret, Kind.TICK, partition, b"", b"")
        await batches.add(partition, b"", b"", a_ms, headers)
        await batches.flush()

    topics = Topics(settings.topic_prefix)
    return Merges(settings.partitions, topics, secret, store, consumer, tick)


def _secret(settings: Settings) -> bytes:
    if settings.log_secret is None:
        raise ValueError("playing into the log needs the log secret")
    return settings.log_secret.get_secret_value().encode()


async def _play_log_time(
    settings: Settings,
    events: Iterable[FileEvent],
    batches: _Batches,
    played: Played,
    stopped: Callable[[], bool],
    merges: Merges,
) -> None:
    homes: dict[str, int] = {}
    for found in events:
        event = found.event
        user = merges.profile(event)
        home = homes.get(user)
        if home is None and event.type in ENGINE_MADE:
            home = partition_of(user, settings.partitions)
        elif home is None:
            home = homes[user] = partition_of(user, settings.partitions)
            event.context = {
                "device": {"token": f"assumed:{user}", "type": "android"},
                **(event.context or {}),
            }
        value, headers = _entry(settings, event, found.a_ms, home)
        if user != event.profile and not headers:
            headers = merges.forwarded(user, home, value)
        await batches.add(home, user.encode(), value, found.a_ms, headers)
        _count(played, found, user)
        if is_merging(event):
            await merges.follow(event, user, found.a_ms)
        if not played.events % 4096:
            await asyncio.sleep(0)
            if stopped():
                return
    secret = _secret(settings)
    for partition in range(settings.partitions):
        headers = sealed_headers(secret, Kind.TICK, partition, b"", b"")
        await batches.add(partition, b"", b"", played.last_a_ms, headers)


def _count(played: Played, found: FileEvent, user: str) -> None:
    played.events += 1
    played.last_a_ms = max(played.last_a_ms, found.a_ms)
    played.users.add(user)
