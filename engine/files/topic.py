"""A Kafka topic as a history: all its partitions up to the present head, merged by append time."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from engine.clock import monotonic_s
from engine.files.lines import Advance, no_advance
from engine.files.numbering import EVERYTHING, Span
from engine.files.problems import FileRefused, ProblemKind, Problems
from engine.files.reading import Batches, FileEvent, batch_of
from schemas.events import BadRecord, decode_event
from schemas.kinds import KIND_HEADER, header

CONNECT_WITHIN_S: Final = 10.0
#: Nothing for so long while there are records to come: the broker is away.
SILENT_MAX_S: Final = 30.0
_POLL_MS: Final = 1_000
#: Of one fetch; the fetcher holds at most one more of each partition, 1 MiB.
_RECORDS_MAX: Final = 5_000


class TopicUnreachableError(FileRefused):
    """No broker answers, or it stopped answering."""


class TopicMissingError(FileRefused):
    """There is no such topic."""


class _Partition:
    """One partition: what was read of it and not yet given out."""

    def __init__(self, number: int, end: int) -> None:
        self.number = number
        self.end = end
        self.done = False
        self.last_ms = 0
        self.position = 0
        self.events: list[FileEvent] = []


class TopicHistory:
    """The client events of a topic; made by `open_topic`.

    `records`: how many there are to read at most. `kinds` counts the engine's own records passed
    over, by kind. A record's place in `problems` is `topic[partition]:offset`.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, problems: Problems) -> None:
        self.records = 0
        self.kinds: Counter[str] = Counter()
        self._options = options
        self._topic = topic
        self._problems = problems
        self._span = EVERYTHING
        self._runner = asyncio.Runner()
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[_Partition] = []

    def start(self, span: Span) -> None:
        """Find where the range begins and where the topic ends now."""
        self._span = span
        self._runner.run(self._start())

    def stop(self) -> None:
        """Let go of the broker."""
        try:
            self._runner.run(self._stop())
        finally:
            self._runner.close()

    def batches(self, advance: Advance = no_advance) -> Batches:
        """By append time, made monotone within a partition; equal times by partition.

        `advance` gets the number of records read. Raises TopicUnreachableError.
        """
        while True:
            behind = [part for part in self._partitions if not part.done and not part.events]
            if behind:
                advance(self._runner.run(self._fetch(behind)))
                continue
            going = [part for part in self._partitions if not part.done]
            batch = _before(self._partitions, going)
            self._problems.events += len(batch)
            yield batch_of(batch)
            if not going:
                return

    async def _start(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._options, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
        )
        self._consumer = consumer
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                found = await self._places()
                await consumer.start()
                consumer.assign(found)
                await self._seek(consumer, found)
        except (KafkaError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {CONNECT_WITHIN_S:g} s"
            raise TopicUnreachableError(f"{self._topic}: Kafka: {reason}") from error

    async def _places(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(**self._options)
        await admin.start()
        try:
            # Asking for a topic by name could create it.
            if self._topic not in await admin.list_topics():
                raise TopicMissingError(f"there is no topic {self._topic}")
            (described,) = await admin.describe_topics([self._topic])
        finally:
            await admin.close()
        return [TopicPartition(self._topic, n) for n in range(len(described["partitions"]))]

    async def _seek(self, consumer: AIOKafkaConsumer, found: list[TopicPartition]) -> None:
        begins = await consumer.beginning_offsets(found)
        ends = await consumer.end_offsets(found)
        if self._span.from_ms is not None:
            at = await consumer.offsets_for_times(dict.fromkeys(found, self._span.from_ms))
            for place in found:
                moment = at[place]
                begins[place] = ends[place] if moment is None else moment.offset
        for place in found:
            part = _Partition(place.partition, ends[place])
            part.position = begins[place]
            part.done = part.position >= part.end
            consumer.seek(place, part.position)
            self.records += max(part.end - part.position, 0)
            self._partitions.append(part)

    async def _fetch(self, behind: list[_Partition]) -> int:
        """Read on in these partitions; the number of records passed."""
        assert self._consumer is not None
        deadline_s = monotonic_s() + SILENT_MAX_S
        places = {TopicPartition(self._topic, part.number): part for part in behind}
        passed = 0
        while not passed:
            try:
                found = await self._consumer.getmany(
                    *places, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX
                )
            except (KafkaError, OSError) as error:
                raise TopicUnreachableError(f"{self._topic}: Kafka: {error}") from error
            for place, part in places.items():
                for record in found.get(place, ()):
                    self._take(record, part)
                position = min(await self._consumer.position(place), part.end)
                passed += position - part.position
                part.position = position
                part.done = part.done or position >= part.end
            if monotonic_s() > deadline_s:
                raise TopicUnreachableError(f"{self._topic}: no record for {SILENT_MAX_S:g} s")
        return passed

    def _take(self, record: ConsumerRecord, part: _Partition) -> None:
        if part.done or record.offset >= part.end:
            return
        part.last_ms = max(part.last_ms, record.timestamp)
        if self._span.ended(part.last_ms):
            part.done = True
            return
        if not self._span.has(part.last_ms):
            return
        self._problems.rows += 1
        kind = header(record.headers, KIND_HEADER) if record.headers else None
        if kind is not None:
            self.kinds[kind.decode("ascii", "replace")] += 1
            return
        try:
            event = decode_event(record.value)
        except BadRecord as error:
            file = f"{self._topic}[{record.partition}]"
            self._problems.add(ProblemKind(error.reason), file, record.offset, error.detail)
            return
        part.events.append(FileEvent(part.last_ms, event, record.value))

    async def _stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()


@contextmanager
def open_topic(
    options: Mapping[str, Any], topic: str, *, problems: Problems, span: Span = EVERYTHING
) -> Iterator[TopicHistory]:
    """The history of a topic from the first record in `span` to the present head.

    `options`: how to reach Kafka, from `engine.kafka_client.client_options`. For code without a
    running event loop. Raises TopicMissingError, TopicUnreachableError.
    """
    history = TopicHistory(options, topic, problems)
    try:
        history.start(span)
        yield history
    finally:
        history.stop()


def _before(partitions: list[_Partition], going: list[_Partition]) -> list[FileEvent]:
    """What surely comes before anything still to be read, taken out and merged."""
    limit = min(((part.events[-1].a_ms, part.number) for part in going), default=None)
    merged: list[tuple[int, FileEvent]] = []
    for part in partitions:
        end = len(part.events)
        while limit is not None and end and (part.events[end - 1].a_ms, part.number) > limit:
            end -= 1
        merged += [(part.number, found) for found in part.events[:end]]
        del part.events[:end]
    merged.sort(key=lambda entry: (entry[1].a_ms, entry[0]))
    return [found for _, found in merged]
