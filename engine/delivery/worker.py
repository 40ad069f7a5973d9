"""The delivery worker: composes intakes, dispatcher and writer, and stops them in that order.

Kafka's consumer groups move partitions between processes, one group for each lane and one for the
re-queue. Every few hundred milliseconds finished offsets are committed and gauges set.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from engine.delivery import observed
from engine.delivery.attempt import Rules
from engine.delivery.dispatcher import Definitions, Dispatcher, Surroundings
from engine.delivery.fences import Fences
from engine.delivery.intake import Intake, RetryIntake
from engine.delivery.lanes import Lanes, Slots
from engine.delivery.outcomes import LogWriter, Records
from engine.delivery.providers import Providers
from engine.delivery.senders import Sender
from engine.http import Health, Progress
from engine.kafka_client import client_options
from engine.ports import Gate
from engine.settings import Settings
from engine.tasks import spawn
from schemas.topics import RETRY_TIERS_MS, Lane, Topics

log = structlog.get_logger(__name__)

HOUSEKEEPING_S = 0.5
WRITTEN_WITHIN_S = 5.0
#: From the claim to the request: rendering, and a loop that is busy with others.
LEASE_MARGIN_MS = 3_000
#: A dead letter holds up to 64 KB of the record in base64.
PRODUCED_BATCH_BYTES = 512 << 10
PRODUCED_RECORD_BYTES_MAX = 1 << 20


class DeliveryWorker:
    """Delivery of one process. `run` returns when it was stopped, raises what was fatal.

    `senders` by device platform. `tiers_ms` are the waits behind the re-queue topics.
    """

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        definitions: Definitions,
        senders: Mapping[str, Sender],
        health: Health,
        *,
        tiers_ms: tuple[int, ...] = RETRY_TIERS_MS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        secret = settings.log_secret
        assert secret is not None, "the command requires log_secret"
        self._settings = settings
        self._health = health
        rules = Rules(
            attempts_max=settings.attempts_max,
            lease_ms=int(settings.request_timeout_s * 1000) + LEASE_MARGIN_MS,
            tiers_ms=tiers_ms,
            log_clock=settings.clock == "log",
        )
        topics = Topics(settings.topic_prefix)
        records = Records(topics, secret.get_secret_value().encode(), rules)
        self._providers = Providers(senders, settings.request_timeout_s)
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=PRODUCED_BATCH_BYTES,
            max_request_size=PRODUCED_RECORD_BYTES_MAX,
            request_timeout_ms=30_000,
        )
        self._writer = LogWriter(self._producer)
        self._probe = AIOKafkaConsumer(**client_options(settings), group_id=None)
        fences = Fences(self._probe, topics.events)
        around = Surroundings(
            gate=gate,
            definitions=definitions,
            providers=self._providers,
            records=records,
            writer=self._writer,
            fences=fences,
            rules=rules,
            health=health,
            redis=settings.redis_address,
            jitter=jitter,
            fatal=self._fatal,
        )
        self._dispatcher = Dispatcher(
            around,
            Lanes(settings.lane_weights),
            Slots(settings.in_flight_max, self._providers.names),
        )
        self._intakes = self._make_intakes(topics, records.tier_topics, fences)
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self.progress = Progress("the delivery worker's loop", 60.0)

    @property
    def joined(self) -> bool:
        """Whether every group has given this process its partitions (maybe none)."""
        return all(intake.joined for intake in self._intakes)

    def queued(self, lane: Lane) -> int:
        """Deliveries of a lane that were read and not begun."""
        return self._dispatcher.depth(lane)

    def stop(self) -> None:
        """Ask `run` to end: finish what is being sent, commit, leave the groups."""
        self._stop.set()

    async def run(self) -> None:
        """Start everything, send until stopped. Raises what made going on impossible."""
        async with AsyncExitStack() as stack:
            await self._providers.start()
            stack.push_async_callback(self._providers.aclose)
            await self._producer.start()
            stack.push_async_callback(self._producer.stop)
            await self._probe.start()
            stack.push_async_callback(self._probe.stop)
            writing = spawn(self._writer.run(), "delivery-writer", self._fatal)
            stack.callback(writing.cancel)
            for intake in self._intakes:
                stack.push_async_callback(intake.stop)
            await asyncio.gather(*(intake.start() for intake in self._intakes))
            self._health.set("kafka", True)
            log.info("delivery_started", providers=self._providers.names)
            if not self._providers.names:
                log.warning("no_provider_configured", outcome="every delivery ends PROVIDER_ERROR")
            dispatching = spawn(self._dispatcher.run(), "dispatcher", self._fatal)
            stack.callback(dispatching.cancel)
            polling = [spawn(i.run(), "delivery-intake", self._fatal) for i in self._intakes]
            keeping = spawn(self._keep_house(), "housekeeping", self._fatal)
            await self._until_stopped()
            for task in (*polling, keeping):
                task.cancel()
            await asyncio.wait([*polling, keeping])
            await self._wind_down(writing)
        if self._failure is not None:
            raise self._failure
        log.info("delivery_stopped")

    async def _wind_down(self, writing: asyncio.Task[None]) -> None:
        """Nothing new is read. What is being sent ends and is written; leaving commits it."""
        self._dispatcher.stop()
        if self._failure is None:
            await self._dispatcher.drained(self._settings.stop_s)
        self._writer.close()
        await asyncio.wait([writing], timeout=WRITTEN_WITHIN_S)

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            self.progress.made()
            try:
                async with asyncio.timeout(0.5):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _fatal(self, error: BaseException) -> None:
        """Nothing is skipped: an unexpected error ends the process, its offsets uncommitted."""
        if self._failure is None:
            log.error("delivery_failed", error=repr(error))
            self._failure = error
        self._stop.set()

    def _make_intakes(
        self, topics: Topics, tier_topics: tuple[str, ...], fences: Fences
    ) -> list[Intake]:
        options = client_options(self._settings) | {
            "session_timeout_ms": int(self._settings.session_timeout_s * 1000),
            "heartbeat_interval_ms": int(self._settings.heartbeat_s * 1000),
        }
        group, window_max = f"{self._settings.group}.deliver", self._settings.window_max
        intakes: list[Intake] = [
            Intake(options, [topic], f"{group}.{lane}", self._dispatcher, window_max, lane, fences)
            for lane, topic in topics.lanes.items()
        ]
        retry = RetryIntake(
            options, tier_topics, f"{group}.retry", self._dispatcher, window_max, fences
        )
        return [*intakes, retry]

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await asyncio.gather(*(intake.commit() for intake in self._intakes))
            for intake in self._intakes:
                observed.uncommitted(intake.lane, intake.uncommitted_s)
            self._health.set("assignment", self.joined)
            for lane in Lane:
                observed.queued(lane, self.queued(lane))
            for provider, requests in self._providers.in_flight.items():
                observed.in_flight(provider, requests)
