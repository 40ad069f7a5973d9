"""Redis bytes per user after a stream: the state, its share of the timer index, and all keys."""

from typing import NamedTuple

import redis.asyncio

from engine.store.keys import shard_tag
from tests.bench.bed import PARTITIONS, Bed

SAMPLE_MAX = 2_000


class Bytes(NamedTuple):
    """Per user: `state` the `u:` key as Redis accounts it, `timer` the index entry, `used` all of
    Redis' memory."""

    users: int
    state: float
    timer: float
    used: float


async def bytes_per_user(bed: Bed) -> Bytes:
    """Weigh what the last worker run left."""
    users = weighed = 0
    state = timers = timer_entries = 0
    async with redis.asyncio.Redis.from_url(bed.redis.url) as client:
        for shard in range(PARTITIONS):
            tag = shard_tag("", shard)
            timers += await client.memory_usage(tag + "t", samples=0) or 0
            timer_entries += await client.zcard(tag + "t")
            async for key in client.scan_iter(match=tag + "u:*", count=1_000):
                users += 1
                if weighed < SAMPLE_MAX:
                    state += await client.memory_usage(key) or 0
                    weighed += 1
        used = (await client.info("memory"))["used_memory_dataset"]
    return Bytes(
        users, state / max(weighed, 1), timers / max(timer_entries, 1), used / max(users, 1)
    )
