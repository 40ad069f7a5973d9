"""The worker: composes the user stage and keeps it going until it is told to stop.

Kafka's consumer group moves partitions between workers; each assigned partition gets a
`ShardActor`. Two small loops stand beside: ticks make due timers fire in a quiet log, and offsets
are told to Kafka for its lag dashboards.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError
from faust.types import TP

from engine import clock
from engine.http import Health
from engine.kafka_client import client_options
from engine.ports import START, Position, ShardStore
from engine.registry.reader import RegistryReader
from engine.settings import Settings
from engine.stream import observed
from engine.stream.actor import LogTruncated, ShardActor, Surroundings
from engine.stream.app import TriplineApp, make_app
from engine.stream.batches import RecordBatch
from engine.stream.patience import PatientStore
from engine.stream.shard import PartitionCountChanged, ShardSettings
from engine.tasks import spawn
from schemas.kinds import Kind, header, sealed_headers
from schemas.marks import SEQ_HEADER, marked
from schemas.topics import Topics
from triggers.program import Program

log = structlog.get_logger(__name__)
T = TypeVar("T")

TICK_POLL_S = 0.1
OFFSETS_EVERY_S = 1.0
#: Faust's consumer thread answers nobody once it stops: a revocation that a stop overtakes would
#: wait for ever, and the thread for the revocation.
OFFSETS_WITHIN_S = 2.0
REVOKE_S = 5.0
REGISTRY_S = 60.0
#: Opening the shards must end before Faust stops waiting for it (its request timeout, 90 s): Faust
#: would stop its recovery in silence, and the worker would stand still for ever, alive and ready.
OPEN_S = 60.0
#: A shard whose fetched batches wait so long while Redis answers is stuck: /livez fails.
STUCK_S = 120.0
PROBE_RETRY_S = 0.5
PROBE_S = 5.0
#: A dead letter holds up to 64 KB of the record in base64.
PRODUCED_BATCH_BYTES = 512 << 10
PRODUCED_RECORD_BYTES_MAX = 1 << 20


class ReaderPrograms:
    """`Programs` over the registry reader."""

    def __init__(self, reader: RegistryReader) -> None:
        self._reader = reader

    async def program(self, number: int) -> Program:
        if number:
            with observed.registry_wait():
                await self._reader.read_up_to(number, REGISTRY_S)
        return self._reader.program(number)


class Worker:
    """The user stage of one process. `run` returns when it was stopped, raises what was fatal."""

    def __init__(self, settings: Settings, store: ShardStore, health: Health) -> None:
        secret = settings.log_secret
        assert secret is not None, "the command requires log_secret"
        self._settings = settings
        self._health = health
        self._topics = Topics(settings.topic_prefix)
        self._secret = secret.get_secret_value().encode()
        self._store = PatientStore(store, self._store_waits)
        self._reader = RegistryReader(
            client_options(settings), self._topics.registry, on_failure=self._fatal
        )
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=PRODUCED_BATCH_BYTES,
            max_request_size=PRODUCED_RECORD_BYTES_MAX,
            request_timeout_ms=30_000,
        )
        self._probe = AIOKafkaConsumer(
            **client_options(settings), group_id=None, auto_offset_reset="none"
        )
        self._app: TriplineApp = make_app(
            settings, self._topics.events, self._assigned, self._dispatch
        )
        self._actors: dict[int, ShardActor] = {}
        self._applied: dict[int, int] = {}
        self._probing = asyncio.Lock()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._ticked_s: dict[int, float] = {}
        self._opening = asyncio.Lock()
        self._releasing = asyncio.Lock()
        self._epoch = 0
        self._waits_for_redis = False
        health.watch(self._stuck)

    def stop(self) -> None:
        """Ask `run` to end: finish commits, publish, leave the group."""
        self._stop.set()

    async def run(self) -> None:
        """Start everything, work until stopped. Raises what made going on impossible."""
        async with AsyncExitStack() as stack:
            await self._reader.start()
            stack.push_async_callback(self._reader.stop)
            self._health.set("registry", True)
            await self._producer.start()
            stack.push_async_callback(self._producer.stop)
            await self._probe.start()
            stack.push_async_callback(self._probe.stop)
            self._health.set("kafka", True)
            self._app.on_partitions_revoked.connect(self._revoked)
            for name, loop in (("ticks", self._tick_loop()), ("offsets", self._offsets_loop())):
                task = spawn(loop, name, self._fatal)
                stack.callback(task.cancel)
            await self._app.start()
            spare_the_collector()
            log.info("worker_started", group=self._app.conf.id)
            await self._until_stopped()
            await self._release_all()
            await self._app.stop()
        if self._failure is not None:
            raise self._failure
        log.info("worker_stopped")

    async def _until_stopped(self) -> None:
        """Wait for stop, a fatal error, or a crash of the Faust app."""
        while not self._stop.is_set():
            if self._app.crashed:
                self._fatal(self._app.crash_reason or RuntimeError("Faust crashed"))
            try:
                async with asyncio.timeout(0.5):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _fatal(self, error: BaseException) -> None:
        """Nothing is skipped: an unexpected error in a shard stops the worker."""
        if self._failure is None:
            log.error("worker_failed", error=repr(error))
            self._failure = error
        self._stop.set()

    def _store_waits(self, waiting: bool) -> None:
        self._waits_for_redis = waiting
        self._health.set("redis", not waiting, "waiting for Redis" if waiting else "")

    def _stuck(self) -> str | None:
        """A shard that has work, has Redis, and does nothing."""
        for shard, actor in self._actors.items():
            if actor.waiting_s > STUCK_S and not self._waits_for_redis:
                return f"shard {shard} stands still for {actor.waiting_s:.0f} s"
        return None

    def _dispatch(self, tp: TP, batch: RecordBatch) -> None:
        actor = self._actors.get(tp.partition)
        if actor is not None:
            actor.offer(batch)

    async def _assigned(
        self, assigned: set[TP], committed: Mapping[TP, int | None]
    ) -> Mapping[TP, int]:
        """Open a shard for each assigned partition; the offsets to go on at."""
        async with self._opening, asyncio.timeout(OPEN_S):
            epoch = self._epoch
            await self._release_all()
            around = self._surroundings()
            mine = sorted(tp for tp in assigned if tp.topic == self._topics.events)
            actors = {tp: ShardActor(tp, around) for tp in mine}
            try:
                wanted = {tp: await a.open(committed.get(tp)) for tp, a in actors.items()}
                if self._epoch != epoch or self._stop.is_set():
                    raise IllegalStateError("the assignment was revoked meanwhile")
            except BaseException as error:
                await asyncio.gather(*(actor.stop(0.0) for actor in actors.values()))
                if isinstance(error, LogTruncated | PartitionCountChanged):
                    self._fatal(error)
                raise
            self._actors = {tp.partition: actor for tp, actor in actors.items()}
        observed.owned(len(actors))
        for _ in actors:
            observed.sought("assigned")
        self._health.set("assignment", True, f"{len(actors)} shards")
        log.info("shards_assigned", shards=sorted(self._actors))
        return wanted

    def _surroundings(self) -> Surroundings:
        settings = self._settings
        return Surroundings(
            store=self._store,
            programs=ReaderPrograms(self._reader),
            producer=self._producer,
            settings=ShardSettings(
                partitions=settings.partitions,
                topics=self._topics,
                secret=self._secret,
                states_cached_max=max(1, settings.states_cached_max // settings.partitions),
                log_clock=settings.clock == "log",
            ),
            batch_records_max=settings.batch_records_max,
            queue_bytes_max=settings.shard_queue_bytes_max,
            outbox_entries_max=settings.outbox_entries_max,
            seek=self._app.store_consumer.seek_shard,
            next_offset=self._next_offset,
            bounds=self._bounds,
            published=self._published,
            full=self._app.store_consumer.on_buffer_full,
            drained=self._app.store_consumer.on_buffer_drop,
            fatal=self._fatal,
        )

    async def _revoked(self, app: Any, /, *_: Any, signal: Any, **__: Any) -> None:
        if app is not self._app:
            return  # Faust's signals reach the handlers of every app in the process
        self._epoch += 1
        self._health.set("assignment", False, "rebalancing")
        await self._release_all()

    async def _release_all(self) -> None:
        """Finish what is under way in every shard; publish what was committed; let go.

        A stop waits for a revocation under way: Faust's thread cannot end before it does."""
        async with self._releasing:
            actors, self._actors = self._actors, {}
            self._applied.clear()
            await asyncio.gather(*(actor.stop(REVOKE_S) for actor in actors.values()))
            observed.owned(0)
            for shard, actor in actors.items():
                self._applied[shard] = actor.position
                observed.given_up(shard)
            await self._commit_offsets()

    async def _bounds(self, tp: TP) -> tuple[int, int]:
        """The begin and end offsets of a partition."""
        where = TopicPartition(tp.topic, tp.partition)

        async def ask() -> tuple[int, int]:
            begins = await self._probe.beginning_offsets([where])
            ends = await self._probe.end_offsets([where])
            return begins[where], ends[where]

        return await self._probed(ask)

    async def _published(self, tp: TP) -> Position:
        """The latest position of a shard that published deliveries, as its lanes tell: each one's
        positions rise, so its last record is enough."""
        lanes = [TopicPartition(lane, tp.partition) for lane in self._topics.lanes.values()]

        async def ask() -> Position:
            begins = await self._probe.beginning_offsets(lanes)
            ends = await self._probe.end_offsets(lanes)
            wanted = {lane for lane in lanes if ends[lane] > begins[lane]}
            latest = START
            if not wanted:
                return latest
            self._probe.assign(wanted)
            try:
                for lane in wanted:
                    self._probe.seek(lane, ends[lane] - 1)
                async with asyncio.timeout(PROBE_S):
                    while wanted:
                        record = await self._probe.getone(*wanted)
                        wanted.discard(TopicPartition(record.topic, record.partition))
                        mark = header(record.headers, SEQ_HEADER)
                        latest = max(latest, Position(*marked(mark)))
            finally:
                self._probe.pause(*self._probe.assignment())
            return latest

        while True:
            try:
                return await self._probed(ask)
            except OffsetOutOfRangeError:
                continue  # retention took what was the last record just now

    async def _next_offset(self, tp: TP, offset: int) -> int | None:
        """The offset of the first record at or after `offset`, as Kafka has it."""
        where = TopicPartition(tp.topic, tp.partition)

        async def ask() -> int | None:
            self._probe.assign([where])
            self._probe.seek(where, offset)
            try:
                async with asyncio.timeout(PROBE_S):
                    record = await self._probe.getone(where)
                    found: int = record.offset
                    return found
            except TimeoutError:
                return None
            finally:
                # Not `unsubscribe`: aiokafka's fetcher dies of it when it looks in that moment.
                self._probe.pause(where)

        return await self._probed(ask)

    async def _probed(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until Kafka answers: without it no shard can go on anyway."""
        while True:
            try:
                async with self._probing:
                    return await ask()
            except OffsetOutOfRangeError:
                raise
            except (KafkaError, TimeoutError) as error:
                log.warning("probe_waits", error=repr(error))
                await asyncio.sleep(PROBE_RETRY_S)

    async def _tick_loop(self) -> None:
        """T2: a due timer of a caught-up shard needs the log to move on."""
        while self._settings.clock == "wall":
            await asyncio.sleep(TICK_POLL_S)
            now_ms, now_s = clock.now_ms(), clock.monotonic_s()
            for shard, actor in list(self._actors.items()):
                is_due = 0 < actor.next_due_ms < now_ms and actor.is_idle
                recently = now_s - self._ticked_s.get(shard, 0.0) < self._settings.tick_every_s
                if is_due and not recently:
                    self._ticked_s[shard] = now_s
                    await self._tick(shard)

    async def _tick(self, shard: int) -> None:
        headers = sealed_headers(self._secret, Kind.TICK, shard, None, b"")
        await self._producer.send(self._topics.events, value=b"", partition=shard, headers=headers)
        observed.ticked()

    async def _offsets_loop(self) -> None:
        while True:
            await asyncio.sleep(OFFSETS_EVERY_S)
            await self._commit_offsets()
            observed.registry_held(self._reader.history.latest)
            assigned = self._app.consumer.assignment()
            for shard, actor in self._actors.items():
                observed.outbox(shard, actor.outbox_depth)
                tp = TP(self._topics.events, shard)
                end = self._app.consumer.highwater(tp) if tp in assigned else None
                if end is not None:
                    observed.lag(shard, end - actor.position - 1)

    async def _commit_offsets(self) -> None:
        self._applied.update({shard: actor.position for shard, actor in self._actors.items()})
        offsets = {
            TP(self._topics.events, shard): position + 1
            for shard, position in self._applied.items()
            if position >= 0
        }
        try:
            async with asyncio.timeout(OFFSETS_WITHIN_S):
                await self._app.store_consumer.commit_for_dashboards(offsets)
        except Exception as error:  # a rebalance may be under way; nothing depends on it
            log.info("offsets_not_committed", error=repr(error))


def spare_the_collector() -> None:
    """Look for reference cycles less often.

    States and events make none. With Python's thresholds the collector looks four times a batch and
    walks every cached state again and again: 4.5 us of 25 for each event. At 50,000 it is 0.65 us,
    at this threshold 0.17 us.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(400_000, 20, 100)
