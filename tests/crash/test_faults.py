"""Each scenario: load, faults, recovery, rest, and the whole check of `tests.crash.checker`.

The numbers of a run are printed as one line (`pytest -s`).
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine import clock
from engine.local.kafka import KafkaBroker
from engine.local.redis import RedisServer
from tests.crash.findings import Allowance
from tests.crash.harness import IN_FLIGHT_MAX, RATE, World, world
from tests.crash.redelivery import copy_deliveries, copy_outcomes, rewind_lanes
from tests.crash.triggers import LEFT_WAIT_MS, OFFER_ID
from tests.services import FreshKafka, FreshRedis

pytestmark = [pytest.mark.crash, pytest.mark.service, pytest.mark.timeout(420)]

SECOND = RATE


@pytest.fixture
async def running(
    kafka: KafkaBroker, fresh_redis: FreshRedis, tmp_path: Path, topic_prefix: str
) -> AsyncIterator[World]:
    """A world on the session's broker and a Redis of its own. Not started."""
    async with world(kafka, fresh_redis(), tmp_path, topic_prefix) as made:
        yield made


async def test_without_faults_everything_is_decided_and_sent_once(running: World) -> None:
    await running.start()
    await running.start_load(seed=1)
    await running.grown(10 * SECOND)
    found = await running.finish()
    assert found.merges, "nobody had two profiles"
    # A slow start may outlast the time before the hours open.
    closed_ms = running.opens_ms - running.loaded_ms
    assert found.held or closed_ms < 5_000, "nothing was held"
    assert set(found.ghosts) == {"CONTROL", "GLOBAL_CONTROL"}, "a control group is empty"
    assert found.refused["LOWER_PRIORITY"], "nothing competed"
    assert found.only_for["category"], "no cap of a category was reached"


async def test_workers_killed_at_every_failpoint_change_nothing(running: World) -> None:
    """Before and after commit, publish and trim; two at a time, so that nobody is left."""
    rounds = [
        ("before_commit:40", "after_commit:50"),
        ("before_publish:30", "after_publish:30"),
        ("before_trim:30", "after_trim:30"),
    ]
    await running.start(failpoints=rounds[0])
    await running.start_load(seed=2)
    for following in (*rounds[1:], ("", "")):
        await asyncio.gather(*(worker.died() for worker in running.workers))
        killed_s = clock.monotonic_s()
        for worker, failpoint in zip(running.workers, following, strict=True):
            worker.start(failpoint)
    await running.recovered(killed_s)
    await running.finish()


async def test_a_worker_paused_beyond_its_session_comes_back_as_a_zombie(running: World) -> None:
    await running.start()
    await running.start_load(seed=3)
    await running.grown(3 * SECOND)
    zombie = running.workers[0]
    zombie.child.pause()
    await running.recovered()  # only the other one can have decided the zombie's shards
    zombie.child.resume()
    await running.grown(4 * SECOND)
    await running.recovered()
    await running.finish()


async def test_restarts_new_versions_and_records_read_twice_change_nothing(
    running: World,
) -> None:
    """Every process is replaced in turn; deliveries and outcomes are written again while all is
    live; and while its sender is away every lane is set back to its start."""
    await running.start()
    await running.start_load(seed=4)
    await running.grown(3 * SECOND)
    await running.pause(OFFER_ID)
    await copy_deliveries(running.settings, 500)
    await copy_outcomes(running.settings, 500)
    for worker in running.workers:
        await worker.stop()
        worker.start()
        await worker.ready()
    await running.resume(OFFER_ID)
    (sender,) = running.senders
    await sender.stop()
    await rewind_lanes(running.settings)
    sender.start()
    await running.grown(2 * SECOND)
    await running.recovered()
    await running.finish(Allowance(paused=True))


async def test_redis_killed_and_restarted_from_its_file_loses_nothing(running: World) -> None:
    await running.start()
    await running.start_load(seed=5)
    await running.grown(4 * SECOND)
    running.redis.kill()
    killed_s = clock.monotonic_s()
    await running.grown(3 * SECOND)
    await running.redis.start_async()
    await running.recovered(killed_s)
    await running.grown(3 * SECOND)
    await running.finish()


async def test_redis_rolled_back_to_a_stale_replica_sends_nothing_twice(
    running: World, fresh_redis: FreshRedis
) -> None:
    await running.start()
    await running.start_load(seed=6)
    replica = fresh_redis(replica_of=running.redis)
    await running.grown(4 * SECOND)
    replica.promote()  # from here on it knows nothing new
    await running.grown(5 * SECOND)
    running.redis.kill()
    killed_s = clock.monotonic_s()
    await replica.stop_async()
    with RedisServer(replica.directory, port=running.redis.port):
        await running.recovered(killed_s)
        await running.grown(7 * SECOND)  # long enough to be sent a fifth one
        found = await running.finish(Allowance(rolled_back=True))
    assert found.again > 0, "nothing was decided again: the store was not rolled back"
    assert found.only_for["day"], "nobody has had all of a day"


async def test_a_killed_and_restarted_broker_loses_nothing(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, tmp_path: Path, topic_prefix: str
) -> None:
    broker = fresh_kafka()
    async with world(broker, fresh_redis(), tmp_path, topic_prefix) as running:
        await running.start()
        await running.start_load(seed=7)
        await running.grown(5 * SECOND)
        broker.kill()
        killed_s = clock.monotonic_s()
        await broker.start_async()
        await running.recovered(killed_s)
        await running.grown(4 * SECOND)
        await running.finish(rate=False)


async def test_cancels_unread_in_a_backlog_still_cancel(running: World) -> None:
    """Nobody decides for three times the longest wait; starts and their cancels pile up."""
    await running.start()
    await running.start_load(seed=8)
    await running.grown(3 * SECOND)
    for worker in running.workers:
        await worker.stop()
    await running.grown(3 * LEFT_WAIT_MS * SECOND // 1000)
    for worker in running.workers:
        worker.start()
    await running.recovered()
    await running.finish()


async def test_a_killed_sender_sends_nothing_twice(running: World) -> None:
    """What was claimed and not ended is at most what may be in flight, and ends UNKNOWN."""
    await running.start(senders=2)
    await running.start_load(seed=9)
    await running.grown(SECOND)
    for failpoints in (("before_send:60", "after_send:60"), ("", "")):
        for sender, failpoint in zip(running.senders, failpoints, strict=True):
            sender.kill()
            sender.start(failpoint)
        if any(failpoints):
            await asyncio.gather(*(sender.died() for sender in running.senders))
    await running.grown(4 * SECOND)
    await running.finish(Allowance(in_flight_max=4 * IN_FLIGHT_MAX))
