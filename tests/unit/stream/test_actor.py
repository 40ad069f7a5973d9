"""How fetched batches become commits."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from engine.ports import START, Commit, CommitResult, Position
from engine.store.memory import MemoryStore
from engine.stream import actor as actor_module
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


class DueStore(CountingStore):
    """After each batch some timer is due, until it was asked which."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def commit(self, commit: Commit) -> CommitResult:
        result = await super().commit(commit)
        return result._replace(next_due=0 if commit.new.page else 1)

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        self.looks += 1
        return []


def make_log(count: int) -> Log:
    log = Log()
    for number in range(count):
        log.event(user_of(0), "Product Viewed", number)
    return log


def batch_of(log: Log, first: int, end: int, *, sought: bool = False) -> RecordBatch:
    records: list[Any] = log.records[first:end]
    return RecordBatch(records, first - 1, sought, 100)


async def open_actor(
    log: Log, store: MemoryStore, failures: list[BaseException], records_max: int = 100
) -> ShardActor:
    """The owner of an empty shard."""

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
    return actor


async def commits_of(
    log: Log, batches: Sequence[RecordBatch], *, records_max: int = 100
) -> list[int]:
    """Offer the batches at once; the offsets that were committed."""
    store = CountingStore()
    failures: list[BaseException] = []
    actor = await open_actor(log, store, failures, records_max)
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


async def looks_after(batches: int, failures: list[BaseException], enough: int) -> int:
    """How often due timers were looked for when batches came one by one, and then none."""
    log, store = make_log(batches), DueStore()
    actor = await open_actor(log, store, failures)
    for number in range(batches):
        actor.offer(batch_of(log, number, number + 1))
        await eventually(lambda: bool(failures) or actor.position == number)  # noqa: B023
    await eventually(lambda: bool(failures) or store.looks >= enough)
    looks = store.looks
    await actor.stop(1.0)
    return looks


async def test_batches_that_keep_coming_share_a_look_for_due_timers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actor_module, "POLL_EVERY_S", 60.0)
    failures: list[BaseException] = []
    assert await looks_after(5, failures, 1) == 1
    assert failures == []


async def test_due_timers_are_looked_for_when_no_batch_comes_any_more() -> None:
    failures: list[BaseException] = []
    assert await looks_after(2, failures, 2) == 2
    assert failures == []
