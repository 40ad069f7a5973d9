"""How many instances are pending: what the commits of each shard have counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from engine.ports import ShardStore


async def count_pending(
    store: ShardStore, partitions: int, cancelled_to: Mapping[str, int]
) -> Counter[str]:
    """The instances of each trigger, over all shards, that will be decided at their deadlines.

    Those that an apply has cancelled still stand in states nobody has touched since: they do not
    count. `cancelled_to` is the latest version's. Raises `StoreUnavailable`.
    """
    shards = await asyncio.gather(*(store.pending(shard) for shard in range(partitions)))
    found: Counter[str] = Counter()
    for counts in shards:
        for name, number in counts.items():
            trigger, _, revision = name.rpartition("|")
            if int(revision) > cancelled_to.get(trigger, -1):
                found[trigger] += number
    return found
