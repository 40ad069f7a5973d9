"""How fetched batches become commits."""

from collections.abc import Sequence
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from faust.types import TP

from engine.ports import START, Commit, CommitResult, Position
from engine.store.memory import MemoryStore
from engine.stream.actor import ShardActor, Surroundings
from engine.stream.batches import RecordBatch
from engine.stream.shard import ShardSettings
from schemas.topics import Topics
from tests.unit.stream.builders import PARTITIONS, SECRET, FixedPrograms, Log, user_of
from tests.waiting import eventually


class CountingStore(MemoryStore):
    """Notes where each commit leads."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: list[int] = []

    async def commit(self, commit: Commit) -> CommitResult:
        self.offsets.append(commit.new.offset)
        return await super().commit(commit)


def make_log(count: int) -> Log:
    log = Log()
    for number in range(count):
        log.event(user_of(0), "Product Viewed", number)
    return log


def batch_of(log: Log, first: int, end: int, *, sought: bool = False) -> RecordBatch:
    records: list[Any] = log.records[first:end]
    return RecordBatch(records, first - 1, sought, 100)


async def commits_of(
    log: Log, batches: Sequence[RecordBatch], *, records_max: int = 100
) -> list[int]:
    """Offer the batches at once; the offsets that were committed."""
    store = CountingStore()
    failures: list[BaseException] = []

    async def bounds(_: TP) -> tuple[int, int]:
        return 0, len(log.records)

    async def published(_: TP) -> Position:
        return START

    async def next_offset(_: TP, offset: int) -> int | None:
        return offset

    async def seek(_: TP, __: int) -> None:
        raise AssertionError("nothing is missing")

    around = Surroundings(
        store=store,
        programs=FixedPrograms(),
        producer=cast(AIOKafkaProducer, None),  # nothing is published
        settings=ShardSettings(PARTITIONS, Topics(), SECRET),
        batch_records_max=records_max,
        queue_bytes_max=1 << 20,
        outbox_entries_max=10,
        seek=seek,
        next_offset=next_offset,
        bounds=bounds,
        published=published,
        full=lambda _: None,
        drained=lambda _: None,
        fatal=failures.append,
    )
    actor = ShardActor(TP("events", 0), around)
    await actor.open(None)
    for batch in batches:
        actor.offer(batch)
    last = len(log.records) - 1
    await eventually(lambda: bool(failures) or actor.position == last)
    await actor.stop(1.0)
    assert failures == []
    return store.offsets


async def test_batches_that_waited_together_are_one_commit() -> None:
    log = make_log(9)
    batches = [batch_of(log, 0, 2), batch_of(log, 2, 3), batch_of(log, 3, 9)]
    assert await commits_of(log, batches) == [8]


async def test_a_commit_takes_no_more_records_than_it_may() -> None:
    log = make_log(9)
    batches = [batch_of(log, start, start + 3) for start in (0, 3, 6)]
    assert await commits_of(log, batches, records_max=6) == [5, 8]


async def test_a_batch_after_a_seek_is_looked_at_by_itself() -> None:
    log = make_log(6)
    batches = [batch_of(log, 0, 3), batch_of(log, 3, 6, sought=True)]
    assert await commits_of(log, batches) == [2, 5]
