"""Has everything come to rest? The log is applied, no timer is about to fire, lanes are empty."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from engine import clock
from engine.kafka_client import client_options
from engine.ports import ShardStore, StoreUnavailable
from engine.settings import Settings
from schemas.topics import RETRY_TIERS_MS, Topics


class Settled:
    """Asks Kafka and the store. Timers due within `horizon_ms` count as unrest (wall clock)."""

    def __init__(self, settings: Settings, store: ShardStore, horizon_ms: int) -> None:
        self._settings = settings
        self._store = store
        self._horizon_ms = horizon_ms
        self._topics = Topics(settings.topic_prefix)

    @property
    def history(self) -> bool:
        """Times are the log's."""
        return self._settings.clock == "log"

    async def unrest(self) -> str | None:
        """None when at rest, else what is still going on."""
        options = client_options(self._settings)
        try:
            async with AIOKafkaConsumer(**options, group_id=None) as consumer:
                ends = await self._ends(consumer)
            waiting = await self._lanes_waiting(ends)
            return waiting or await self._shards_waiting(ends)
        except (KafkaError, StoreUnavailable) as error:
            return str(error)

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        names = [self._topics.events, *self._delivery_topics()]
        asked = [TopicPartition(n, p) for n in names for p in range(self._settings.partitions)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(asked)
        return ends

    def _delivery_topics(self) -> list[str]:
        return [*self._topics.lanes.values(), *map(self._topics.retry, RETRY_TIERS_MS)]

    async def _lanes_waiting(self, ends: dict[TopicPartition, int]) -> str | None:
        group = f"{self._settings.group}.deliver"
        groups = [f"{group}.{lane}" for lane in self._topics.lanes] + [f"{group}.retry"]
        admin = AIOKafkaAdminClient(**client_options(self._settings))
        await admin.start()
        try:
            done: dict[TopicPartition, int] = {}
            for name in groups:
                offsets = await admin.list_consumer_group_offsets(name)
                done.update({tp: found.offset for tp, found in offsets.items()})
        finally:
            await admin.close()
        waiting = sum(
            end - max(done.get(tp, 0), 0)
            for tp, end in ends.items()
            if tp.topic != self._topics.events
        )
        return f"{waiting} deliveries under way" if waiting else None

    async def _shards_waiting(self, ends: dict[TopicPartition, int]) -> str | None:
        behind = due = 0
        horizon_ms = clock.now_ms() + self._horizon_ms
        for shard in range(self._settings.partitions):
            meta = await self._store.load_shard(shard)
            end = ends[TopicPartition(self._topics.events, shard)]
            behind += end if meta is None else end - meta.position.offset - 1
            if self._settings.clock == "log":
                due += bool(meta and 0 < meta.next_due < meta.watermark_ms)
            else:
                due += bool(meta and 0 < meta.next_due < horizon_ms)
        # A shard may have applied records that came after the ends were asked for.
        if behind > 0:
            return f"{behind} records not applied"
        return f"timers due in {due} shards" if due else None
