"""The same shards over a memory store: what a log means, decided without Kafka, Redis or faults.

`pure_run` applies a log that was read back from Kafka in batches of random sizes, polls timers only
sometimes, and lets another owner take over now and then. None of that may change a decision or a
replayed field, so its result is what any run over this log, however disturbed, has to agree with.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.store.digest import canonical, digest_of
from engine.store.memory import MemoryStore
from engine.stream.intake import LogRecord
from engine.stream.outbox import Entry, OutMessage
from engine.stream.shard import Programs, Shard, ShardSettings

BATCH_RECORDS_MAX = 700
POLL_SHARE = 0.6
TAKE_OVER_SHARE = 0.1

Row = dict[str, Any]
"""A decision record as JSON has it."""


@dataclass(frozen=True, slots=True)
class PureShard:
    """`digest` and `content` hold the replayed fields only (`engine.store.digest`). `decisions` are
    the decision records in the order they were decided, `deliveries` the ids sent to lanes."""

    digest: str
    content: dict[str, Any]
    decisions: list[Row]
    deliveries: list[str]


class RecordingOutlet:
    """Keeps what would have been published; everything counts as acknowledged at once."""

    def __init__(self) -> None:
        self.acked = -1
        self.messages: list[OutMessage] = []

    async def put(self, seq: int, entry: Entry) -> None:
        """See `engine.stream.shard.Outlet`."""
        self.acked = seq
        self.messages += [message for message in entry.messages if message is not None]


async def pure_run(
    log: Mapping[int, Sequence[LogRecord]],
    programs: Programs,
    settings: ShardSettings,
    seed: int,
) -> dict[int, PureShard]:
    """Apply each partition's records (all kinds, in log order), then fire what is due.

    `seed` chooses batches, polls and take-overs.
    """
    found = {}
    for shard, records in log.items():
        chance = random.Random(f"{seed}-{shard}")
        found[shard] = await _run_shard(shard, records, programs, settings, chance)
    return found


async def _run_shard(
    number: int,
    records: Sequence[LogRecord],
    programs: Programs,
    settings: ShardSettings,
    chance: random.Random,
) -> PureShard:
    store, outlet = MemoryStore(), RecordingOutlet()
    owner = Shard(number, store, programs, outlet, settings)
    await owner.open()
    at = 0
    while at < len(records):
        size = chance.choice((1, 7, chance.randrange(1, BATCH_RECORDS_MAX), BATCH_RECORDS_MAX))
        await owner.apply(records[at : at + size])
        at += size
        if chance.random() < POLL_SHARE:
            await owner.drain_due()
        if chance.random() < TAKE_OVER_SHARE:
            owner = Shard(number, store, programs, outlet, settings)
            await owner.open()
    await owner.drain_due()
    topics, decoder = settings.topics, msgspec.json.Decoder()
    lanes = set(topics.lanes.values())
    return PureShard(
        digest=await digest_of(store, number),
        content=await canonical(store, number),
        decisions=[decoder.decode(m.value) for m in outlet.messages if m.topic == topics.decisions],
        deliveries=[
            decoder.decode(m.value)["delivery_id"] for m in outlet.messages if m.topic in lanes
        ],
    )
