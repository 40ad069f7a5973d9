"""The user stage of one process on one core: real Kafka in, real Redis commit, deliveries out."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.request import urlopen

import redis.asyncio

from engine import clock
from engine.store.keys import shard_tag
from tests.bench.bed import PARTITIONS, Bed, Log
from tests.bench.machine import cpu_s

POLL_S = 0.02
WITHIN_S = 300.0


class Sample(NamedTuple):
    """How far a process was, and what it had used: monotonic seconds, CPU seconds, records."""

    at_s: float
    cpu_s: float
    done: int


class Run(NamedTuple):
    """One run over a log: rates of the whole and of its second half, from the first record on."""

    wall_rate: float
    cpu_rate: float
    half_wall_rate: float
    half_cpu_rate: float


class WorkerRun(NamedTuple):
    """`shares`: what was decided, per event. `redis_us`: CPU of Redis per event, microseconds."""

    run: Run
    shares: dict[str, float]
    redis_us: float


def rates(samples: list[Sample]) -> Run:
    """Rates between the first and the last sample, and from the middle of the log on."""
    first, last = samples[0], samples[-1]
    middle = min(samples, key=lambda sample: abs(sample.done - (first.done + last.done) // 2))

    def between(start: Sample) -> tuple[float, float]:
        done = last.done - start.done
        return done / (last.at_s - start.at_s), done / (last.cpu_s - start.cpu_s)

    return Run(*between(first), *between(middle))


async def run_worker(bed: Bed, log: Log, **settings: str) -> WorkerRun:
    """Start a worker that knows nothing and let it work off the whole log."""
    await bed.forget(log.prefix)
    environment = bed.environment(log.prefix, **settings)
    redis_pid = bed.redis.child.pid
    with bed.role("worker", environment) as role:
        redis_before_s = cpu_s(redis_pid)
        deadline_s = clock.monotonic_s() + WITHIN_S
        samples: list[Sample] = []
        async with redis.asyncio.Redis.from_url(bed.redis.url) as client:
            done = 0
            while done < log.records:
                await asyncio.sleep(POLL_S)
                role.check()
                done = await applied(client)
                sample = Sample(clock.monotonic_s(), cpu_s(role.child.pid), done)
                if done:
                    samples.append(sample)
                if sample.at_s > deadline_s:
                    raise TimeoutError(f"{done} of {log.records} records in {WITHIN_S} s")
        redis_us = (cpu_s(redis_pid) - redis_before_s) / log.events * 1e6
        counted = await asyncio.to_thread(scrape, role.metrics_port)
    return WorkerRun(rates(samples), shares_of(counted, log.events), redis_us)


async def applied(client: redis.asyncio.Redis) -> int:
    """Records applied so far, over all shards."""
    pipeline = client.pipeline(transaction=False)
    for shard in range(PARTITIONS):
        pipeline.hget(shard_tag("", shard) + "m", "o")
    return sum(int(offset) + 1 for offset in await pipeline.execute() if offset is not None)


def scrape(port: int) -> dict[str, float]:
    """The samples of /metrics, by name with labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows if name}


def shares_of(counted: Mapping[str, float], events: int) -> dict[str, float]:
    """What a run decided, per event."""

    def total(start: str) -> float:
        return sum(value for name, value in counted.items() if name.startswith(start)) / events

    return {
        "candidates": total("tripline_candidates_total"),
        "deliveries": total('tripline_decisions_total{outcome="ADMITTED"'),
        "suppressed": total("tripline_suppressed_total"),
        "states": total("tripline_states_written_total"),
        "commits": total("tripline_commit_results_total"),
    }
