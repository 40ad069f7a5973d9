"""Long runs: random faults one after the other, for TRIPLINE_SOAK_S seconds in all.

Each iteration is a world of its own (fresh Kafka, fresh Redis, its own seed) that is broken again
and again under load and then checked like every scenario. One line per iteration says what was done
and what was found (`pytest -s`).
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine import clock
from engine.local.redis import RedisServer
from tests.crash.findings import Allowance
from tests.crash.harness import IN_FLIGHT_MAX, RATE, World, world
from tests.crash.redelivery import copy_deliveries, copy_outcomes, rewind_lanes
from tests.crash.roles import Role
from tests.services import FreshKafka, FreshRedis

pytestmark = [pytest.mark.soak, pytest.mark.crash, pytest.mark.service]

SOAK_S = float(os.environ.get("TRIPLINE_SOAK_S", "300"))
FAULTS_PER_ITERATION = 4
SECOND = RATE
WORKER_FAILPOINTS = (
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
    "before_trim",
    "after_trim",
)


class Nemesis:
    """Breaks a world in the ways it knows. `done`: how, how long, and until
    all was decided again. `sender_kills`: how many senders died."""

    def __init__(self, made: World, chance: random.Random) -> None:
        self._world = made
        self._chance = chance
        self.done: list[str] = []
        self.sender_kills = 0
        self._faults: list[Callable[[], Awaitable[None]]] = [
            self.kill_worker,
            self.kill_worker_at_a_failpoint,
            self.kill_all_workers,
            self.pause_worker,
            self.replace_worker,
            self.kill_redis,
            self.restart_broker,
            self.kill_sender,
            self.write_again,
            self.leave_a_backlog,
        ]

    async def strike(self) -> None:
        """One fault, and recovery from it."""
        fault = self._chance.choice(self._faults)
        began_s = clock.monotonic_s()
        await fault()
        struck_s = clock.monotonic_s()
        took_s = await self._world.recovered()
        self.done.append(f"{fault.__name__} ({struck_s - began_s:.0f} s, {took_s:.0f} s)")

    def _worker(self) -> Role:
        return self._chance.choice(self._world.workers)

    async def kill_worker(self) -> None:
        worker = self._worker()
        worker.kill()
        worker.start()

    async def kill_worker_at_a_failpoint(self) -> None:
        worker = self._worker()
        await worker.stop()
        failpoint = self._chance.choice(WORKER_FAILPOINTS)
        worker.start(f"{failpoint}:{self._chance.randrange(1, 60)}")
        await worker.died()
        worker.start()

    async def kill_all_workers(self) -> None:
        for worker in self._world.workers:
            worker.kill()
        await self._world.grown(SECOND)
        for worker in self._world.workers:
            worker.start()

    async def pause_worker(self) -> None:
        worker = self._worker()
        worker.child.pause()
        await self._world.recovered()
        worker.child.resume()

    async def replace_worker(self) -> None:
        worker = self._worker()
        await worker.stop()
        worker.start()

    async def kill_redis(self) -> None:
        self._world.redis.kill()
        await self._world.grown(self._chance.randrange(1, 4) * SECOND)
        await self._world.redis.start_async()

    async def restart_broker(self) -> None:
        if self._chance.random() < 0.5:
            self._world.kafka.kill()
            await self._world.kafka.start_async()
        else:
            await self._world.kafka.restart_async()

    async def kill_sender(self) -> None:
        sender = self._chance.choice(self._world.senders)
        self.sender_kills += 1
        if self._chance.random() < 0.5:
            sender.kill()
        else:
            await sender.stop()
            where = self._chance.choice(("before_send", "after_send"))
            sender.start(f"{where}:{self._chance.randrange(1, 80)}")
            await sender.died()
        sender.start()

    async def write_again(self) -> None:
        await copy_deliveries(self._world.settings, 300)
        await copy_outcomes(self._world.settings, 300)

    async def leave_a_backlog(self) -> None:
        for worker in self._world.workers:
            await worker.stop()
        await self._world.grown(self._chance.randrange(5, 12) * SECOND)
        for worker in self._world.workers:
            worker.start()


async def test_random_faults_for_a_long_time_change_nothing(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, tmp_path: Path
) -> None:
    began_s = clock.monotonic_s()
    seed = int(os.environ.get("TRIPLINE_SOAK_SEED", random.SystemRandom().randrange(1 << 30)))
    while clock.monotonic_s() - began_s < SOAK_S:
        directory = tmp_path / str(seed)
        directory.mkdir()
        broker, redis = fresh_kafka(), fresh_redis()
        async with world(broker, redis, directory, f"soak{seed}-") as made:
            nemesis = Nemesis(made, random.Random(seed))
            print(f"\nseed {seed}")
            await made.start(senders=2)
            await made.start_load(seed)
            await made.grown(2 * SECOND)
            for _ in range(FAULTS_PER_ITERATION):
                await nemesis.strike()
            print(f"seed {seed}: {', '.join(nemesis.done)}")
            allowance = Allowance(in_flight_max=nemesis.sender_kills * IN_FLIGHT_MAX)
            await made.finish(allowance, rate=False)
        await redis.stop_async()
        await broker.stop_async()
        seed += 1


async def test_redis_rolled_back_again_and_again_sends_nothing_twice(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, tmp_path: Path
) -> None:
    """Each time to a replica that knows nothing of the last few seconds, with workers that live,
    die or are replaced meanwhile."""
    began_s = clock.monotonic_s()
    seed = int(os.environ.get("TRIPLINE_SOAK_SEED", random.SystemRandom().randrange(1 << 30)))
    while clock.monotonic_s() - began_s < SOAK_S:
        chance = random.Random(seed)
        directory = tmp_path / f"back-{seed}"
        directory.mkdir()
        broker, redis = fresh_kafka(), fresh_redis()
        print(f"\nseed {seed}")
        async with world(broker, redis, directory, f"back{seed}-") as made:
            with ExitStack() as servers:
                await made.start()
                await made.start_load(seed)
                for _ in range(2):
                    await _roll_back(made, fresh_redis, chance, servers)
                await made.grown(2 * SECOND)
                await made.finish(Allowance(rolled_back=True), rate=False)
        await broker.stop_async()
        seed += 1


async def _roll_back(
    made: World, fresh_redis: FreshRedis, chance: random.Random, servers: ExitStack
) -> None:
    replica = fresh_redis(replica_of=made.redis)
    await made.grown(chance.randrange(1, 4) * SECOND)
    await asyncio.to_thread(replica.promote)
    await made.grown(chance.randrange(1, 6) * SECOND)
    worker = chance.choice(made.workers)
    dice = chance.random()
    if dice < 0.3:
        worker.kill()
    elif dice < 0.6:
        worker.child.pause()
    made.redis.kill()
    await replica.stop_async()
    made.redis = servers.enter_context(RedisServer(replica.directory, port=made.redis.port))
    if dice < 0.3:
        worker.start()
    elif dice < 0.6:
        await made.recovered()
        worker.child.resume()
    await made.recovered()


async def test_lanes_read_again_while_a_rolled_back_store_catches_up_send_nothing_twice(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, tmp_path: Path, topic_prefix: str
) -> None:
    """Senders and the primary die together, and the senders are back before the shards are."""
    async with world(fresh_kafka(), fresh_redis(), tmp_path, topic_prefix) as running:
        await running.start()
        await running.start_load(seed=11)
        replica = fresh_redis(replica_of=running.redis)
        await running.grown(3 * SECOND)
        replica.promote()
        await running.grown(5 * SECOND)
        for role in (*running.senders, *running.workers):
            await role.stop()
        running.redis.kill()
        await rewind_lanes(running.settings)
        await replica.stop_async()
        with RedisServer(replica.directory, port=running.redis.port):
            for role in (*running.senders, *running.workers):
                role.start()
            roles = (*running.senders, *running.workers)
            await asyncio.gather(*(role.ready() for role in roles))
            await running.recovered()
            await running.grown(2 * SECOND)
            await running.finish(Allowance(rolled_back=True))


async def test_everything_killed_at_once_with_a_store_a_moment_behind_sends_nothing_twice(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, tmp_path: Path
) -> None:
    """A machine loses its power: no process says good-bye, and Redis wakes up with the last moment
    missing, less than what Kafka's committed offsets lag behind by. Only what was being sent may be
    sent again."""
    began_s = clock.monotonic_s()
    seed = int(os.environ.get("TRIPLINE_SOAK_SEED", random.SystemRandom().randrange(1 << 30)))
    while clock.monotonic_s() - began_s < SOAK_S:
        chance = random.Random(seed)
        directory = tmp_path / f"dark-{seed}"
        directory.mkdir()
        broker, redis = fresh_kafka(), fresh_redis()
        print(f"\nseed {seed}")
        async with world(broker, redis, directory, f"dark{seed}-") as made:
            with ExitStack() as servers:
                await made.start()
                await made.start_load(seed)
                for _ in range(2):
                    await _lose_power(made, fresh_redis, chance, servers)
                await made.grown(2 * SECOND)
                bound = 2 * IN_FLIGHT_MAX
                allowance = Allowance(in_flight_max=bound, twice_max=bound, rolled_back=True)
                await made.finish(allowance, rate=False)
        await broker.stop_async()
        seed += 1


async def _lose_power(
    made: World, fresh_redis: FreshRedis, chance: random.Random, servers: ExitStack
) -> None:
    replica = fresh_redis(replica_of=made.redis)
    await made.grown(2 * SECOND)
    await asyncio.to_thread(replica.promote)
    await made.grown(chance.randrange(SECOND // 10, SECOND))
    made.redis.kill()
    roles = (*made.senders, *made.workers)
    for role in roles:
        role.kill()
    await replica.stop_async()
    made.redis = servers.enter_context(RedisServer(replica.directory, port=made.redis.port))
    for role in roles:
        role.start()
    await asyncio.gather(*(role.ready() for role in roles))
    await made.recovered()
