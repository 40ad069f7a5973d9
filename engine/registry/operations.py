"""Apply, pause, resume and read, as the command line and the API use them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from engine.clock import now_ms
from engine.kafka_client import client_options
from engine.registry.changes import (
    Plan,
    documents_by_kind,
    plan_abort,
    plan_apply,
    plan_pause,
    plan_promote,
    plan_resume,
)
from engine.registry.connect import close, connect
from engine.registry.entries import Manifest
from engine.registry.reader import RegistryReader, TopicMissingError
from engine.registry.writer import activate, append_apply
from engine.settings import Settings
from schemas.topics import Topics
from triggers.definition import Policy, TriggerDefinition
from triggers.shared import NO_DOCUMENTS, Documents

REQUEST_BYTES_MAX = 4 * 1024 * 1024


class ConflictError(Exception):
    """Somebody else's version was accepted first; nothing of this apply is in force."""


class Applied(NamedTuple):
    """`number`: the version now in force; `partitions` of the log were told, 0 for a dry run."""

    plan: Plan
    number: int
    partitions: int


@dataclass(slots=True)
class Signature:
    """Who makes a version and why; kept with it."""

    by: str
    message: str = ""


#: In a log that keeps its records' own time an activation must not move that time: every shard
#: takes the later of this and its watermark. Idle triggers count from here, not from the present.
LOG_CLOCK_MS = 1


class WritableRegistry:
    """A registry that may be changed, read to its end when it was opened; see `open_to_write`.

    Beside what they name, methods raise KafkaError, TimeoutError or RegistryTimeoutError when Kafka
    goes away meanwhile; then the change may be registered all the same, and doing it again is
    right.
    """

    def __init__(
        self,
        reader: RegistryReader,
        topics: Topics,
        timeout_s: float,
        producer: AIOKafkaProducer,
        secret: bytes,
        *,
        log_clock: bool = False,
    ) -> None:
        self.reader = reader
        self._topics = topics
        self._timeout_s = timeout_s
        self._producer = producer
        self._secret = secret
        self._log_clock = log_clock

    def plan(
        self,
        triggers: Mapping[str, TriggerDefinition],
        policies: Mapping[str, Policy],
        documents: Documents = NO_DOCUMENTS,
        *,
        prune: bool = False,
        cancel_pending: bool = False,
        canary_share: int = 0,
    ) -> Plan:
        """What applying these definitions would change; see `plan_apply`."""
        registered_ms = LOG_CLOCK_MS if self._log_clock else now_ms()
        history = self.reader.history
        return plan_apply(
            history,
            triggers,
            policies,
            documents,
            prune=prune,
            now_ms=registered_ms,
            cancel_pending=cancel_pending,
            canary_share=canary_share,
        )

    async def pause(self, trigger_id: str, signature: Signature) -> Applied:
        """Raises NotRegisteredError, WrongStateError, ConflictError."""
        return await self.put_in_force(plan_pause(self.reader.history, trigger_id), signature)

    async def resume(self, trigger_id: str, signature: Signature) -> Applied:
        """Raises NotRegisteredError, WrongStateError, ConflictError."""
        return await self.put_in_force(plan_resume(self.reader.history, trigger_id), signature)

    async def promote(self, trigger_id: str, signature: Signature) -> Applied:
        """Raises NotRegisteredError, WrongStateError, ConflictError."""
        return await self.put_in_force(plan_promote(self.reader.history, trigger_id), signature)

    async def abort(self, trigger_id: str, signature: Signature) -> Applied:
        """Raises NotRegisteredError, WrongStateError, ConflictError."""
        return await self.put_in_force(plan_abort(self.reader.history, trigger_id), signature)

    async def put_in_force(self, plan: Plan, signature: Signature) -> Applied:
        """Write the plan and activate it. Raises ConflictError.

        A plan without changes activates the version it was made from again: that finishes an apply
        that died between its manifest and its activation.
        """
        number = await self.write(plan, signature) if plan.changes else plan.base
        return Applied(plan, number, await self.activate(number) if number else 0)

    async def write(self, plan: Plan, signature: Signature) -> int:
        """Make the plan a version, not active yet; its number. Raises ConflictError."""
        manifest = Manifest(
            base=plan.base,
            by=signature.by,
            at_ms=now_ms(),
            message=signature.message,
            triggers=plan.contents.triggers,
            policies=plan.contents.policies,
            documents=documents_by_kind(plan.contents),
            cancelled_to=plan.contents.cancelled_to,
        )
        async with asyncio.timeout(self._timeout_s):
            number = await append_apply(
                self._producer, self._topics.registry, uuid4().hex, plan.bodies, manifest
            )
        await self.reader.read_up_to(number, self._timeout_s)
        if number not in self.reader.history:
            raise ConflictError(
                f"version {self.reader.history.latest} was registered meanwhile: "
                "nothing was changed, run the command again"
            )
        return number

    async def activate(self, number: int) -> int:
        """Tell every shard; how many there are."""
        async with asyncio.timeout(self._timeout_s):
            return await activate(
                self._producer,
                self._topics.events,
                self._secret,
                number,
                LOG_CLOCK_MS if self._log_clock else None,
            )


@asynccontextmanager
async def open_to_read(settings: Settings, timeout_s: float) -> AsyncIterator[RegistryReader]:
    """A reader that has read the topic to its end. Raises what `RegistryReader.start` raises."""
    reader = RegistryReader(client_options(settings), Topics(settings.topic_prefix).registry)
    await reader.start(timeout_s)
    try:
        yield reader
    finally:
        await reader.stop()


@asynccontextmanager
async def open_to_write(settings: Settings, timeout_s: float) -> AsyncIterator[WritableRegistry]:
    """The registry with a producer. Raises what `RegistryReader.start` raises, TopicMissingError
    also when there is no log, and ValueError without a log secret."""
    if settings.log_secret is None:
        raise ValueError("changing the registry needs the log secret")
    secret = settings.log_secret.get_secret_value().encode()
    topics = Topics(settings.topic_prefix)
    async with open_to_read(settings, timeout_s) as reader:
        # Asked before anything is written: a version that cannot be activated helps nobody.
        if not await reader.has_topic(topics.events):
            raise TopicMissingError(f"there is no topic {topics.events}")
        producer = await connect(lambda: _make_producer(settings), timeout_s)
        try:
            yield WritableRegistry(
                reader, topics, timeout_s, producer, secret, log_clock=settings.clock == "log"
            )
        finally:
            await close(producer)


def _make_producer(settings: Settings) -> AIOKafkaProducer:
    # The manifest of a full workspace (10,000 triggers, 1,000 policies, long names) is larger than
    # the 1 MiB that brokers take by default. They count compressed bytes, the client plain ones.
    return AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        compression_type="gzip",
        max_request_size=REQUEST_BYTES_MAX,
    )
