"""The counters in Redis and the records in Kafka tell the same, to the unit."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.local.kafka import KafkaBroker
from schemas.reasons import Reason
from tests.integration.stream.rig import PARTITIONS, Rig, make_settings, open_rig
from tests.recount import recount, whole
from tests.waiting import eventually

pytestmark = pytest.mark.service

GOAL = {"event": "Order Completed", "within": "1d", "value": "properties.revenue"}
VIEW: dict[str, Any] = {
    "id": "view",
    "state": "live",
    "when": {"event": "Product Viewed"},
    "goal": GOAL,
    "experiment": {"control": "40%", "variants": {"a": "60%"}},
    "message": {"push": {"title": "t", "body": "b"}},
}
CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Product Added"},
    "unless": {"event": "Order Completed"},
    "wait": "1s",
    "goal": GOAL,
}
USERS = [f"user-{number}" for number in range(10)]
REASONS = (Reason.ACCEPTED, Reason.ACCEPTED, Reason.UNKNOWN, Reason.REJECTED)


@pytest.fixture
async def rig(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> AsyncIterator[Rig]:
    async with open_rig(make_settings(kafka.servers, redis_url, topic_prefix)) as made:
        yield made


async def test_the_counters_equal_a_recount_of_the_topics(rig: Rig) -> None:
    await rig.apply(VIEW, CART)
    async with rig.worker():
        for user in USERS:
            await rig.send(user, "Product Viewed", device=f"token-{user}")
            await rig.send(user, "Product Added")
        sent = await _deliveries(rig, 2 * len(USERS))
    # The next owner goes on with what the first one counted.
    async with rig.worker():
        for number, delivery in enumerate(sent):
            ghost = delivery.get("ghost")
            reason = Reason(ghost) if ghost else REASONS[number % len(REASONS)]
            await rig.end(delivery, reason)
            await rig.end(delivery, reason)
        for number, delivery in enumerate(sent):
            user, named = delivery["user"], {"delivery_id": delivery["delivery_id"]}
            await rig.send(user, "Push Notification Tapped", properties=named)
            worth = {"revenue": 19.99 * number}
            await rig.send(user, "Order Completed", message_id=f"o{number}", properties=worth)
            await rig.send(user, "Order Completed", message_id=f"o{number}", properties=worth)
        for user in USERS[:5]:
            await rig.send(user, "Unsubscribed")
        await _applied(rig)
    decisions = await rig.rows(rig.topics.decisions, once=True)
    outcomes = await rig.rows(rig.topics.outcomes, once=True)
    counters = await _counters(rig)
    stages = {name.split("|")[4] for name in counters}
    assert stages >= {"ADMITTED", "CONTROL", "ACCEPTED", "REJECTED", "UNKNOWN", "WITHHELD"}
    assert stages >= {"OPENED", "CLICKED", "CONVERTED", "VALUE", "UNSUBSCRIBED", "USERS", "GOALS2"}
    assert whole(counters) == whole(recount(decisions, outcomes))


async def _deliveries(rig: Rig, number: int) -> list[dict[str, Any]]:
    async def found() -> list[dict[str, Any]]:
        rows = await rig.rows(rig.topics.lane("normal"))
        return rows if len(rows) >= number else []

    return await eventually(found, within_s=30.0, every_s=0.2)


async def _applied(rig: Rig) -> None:
    """Wait until the shards stand at the end of the log."""
    ends = await rig.ends()

    async def there() -> bool:
        for shard in range(PARTITIONS):
            meta = await rig.store.load_shard(shard)
            if ends[shard] and (meta is None or meta.position.offset < ends[shard] - 1):
                return False
        return True

    await eventually(there, within_s=30.0, every_s=0.2)


async def _counters(rig: Rig) -> Counter[str]:
    found: Counter[str] = Counter()
    for shard in range(PARTITIONS):
        found.update(await rig.store.funnel(shard))
    return found
