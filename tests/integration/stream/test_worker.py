from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from engine.local.kafka import KafkaBroker
from engine.stream.actor import LogTruncated
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from tests.integration.stream.rig import PARTITIONS, Rig, make_settings, open_rig
from tests.services import FreshKafka, FreshRedis
from tests.waiting import eventually

pytestmark = pytest.mark.service

THANKS: dict[str, Any] = {
    "id": "thanks",
    "state": "live",
    "class": "transactional",
    "lane": "critical",
    "when": {"event": "Order Completed"},
}
CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Product Added"},
    "unless": {"event": "Order Completed"},
    "wait": "1s",
}
IDLE: dict[str, Any] = {"id": "silent", "state": "live", "when": {"idle": "1s"}}


@pytest.fixture
async def rig(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> AsyncIterator[Rig]:
    async with open_rig(make_settings(kafka.servers, redis_url, topic_prefix)) as made:
        yield made


async def test_an_event_becomes_a_delivery_and_a_decision(rig: Rig) -> None:
    await rig.apply(THANKS)
    async with rig.worker():
        await rig.send("ann", "Order Completed", device="token-1", message_id="o1")
        await rig.decided([("thanks", "ann", "ADMITTED")])
    (delivery,) = await rig.rows(rig.topics.lane("critical"))
    assert (delivery["user"], delivery["activation"]) == ("ann", "o1")
    assert delivery["shard"] == partition_of("ann", PARTITIONS)


async def test_silence_fires_without_any_further_event(rig: Rig) -> None:
    # Marketing messages that are due at the same moment would compete.
    await rig.apply(CART, {**IDLE, "class": "transactional"})
    async with rig.worker():
        await rig.send("ann", "Product Added", device="token-1")
        await rig.decided([("cart", "ann", "ADMITTED"), ("silent", "ann", "ADMITTED")])


async def test_definitions_are_reloaded_without_a_restart(rig: Rig) -> None:
    await rig.apply(THANKS)
    async with rig.worker():
        await rig.send("ann", "Order Completed", device="token-1", message_id="o1")
        await rig.decided([("thanks", "ann", "ADMITTED")])
        await rig.apply({**THANKS, "state": "paused"})
        await rig.send("ann", "Order Completed", message_id="o2")
        await rig.decided([("thanks", "ann", "ADMITTED"), ("thanks", "ann", "PAUSED")])


async def test_a_record_on_the_wrong_partition_is_moved_and_decided_once(rig: Rig) -> None:
    await rig.apply(THANKS)
    wrong = (partition_of("ann", PARTITIONS) + 1) % PARTITIONS
    async with rig.worker():
        await rig.send("ann", "Order Completed", device="token-1", message_id="o1", partition=wrong)
        await rig.decided([("thanks", "ann", "ADMITTED")])


async def test_bad_input_is_a_dead_letter_and_never_stops_a_shard(rig: Rig) -> None:
    await rig.apply(THANKS)
    async with rig.worker():
        for value in (b"", b"{", b"[]", b"\xff\xfe", b'{"type":"track"}', b"{" * 50_000):
            await rig.append(value, "ann")
        await rig.append(b'{"type":"track","event":"' + b"x" * 900_000 + b'"}', "ann")
        await rig.send("ann", "Order Completed", device="token-1")
        await rig.decided([("thanks", "ann", "ADMITTED")])
        letters = await rig.rows(rig.topics.dead_letters)
    home = partition_of("ann", PARTITIONS)
    assert len(letters) == 7
    assert {letter["partition"] for letter in letters} == {home}
    assert {"MALFORMED_JSON", "WRONG_TYPE", "MISSING_ID", "TOO_LARGE"} <= {
        letter["reason"] for letter in letters
    }


async def test_a_state_without_its_redis_is_refused_with_what_to_do(
    fresh_kafka: FreshKafka, fresh_redis: FreshRedis, topic_prefix: str
) -> None:
    broker, lost, empty = fresh_kafka(), fresh_redis(), fresh_redis()
    async with open_rig(make_settings(broker.servers, lost.url, topic_prefix)) as rig:
        await rig.apply(THANKS)
        async with rig.worker():
            await rig.send("ann", "Order Completed", device="token-1")
            await rig.decided([("thanks", "ann", "ADMITTED")])
    async with open_rig(make_settings(broker.servers, empty.url, topic_prefix)) as rig:
        with pytest.raises(LogTruncated, match="restore Redis"):
            async with rig.worker():
                await eventually(lambda: False, within_s=15)


async def test_readiness_is_false_while_redis_is_away_and_nothing_is_lost(
    kafka: KafkaBroker, fresh_redis: FreshRedis, topic_prefix: str
) -> None:
    redis = fresh_redis(appendfsync="always")
    async with open_rig(make_settings(kafka.servers, redis.url, topic_prefix)) as rig:
        await rig.apply(THANKS)
        async with rig.worker():
            await rig.send("ann", "Order Completed", device="token-1")
            await rig.decided([("thanks", "ann", "ADMITTED")])
            redis.kill()
            await rig.send("ben", "Order Completed", device="token-2")
            await eventually(
                lambda: (c := rig.health.get("redis")) is not None and not c.ok, within_s=30
            )
            redis.restart()
            await rig.decided(
                [("thanks", "ann", "ADMITTED"), ("thanks", "ben", "ADMITTED")], within_s=60
            )


async def test_a_store_behind_its_lanes_went_back_also_where_kafka_does_not_know(rig: Rig) -> None:
    """The offset committed to Kafka lags: it says no more than what the store still knows."""
    await rig.apply(THANKS)
    shard = partition_of("ann", PARTITIONS)
    async with rig.worker():
        await rig.send("ann", "App Opened", device="token-1")
        await _applied(rig, shard)
    committed = await rig.committed()
    with redis.Redis.from_url(rig.settings.redis_url) as client:
        saved = {key: client.dump(key) for key in client.scan_iter()}
        async with rig.worker():
            await rig.send("ann", "Order Completed", message_id="o1")
            await rig.decided([("thanks", "ann", "ADMITTED")])
        (delivery,) = await rig.rows(rig.topics.lane("critical"))
        await rig.end(delivery, Reason.ACCEPTED)
        for key in client.scan_iter():
            client.delete(key)
        for key, value in saved.items():
            client.restore(key, 0, value)
    await rig.commit(committed)
    async with rig.worker():
        await _applied(rig, shard)
    assert await rig.rows(rig.topics.lane("critical")) == [delivery]
    assert (await rig.store.dump(shard))["ledger_user"] == {}


async def _applied(rig: Rig, shard: int) -> None:
    """Wait until the shard is at the end of its log and withholds nothing."""
    end = (await rig.ends())[shard]

    async def at_end() -> bool:
        meta = await rig.store.load_shard(shard)
        return meta is not None and meta.position.offset + 1 >= end and not meta.withhold_until

    await eventually(at_end, within_s=30, every_s=0.1)
