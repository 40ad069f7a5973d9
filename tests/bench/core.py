"""The worker's own work on an event, without Kafka, Redis and waiting: CPU microseconds.

The bench stream goes through the shards as the records of a fetch, up to the packed bytes of each
commit and of each published record. Nothing waits, so the CPU time of the process is all of it, and
two runs in a row compare where the whole pipeline's numbers move by half.

`python -m tests.bench.core [--events N] [--workspace some|every|full|ten|thousand] [--profile]`
"""

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from statistics import median
from typing import NamedTuple

from engine.ports import Commit, CommitResult, CommitStatus, ShardMeta
from engine.store.arguments import commit_command
from engine.store.keys import shard_tag
from engine.store.link import pack
from engine.store.memory import MemoryStore
from engine.stream.actor import BATCHES_PER_POLL
from engine.stream.fetching import Record
from engine.stream.outbox import Entry
from engine.stream.shard import Shard, ShardSettings
from engine.stream.worker import spare_the_collector
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.records import ActivateRecord, encode
from schemas.topics import Topics
from tests.bench.bed import PARTITIONS
from tests.bench.stream import T0_MS, StreamShape, make_stream
from tests.bench.workspaces import Definitions, many, twelve, twelve_full, twelve_writing_all
from triggers.compile import RegisteredTrigger, compile_program
from triggers.program import Program

BATCH = 2_000
SECRET = b"s" * 32
WORKSPACES: dict[str, Callable[[], Definitions]] = {
    "some": twelve,
    "every": twelve_writing_all,
    "full": twelve_full,
    "ten": lambda: many(10),
    "thousand": lambda: many(1_000),
}


class Applied(NamedTuple):
    """CPU seconds of applying a stream, what was committed, and the bytes of each user's state."""

    cpu_s: float
    counted: Counter[str]
    state_sizes: list[int]


class PackingStore(MemoryStore):
    """Makes the bytes of every commit, keeps states and timers, forgets the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self._blobs: dict[str, bytes] = {}
        self._scores: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
        self._heaps: list[list[tuple[int, str]]] = [[] for _ in range(PARTITIONS)]

    @property
    def state_sizes(self) -> list[int]:
        """Bytes of each user's state."""
        return [len(blob) for blob in self._blobs.values()]

    async def load_shard(self, shard: int) -> ShardMeta | None:
        return None

    async def load_states(self, shard: int, users: Sequence[str]) -> list[bytes | None]:
        return [self._blobs.get(user) for user in users]

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while len(found) < count_max and 0 < self._next_due(shard) < before_ms:
            score, user = heappop(self._heaps[shard])
            found.append((user, score))
            del self._scores[shard][user]
        for user, score in found:
            self._scores[shard][user] = score
            heappush(self._heaps[shard], (score, user))
        return found

    async def commit(self, commit: Commit) -> CommitResult:
        self.counted["bytes"] += len(pack(commit_command(commit, shard_tag("", commit.shard))))
        self.counted["commits"] += 1
        self.counted["states"] += len(commit.states)
        self.counted["deliveries"] += len(commit.opened)
        for user, state in commit.states.items():
            if state is None:
                self._blobs.pop(user, None)
            else:
                self._blobs[user] = state
        scores, heap = self._scores[commit.shard], self._heaps[commit.shard]
        for user, score in commit.due.items():
            if score:
                scores[user] = score
                heappush(heap, (score, user))
            else:
                scores.pop(user, None)
        return CommitResult(CommitStatus.OK, commit.new, self._next_due(commit.shard))

    def _next_due(self, shard: int) -> int:
        heap, scores = self._heaps[shard], self._scores[shard]
        while heap and scores.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else 0


class _Outlet:
    acked = -1

    async def put(self, seq: int, entry: Entry) -> None:
        self.acked = seq


class _Programs:
    def __init__(self, definitions: Definitions) -> None:
        triggers = [
            RegisteredTrigger(definition, 1, definition.state, T0_MS)
            for definition in definitions.triggers.values()
        ]
        self._programs = {
            0: compile_program(0, [], definitions.policies),
            1: compile_program(1, triggers, definitions.policies),
        }

    async def program(self, number: int) -> Program:
        return self._programs[number]


def make_batches(shape: StreamShape) -> list[tuple[int, list[Record]]]:
    """(shard, records) as fetches bring them, partitions in turn; the first ones activate."""
    value = encode(ActivateRecord(1))
    logs: list[list[Record]] = []
    for shard in range(PARTITIONS):
        headers = sealed_headers(SECRET, Kind.ACTIVATE, shard, None, value)
        logs.append([Record("events", shard, 0, T0_MS, None, value, tuple(headers))])
    homes: dict[str, int] = {}
    for message in make_stream(shape):
        user = message.user
        home = homes.setdefault(user, -1)
        if home < 0:
            home = homes[user] = partition_of(user, PARTITIONS)
        log = logs[home]
        log.append(Record("events", home, len(log), message.a_ms, user.encode(), message.value))
    return [
        (shard, log[start : start + BATCH])
        for start in range(0, max(map(len, logs)), BATCH)
        for shard, log in enumerate(logs)
        if start < len(log)
    ]


async def apply_all(batches: list[tuple[int, list[Record]]], definitions: Definitions) -> Applied:
    """Apply the batches in order."""
    store, programs = PackingStore(), _Programs(definitions)
    settings = ShardSettings(PARTITIONS, Topics(), SECRET, log_clock=True)
    shards = [Shard(n, store, programs, _Outlet(), settings) for n in range(PARTITIONS)]
    for shard in shards:
        await shard.open()
    spare_the_collector()
    began_s = time.process_time()
    for turn, (number, records) in enumerate(batches):
        shard = shards[number]
        await shard.apply(records)
        # As an actor does in a backlog.
        if turn // PARTITIONS % BATCHES_PER_POLL == 0:
            await shard.drain_due()
    return Applied(time.process_time() - began_s, store.counted, store.state_sizes)


def main() -> None:
    """Print microseconds per event; with `--profile` where they go."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.core", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--workspace", choices=list(WORKSPACES), default="some")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    tagged = options.workspace in ("ten", "thousand")
    batches = make_batches(StreamShape(events=options.events, tagged=tagged))
    definitions = WORKSPACES[options.workspace]()
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, apply_all(batches, definitions))
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        return
    found = [asyncio.run(apply_all(batches, definitions)) for _ in range(options.runs)]
    each_us = [run.cpu_s / options.events * 1e6 for run in found]
    counted = {name: count / options.events for name, count in found[0].counted.items()}
    print(f"{median(each_us):.2f} us/event, least {min(each_us):.2f};", counted)


if __name__ == "__main__":
    gc.collect()
    main()
