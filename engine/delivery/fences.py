"""What the store must have applied before a delivery is claimed.

A store that was rolled back has forgotten claims, and nobody may have noticed yet. So a claim names
an offset of the log, below which the gate answers BEHIND. Two things are known without asking the
store, and both are looked up in Kafka:

- A delivery that stood in its topic when this process got the partition may have been sent by the
  owner before. How that ended is in the log, below its end at that moment.
- The header of a lane record tells how far its shard was when the record was published.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.deliveries import Delivery
from schemas.kinds import header
from schemas.marks import SEQ_HEADER, marked

log = structlog.get_logger(__name__)

PROBE_RETRY_S = 0.5


class Fence(NamedTuple):
    """Deliveries below `new_from` may have been sent before, as the log tells up to `after`."""

    new_from: int
    after: int


class Fences:
    """The fences of one process. `probe` is a started consumer without a group."""

    def __init__(self, probe: AIOKafkaConsumer, log_topic: str) -> None:
        self._probe = probe
        self._log_topic = log_topic
        self._reached: dict[int, int] = {}

    async def build(self, got: Iterable[TopicPartition]) -> Mapping[TopicPartition, Fence]:
        """A fence for each partition that this process has got. Waits for Kafka."""
        homes = {tp: TopicPartition(self._log_topic, tp.partition) for tp in got}
        while True:
            try:
                news = await self._probe.end_offsets(list(homes))
                ends = await self._probe.end_offsets(list(set(homes.values())))
            except KafkaError as error:
                log.warning("probe_waits", error=repr(error))
                await asyncio.sleep(PROBE_RETRY_S)
            else:
                return {tp: Fence(news[tp], ends[home] - 1) for tp, home in homes.items()}

    def read(self, record: ConsumerRecord) -> None:
        """Note how far the shard of a lane record was. A re-queued one has no mark."""
        offset = marked(header(record.headers, SEQ_HEADER)).offset
        if offset > self._reached.get(record.partition, -1):
            self._reached[record.partition] = offset

    def after(self, delivery: Delivery) -> int:
        """The offset that the store must have applied before this delivery is claimed."""
        return max(delivery.after, self._reached.get(delivery.shard, -1))
