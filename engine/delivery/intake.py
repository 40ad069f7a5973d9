"""Reading deliveries: one consumer for each lane, so that a full low lane never stops a high one.

- `Intake` follows a group's partitions: decodes, queues, commits what is finished without a gap.
  It always polls; a partition with too much unfinished is paused instead.
- `RetryIntake` is the one for the re-queue: a partition is paused while deliveries of it that were
  read are not due yet, and due ones join the lane they came from.

Queue depth is judged by the lane; re-queued deliveries are bounded by their own windows only, so
that a full lane does not keep a re-queued delivery of another lane waiting.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Protocol

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from engine import clock
from engine.delivery.fences import Fence, Fences
from engine.delivery.offsets import Window
from engine.delivery.outcomes import is_uncertain
from schemas.deliveries import Delivery, decode_delivery
from schemas.topics import Lane

log = structlog.get_logger(__name__)

POLL_MS = 100
POLL_RECORDS_MAX = 500
#: A partition that is read late waits for the fetch of the others to end, as long as this.
FETCH_WAIT_MS = 100
#: What a paused partition has read ahead is thrown away and fetched again: keep it small.
FETCH_BYTES_MAX = 256 << 10
#: Deliveries waiting in a lane at which its consumer stops reading; it goes on at half.
LANE_MAX = 4_000
#: How long a rebalance waits for what is being sent, so that the next owner need not ask again.
REVOKE_S = 2.0
COMMIT_S = 5.0


@dataclass(slots=True, eq=False)
class Item:
    """One delivery that was read: `done` makes its offset count as finished."""

    delivery: Delivery
    window: Window
    offset: int
    uncertain: bool

    def done(self) -> None:
        """Finished for good: nothing of it is lost when it is not read again."""
        self.window.active -= 1
        self.window.done(self.offset)


class Queue(Protocol):
    """Where deliveries go."""

    def put(self, item: Item) -> None:
        """Queue a delivery."""

    def depth(self, lane: Lane) -> int:
        """Deliveries waiting in a lane."""

    def refuse(self, record: ConsumerRecord, detail: str, done: Callable[[], None]) -> None:
        """A record that is no delivery: `done` is called once its dead letter is written."""


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]
    """Deliveries of one lane. `run` polls until cancelled; `stop` commits and leaves the group."""

    def __init__(
        self,
        options: Mapping[str, Any],
        topics: Iterable[str],
        group: str,
        queue: Queue,
        window_max: int,
        lane: Lane | None,
        fences: Fences,
    ) -> None:
        self._topics = list(topics)
        self._queue = queue
        self._fences = fences
        self._window_max = window_max
        self._records_max = min(POLL_RECORDS_MAX, window_max)
        self._lane = lane
        self._consumer = AIOKafkaConsumer(
            **options,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        self._windows: dict[TopicPartition, Window] = {}
        self._fenced: dict[TopicPartition, Fence] = {}
        self._fenced_off = asyncio.Event()
        self._committed: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._lane_full = False
        self._joined = False
        self._uncommitted_from_s: float | None = None

    @property
    def joined(self) -> bool:
        """Whether the group has given this process its partitions (maybe none) yet."""
        return self._joined

    @property
    def lane(self) -> Lane | None:
        """None: the re-queue topics."""
        return self._lane

    @property
    def uncommitted_s(self) -> float:
        """For how long commits have failed."""
        since_s = self._uncommitted_from_s
        return 0.0 if since_s is None else clock.monotonic_s() - since_s

    async def start(self) -> None:
        """Connect and join the group. Raises KafkaError."""
        self._consumer.subscribe(topics=self._topics, listener=self)
        await self._consumer.start()

    async def run(self) -> None:
        """Poll until cancelled. Raises what Kafka raises for good."""
        while True:
            found = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=self._records_max)
            windows = self._windows
            await self._fenced_off.wait()
            if self._windows is not windows:
                continue  # what was found is read again by whoever has it now
            for tp, records in found.items():
                window = self._windows.get(tp)
                if window is not None:
                    self._take(tp, window, records)
            self._balance()

    async def commit(self) -> None:
        """Commit what is finished. Failing in a rebalance is no fault: the gate knows what went."""
        offsets = {}
        for tp, window in self._windows.items():
            offset = window.committable
            if offset is not None and offset != self._committed.get(tp):
                offsets[tp] = offset
        if not offsets:
            self._uncommitted_from_s = None
            return
        if self._uncommitted_from_s is None:
            self._uncommitted_from_s = clock.monotonic_s()
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.info("offsets_not_committed", topics=self._topics, error=repr(error))
        else:
            self._committed.update(offsets)
            self._uncommitted_from_s = None

    async def stop(self) -> None:
        """Commit and leave the group."""
        await self.commit()
        for window in self._windows.values():
            window.close()
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is being sent, commit, and let go of the rest."""
        for window in self._windows.values():
            window.leaving = True
        deadline_s = clock.monotonic_s() + REVOKE_S
        while any(window.active for window in self._windows.values()):
            if clock.monotonic_s() > deadline_s:
                break
            await asyncio.sleep(0.01)
        await self.commit()
        for window in self._windows.values():
            window.close()
        self._forget()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the group stands."""
        windows = self._windows = {tp: Window() for tp in assigned}
        # Now, not at the first record: what arrives meanwhile would count as what stood there.
        fenced = await self._fences.build(windows) if windows else {}
        if self._windows is windows:
            self._fenced = dict(fenced)
            self._fenced_off.set()
        self._joined = True
        log.info("lanes_assigned", topics=self._topics, partitions=len(self._windows))

    def _forget(self) -> None:
        self._windows = {}
        self._fenced = {}
        self._fenced_off.clear()
        self._committed = {}
        self._paused = set()

    def _take(self, tp: TopicPartition, window: Window, records: list[ConsumerRecord]) -> None:
        for record in records:
            window.read(record.offset)
            self._fences.read(record)
            self._accept(tp, window, record)

    def _accept(self, tp: TopicPartition, window: Window, record: ConsumerRecord) -> None:
        """Queue a record that was read."""
        delivery, fault = _decode(record)
        if delivery is not None:
            fence = self._fenced[tp]
            if record.offset < fence.new_from:
                delivery.after = max(delivery.after, fence.after)
            self._queue.put(Item(delivery, window, record.offset, is_uncertain(record)))
        else:
            self._queue.refuse(record, fault, lambda: window.done(record.offset))

    def _balance(self) -> None:
        """Pause what has enough unfinished, resume what is down to half of it."""
        if self._lane is not None:
            depth = self._queue.depth(self._lane)
            self._lane_full = depth > (LANE_MAX // 2 if self._lane_full else LANE_MAX)
        paused = {tp for tp, window in self._windows.items() if self._must_wait(tp, window)}
        if paused == self._paused:
            return
        self._consumer.pause(*(paused - self._paused))
        self._consumer.resume(*(self._paused - paused))
        self._paused = paused

    def _must_wait(self, tp: TopicPartition, window: Window) -> bool:
        bound = self._window_max // 2 if tp in self._paused else self._window_max
        return self._lane_full or len(window) >= max(bound, 1)


class RetryIntake(Intake):
    """Deliveries put back for later."""

    def __init__(
        self,
        options: Mapping[str, Any],
        topics: Iterable[str],
        group: str,
        queue: Queue,
        window_max: int,
        fences: Fences,
    ) -> None:
        super().__init__(options, topics, group, queue, window_max, None, fences)
        #: Heaps of (not before, offset, record): a longer wait holds up no shorter one.
        self._held: dict[TopicPartition, list[tuple[int, int, ConsumerRecord]]] = {}

    def _take(self, tp: TopicPartition, window: Window, records: list[ConsumerRecord]) -> None:
        held = self._held.setdefault(tp, [])
        for record in records:
            window.read(record.offset)
            delivery, _ = _decode(record)
            due_ms = delivery.not_before_ms if delivery else 0
            heappush(held, (due_ms, record.offset, record))

    def _balance(self) -> None:
        now_ms = clock.now_ms()
        for tp, held in self._held.items():
            while held and held[0][0] <= now_ms:
                self._accept(tp, self._windows[tp], heappop(held)[2])
        super()._balance()

    def _must_wait(self, tp: TopicPartition, window: Window) -> bool:
        return bool(self._held.get(tp)) or super()._must_wait(tp, window)

    def _forget(self) -> None:
        super()._forget()
        self._held = {}


def _decode(record: ConsumerRecord) -> tuple[Delivery | None, str]:
    """The delivery, or None and what is wrong with the record."""
    try:
        delivery = decode_delivery(record.value)
    except msgspec.DecodeError as error:
        return None, str(error)
    if delivery.shard != record.partition:
        return None, f"a delivery of shard {delivery.shard} on partition {record.partition}"
    if delivery.lane not in _LANES:
        return None, f"there is no lane {delivery.lane}"
    return delivery, ""


_LANES = frozenset(Lane)
