"""A delivery worker on real Kafka and Redis, with stand-in providers in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from firebase_admin import credentials

from engine import clock
from engine.delivery.senders import Sender
from engine.delivery.senders.apns import ApnsSender
from engine.delivery.senders.apns_token import ProviderToken
from engine.delivery.senders.fcm import FcmSender
from engine.delivery.worker import DeliveryWorker
from engine.http import Health
from engine.ports import Gate, LedgerEntry
from engine.settings import Settings
from engine.standins.apns import ApnsStandin
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC
from engine.standins.fcm import FcmStandin
from engine.standins.journal import Journal
from engine.standins.rules import Delay, Rule
from engine.store.redis import RedisStore
from engine.tasks import spawn
from engine.topics import ensure_topics
from schemas.deliveries import Delivery, DeviceRef, encode_delivery
from schemas.kinds import KIND_HEADER, Kind, header, is_sealed
from schemas.reasons import Reason
from schemas.records import OutcomeRecord, decode
from schemas.topics import RETRY_TIERS_MS, Topics
from tests.contract.senders.harness import material_in
from tests.contract.store.shards import Shard
from tests.waiting import eventually
from triggers.definition import TriggerDefinition

SECRET = "a secret of sixteen characters"
PARTITIONS = 2
#: Short waits behind the re-queue topics.
TIERS_MS = (100, 200, 400, 1_500)


def definition(trigger: str, **changes: Any) -> TriggerDefinition:
    """A trigger with a text that has something to fill in."""
    document = {
        "id": trigger,
        "state": "live",
        "when": {"event": "Product Added"},
        "message": {
            "link": "https://shop.example/cart",
            "push": {
                "title": {"en": "Still thinking?", "ru": "Ещё думаете?"},
                "body": "{{ start.properties.name }} is waiting",
            },
        },
    }
    return TriggerDefinition.model_validate(document | changes)


class KnownDefinitions:
    """The registry with revision 1 of a few triggers."""

    def __init__(self) -> None:
        self.triggers = {"cart": definition("cart"), "order": definition("order")}

    async def read_up_to(self, number: int, timeout_s: float) -> None:
        """There is nothing to wait for."""

    def definition(self, trigger_id: str, revision: int) -> TriggerDefinition | None:
        """Revision 1 only."""
        return self.triggers.get(trigger_id) if revision == 1 else None


@dataclass
class Standins:
    """FCM and APNs with the senders that talk to them."""

    fcm: FcmStandin
    apns: ApnsStandin
    senders: Mapping[str, Sender]

    def received(self, delivery_id: str = "") -> list[dict[str, Any]]:
        """What reached a provider, for one delivery or all."""
        entries = self.fcm.journal.entries() + self.apns.journal.entries()
        return [e for e in entries if not delivery_id or e["delivery_id"] == delivery_id]

    def accepted(self) -> list[str]:
        """The delivery ids the providers took, in order, once for each time."""
        return [entry["delivery_id"] for entry in self.received() if entry["accepted"]]


@contextlib.asynccontextmanager
async def standins(
    directory: Path, rules: Sequence[Rule] = (), delay_ms: float = 0.0, **fcm: Any
) -> AsyncIterator[Standins]:
    """Both stand-ins under the same rules; the senders are started by the worker."""
    material = material_in(directory)
    delay = Delay(low=delay_ms, high=delay_ms)
    fcm_server = FcmStandin(material, Journal(None), rules=list(rules), delay=delay)
    apns_server = ApnsStandin(material, Journal(None), rules=list(rules), delay=delay)
    await fcm_server.start()
    await apns_server.start()
    token = ProviderToken(material.apns_key.read_text(), KEY_ID, TEAM_ID)
    account = credentials.Certificate(str(material.service_account))
    senders: dict[str, Sender] = {
        "android": FcmSender(account, base_url=fcm_server.base_url, **fcm),
        "ios": ApnsSender(
            TOPIC,
            token,
            host="localhost",
            port=apns_server.port,
            ssl_context=material.client_context(),
        ),
    }
    try:
        yield Standins(fcm_server, apns_server, senders)
    finally:
        await fcm_server.stop()
        await apns_server.stop()


@dataclass
class Rig:
    """Topics, a store and a producer under one prefix."""

    settings: Settings
    store: RedisStore
    producer: AIOKafkaProducer
    definitions: KnownDefinitions = field(default_factory=KnownDefinitions)
    shards: dict[int, Shard] = field(default_factory=dict)
    numbers: Any = field(default_factory=count)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def topics(self) -> Topics:
        return Topics(self.settings.topic_prefix)

    def delivery(self, **changes: Any) -> Delivery:
        """A marketing push to one Android phone of a user of its own, decided now."""
        number = next(self.numbers)
        now_ms = clock.now_ms()
        fields: dict[str, Any] = {
            "delivery_id": f"{number:032x}",
            "user": f"user-{number}",
            "trigger": "cart",
            "revision": 1,
            "activation": f"cart:{number}",
            "shard": number % self.settings.partitions,
            "registry": 0,
            "decided_at_ms": now_ms,
            "expires_at_ms": now_ms + 600_000,
            "appended_at_ms": now_ms,
            "marketing": True,
            "devices": [DeviceRef(f"token-{number}", "android")],
            "fields": {
                "start": {"properties.name": "A red coat"},
                "event": {"context.locale": "ru-KZ"},
            },
        }
        return Delivery(**(fields | changes))

    async def open(self, deliveries: Sequence[Delivery], **commit: Any) -> None:
        """Commit the ledger entries, as the user stage does."""
        by_shard: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            by_shard.setdefault(delivery.shard, []).append(delivery)
        async with self.writing:
            for number, found in by_shard.items():
                shard = self.shards.setdefault(number, Shard(self.store, number))
                entries = [LedgerEntry(d.delivery_id, d.user, d.expires_at_ms) for d in found]
                await shard.write(opened=entries, **commit)

    async def apply_log(self) -> None:
        """Be the user stage for the gate: apply what the log holds, again and again."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_servers)
        await consumer.start()
        logs = [TopicPartition(self.topics.events, n) for n in range(self.settings.partitions)]
        try:
            while True:
                ends = await consumer.end_offsets(logs)
                async with self.writing:
                    for tp, end in ends.items():
                        shard = self.shards.setdefault(
                            tp.partition, Shard(self.store, tp.partition)
                        )
                        while shard.position.offset < end - 1:
                            await shard.write()
                # Its pace, as a worker's poll; no test waits for it by time.
                await asyncio.sleep(0.1)
        finally:
            await consumer.stop()

    async def publish(self, deliveries: Sequence[Delivery]) -> None:
        """Append the records to their lanes."""
        acks = [
            await self.producer.send(
                self.topics.lane(d.lane), encode_delivery(d), d.user.encode(), d.shard
            )
            for d in deliveries
        ]
        await asyncio.gather(*acks)

    async def admit(self, *deliveries: Delivery) -> None:
        """Open and publish."""
        await self.open(deliveries)
        await self.publish(deliveries)

    @contextlib.asynccontextmanager
    async def working(
        self,
        senders: Mapping[str, Sender],
        *,
        gate: Gate | None = None,
        health: Health | None = None,
    ) -> AsyncIterator[DeliveryWorker]:
        """A worker that has joined its groups; stopped at the end, where its failure is raised."""
        worker = DeliveryWorker(
            self.settings,
            gate or self.store,
            self.definitions,
            senders,
            health or Health(),
            tiers_ms=TIERS_MS,
            jitter=lambda: 0.0,
        )
        failures: list[BaseException] = []
        running = spawn(worker.run(), "delivery-worker", failures.append)
        try:
            await eventually(lambda: worker.joined or failures, within_s=30)
            yield worker
        finally:
            worker.stop()
            await asyncio.wait([running], timeout=60)
        if failures:
            raise failures[0]

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """Every record of a topic, in partition order."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            count = 1 if topic == self.topics.dead_letters else self.settings.partitions
            tps = [TopicPartition(topic, number) for number in range(count)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            records: list[ConsumerRecord] = []
            for tp, end in ends.items():
                while await consumer.position(tp) < end:
                    found = await consumer.getmany(tp, timeout_ms=1_000)
                    records += found.get(tp, [])
            return records
        finally:
            await consumer.stop()

    async def outcomes(self) -> list[OutcomeRecord]:
        """Every outcome of the log; checks its seal, its key and its partition."""
        found = []
        secret = SECRET.encode()
        for record in await self.read(self.topics.events):
            if header(record.headers, KIND_HEADER) == Kind.ACTIVATE.encode():
                continue
            assert is_sealed(
                secret, record.headers, Kind.OUTCOME, record.partition, record.key, record.value
            )
            outcome = decode(record.value, OutcomeRecord)
            assert record.key == outcome.user.encode()
            found.append(outcome)
        return found

    async def outcomes_of(
        self, *deliveries: Delivery, within_s: float = 20.0
    ) -> dict[str, OutcomeRecord]:
        """The first outcome of each of the deliveries, once all have one."""
        wanted = {d.delivery_id for d in deliveries}
        first: dict[str, OutcomeRecord] = {}

        async def all_there() -> bool:
            first.clear()
            for outcome in await self.outcomes():
                first.setdefault(outcome.delivery_id, outcome)
            return wanted <= first.keys()

        done: bool = await eventually(all_there, within_s=within_s, every_s=0.1)
        assert done
        return {delivery_id: first[delivery_id] for delivery_id in wanted}

    async def reason_of(self, delivery: Delivery, within_s: float = 20.0) -> Reason:
        """How a delivery ended."""
        found = await self.outcomes_of(delivery, within_s=within_s)
        return found[delivery.delivery_id].reason

    async def committed(self, within_s: float = 30.0) -> None:
        """Return when every record of every lane and tier is finished and committed."""

        async def nothing_left() -> bool:
            lags = [await self.lag(str(lane), [topic]) for lane, topic in self.topics.lanes.items()]
            lags.append(await self.lag("retry", [self.topics.retry(t) for t in RETRY_TIERS_MS]))
            return not any(lags)

        done: bool = await eventually(nothing_left, within_s=within_s, every_s=0.2)
        assert done

    async def lag(self, group: str, topics: Sequence[str]) -> int:
        """Records not committed by a group of the worker."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_servers,
            group_id=f"{self.settings.group}.deliver.{group}",
            enable_auto_commit=False,
        )
        tps = [TopicPartition(t, n) for t in topics for n in range(self.settings.partitions)]
        consumer.assign(tps)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(tps)
            lags = [end - (await consumer.committed(tp) or 0) for tp, end in ends.items()]
            return int(sum(lags))
        finally:
            await consumer.stop()


@contextlib.asynccontextmanager
async def delivery_rig(
    servers: str, redis_url: str, topic_prefix: str, **changes: Any
) -> AsyncIterator[Rig]:
    """Topics made, store ready, producer started."""
    options: dict[str, Any] = {
        "kafka_servers": servers,
        "redis_url": redis_url,
        "topic_prefix": topic_prefix,
        "group": f"{topic_prefix}group",
        "partitions": PARTITIONS,
        "log_secret": SECRET,
        "request_timeout_s": 2.0,
        "session_timeout_s": 6.0,
        "heartbeat_s": 1.0,
    }
    settings = Settings(**(options | changes))
    await ensure_topics(settings)
    store = RedisStore(redis_url, settings.key_prefix)
    await store.wait_ready(30.0)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    rig = Rig(settings, store, producer)
    applying = spawn(rig.apply_log(), "applies-the-log")
    try:
        yield rig
    finally:
        applying.cancel()
        await asyncio.wait([applying])
        await producer.stop()
        await store.aclose()
