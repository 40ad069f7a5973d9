"""The registry topic followed by one process: read to its end at the start, then tailed.

A groupless consumer: every process reads all of it, nothing is committed. aiokafka reconnects by
itself; what it cannot mend ends the consumer, and the tail starts a new one where it stopped.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from engine.clock import monotonic_s
from engine.registry.connect import KafkaUnreachableError, close, connect
from engine.registry.history import Fate, History
from engine.registry.versions import RegistryVersion, Versions
from engine.tasks import spawn
from triggers.definition import TriggerDefinition
from triggers.program import Program

log = structlog.get_logger(__name__)

START_WITHIN_S = 30.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
POLL_MS = 1_000
#: A broker acknowledges the creation of a topic before every broker lists it.
TOPIC_WITHIN_S = 2.0
TOPIC_POLL_S = 0.05


class RegistryLostError(Exception):
    """The topic is no longer the one this process has read."""


class TopicMissingError(Exception):
    """There is no such topic, or this user may not see it."""


class RegistryTimeoutError(Exception):
    """The version did not arrive in time."""


class RegistryReader:
    """Follow `topic`. `options`: how to reach Kafka, from `engine.kafka_client.client_options`.

    `on_failure` gets what the tail cannot survive (`RegistryLostError`); from then on whoever waits
    for a version gets it too. One event loop; not safe across threads.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        *,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.history = History()
        self._versions = Versions(self.history)
        self._options = options
        self._partition = TopicPartition(topic, 0)
        self._on_failure = on_failure
        self._consumer: AIOKafkaConsumer | None = None
        self._tail: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._grew = asyncio.Event()

    async def start(self, timeout_s: float = START_WITHIN_S) -> None:
        """Read to the present end of the topic and go on tailing in the background.

        Raises KafkaUnreachableError, TopicMissingError, RegistryLostError when the start of the
        topic is gone, RegistryTimeoutError when the end was not reached in time.
        """
        deadline_s = monotonic_s() + timeout_s
        try:
            self._consumer = await connect(self._make_consumer, timeout_s)
            async with asyncio.timeout(max(deadline_s - monotonic_s(), 0)):
                await self._wait_topic(self._consumer)
                end = await self._seek(self._consumer)
                while self.history.position < end:
                    await self._read_some()
        except TimeoutError as error:
            await self.stop()
            raise RegistryTimeoutError(f"not read to its end within {timeout_s:g} s") from error
        except BaseException:
            await self.stop()
            raise
        self._tail = spawn(self._follow(), "registry-tail", self._failed)

    async def stop(self) -> None:
        """End the tail and the consumer; what was read stays readable."""
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.cancel()
            await asyncio.wait([tail])
        await self._disconnect()

    async def has_topic(self, name: str) -> bool:
        """Whether the cluster has this topic. Raises KafkaError, KafkaUnreachableError."""
        if self._consumer is None:
            raise KafkaUnreachableError("not connected to Kafka")
        return name in await self._consumer.topics()

    @property
    def latest(self) -> RegistryVersion | None:
        """The version accepted last as far as this process has read, None for none."""
        number = self.history.latest
        return self._versions.version(number) if number else None

    async def version(self, number: int, timeout_s: float) -> RegistryVersion:
        """Version `number`, waiting until this process has read that far. 0 is the empty version.

        Raises RegistryTimeoutError; UnknownVersionError when no version has that number;
        UnreadableDefinitionError; RegistryLostError when the tail has ended.
        """
        await self.read_up_to(number, timeout_s)
        return self._versions.version(number)

    async def read_up_to(self, number: int, timeout_s: float) -> None:
        """Wait until the entry that makes version `number` has been read. Raises as `version`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.history.position < number:
                    if self._failure is not None:
                        raise self._failure
                    await self._grew.wait()
        except TimeoutError as error:
            raise RegistryTimeoutError(
                f"version {number} not read within {timeout_s:g} s"
            ) from error

    def program(self, number: int) -> Program:
        """A version that was read, compiled. Raises UnknownVersionError,
        UnreadableDefinitionError."""
        return self._versions.program(number)

    def definition(self, trigger_id: str, revision: int) -> TriggerDefinition | None:
        """Any revision that was read, current or not. Raises UnreadableDefinitionError."""
        return self._versions.definition(trigger_id, revision)

    async def _follow(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                if self._consumer is None:
                    self._consumer = await connect(self._make_consumer, BACKOFF_MAX_S)
                    await self._wait_topic(self._consumer)
                    await self._seek(self._consumer)
                await self._read_some()
                backoff_s = BACKOFF_FIRST_S
            except OffsetOutOfRangeError as error:
                raise RegistryLostError(
                    f"{self._partition.topic} no longer has offset {self.history.position}"
                ) from error
            except (
                KafkaError,
                KafkaUnreachableError,
                TopicMissingError,
                OSError,
                TimeoutError,
            ) as error:
                # A broker that has just come back may not know its topics yet, so not even a
                # missing one ends the tail.
                log.warning(
                    "registry_tail_restarted",
                    topic=self._partition.topic,
                    position=self.history.position,
                    again_in_s=backoff_s,
                    error=repr(error),
                )
                await self._disconnect()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _wait_topic(self, consumer: AIOKafkaConsumer) -> None:
        deadline_s = monotonic_s() + TOPIC_WITHIN_S
        topic = self._partition.topic
        while topic not in await consumer.topics():
            if monotonic_s() > deadline_s:
                raise TopicMissingError(f"there is no topic {topic}")
            await asyncio.sleep(TOPIC_POLL_S)

    async def _seek(self, consumer: AIOKafkaConsumer) -> int:
        """Go to where reading stopped; the present end offset."""
        topic = self._partition.topic
        consumer.assign([self._partition])
        position = self.history.position
        begin = (await consumer.beginning_offsets([self._partition]))[self._partition]
        end: int = (await consumer.end_offsets([self._partition]))[self._partition]
        if not begin <= position <= end:
            raise RegistryLostError(
                f"{topic} holds offsets {begin} to {end}, but {position} is next: "
                "it was deleted and made again, or lost records"
            )
        consumer.seek(self._partition, position)
        return end

    def _make_consumer(self) -> AIOKafkaConsumer:
        # With "none" a lost offset is an error; any other policy would jump over it in silence.
        return AIOKafkaConsumer(
            **self._options, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
        )

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close(consumer)

    async def _read_some(self) -> None:
        assert self._consumer is not None
        batches = await self._consumer.getmany(timeout_ms=POLL_MS)
        for record in batches.get(self._partition, ()):
            self._take(record)
        if batches:
            grew, self._grew = self._grew, asyncio.Event()
            grew.set()

    def _take(self, record: ConsumerRecord) -> None:
        read = self.history.feed(record.offset, record.key, record.value)
        if read.fate is Fate.ACCEPTED:
            log.info("registry_version_read", registry=read.number)
        elif read.fate is Fate.VOID:
            log.info("registry_manifest_void", offset=record.offset, why=read.why)
        elif read.fate is Fate.MALFORMED:
            log.warning("registry_entry_malformed", offset=record.offset, why=read.why)

    def _failed(self, error: BaseException) -> None:
        self._failure = error
        self._grew.set()
        if self._on_failure is not None:
            self._on_failure(error)
