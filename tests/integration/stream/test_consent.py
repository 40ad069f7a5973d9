"""`tripline consent` beside a worker: what was admitted before is not sent any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine import clock
from engine.cli.main import make_app
from engine.explain.live import Window, explain_user
from engine.local.kafka import KafkaBroker
from engine.ports import Claim, GateAnswer
from schemas.deliveries import Limits
from schemas.partitioner import partition_of
from tests.integration.stream.rig import PARTITIONS, Rig, make_settings, open_rig
from tests.waiting import eventually

pytestmark = pytest.mark.service

THANKS: dict[str, Any] = {
    "id": "thanks",
    "state": "live",
    "category": "offers",
    "when": {"event": "Order Completed"},
}


@pytest.fixture
async def rig(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> AsyncIterator[Rig]:
    async with open_rig(make_settings(kafka.servers, redis_url, topic_prefix)) as made:
        yield made


async def run(rig: Rig, *arguments: str) -> Result:
    secret = rig.settings.log_secret
    assert secret is not None
    environment = {
        "TRIPLINE_KAFKA_SERVERS": rig.settings.kafka_servers,
        "TRIPLINE_LOG_SECRET": secret.get_secret_value(),
        "TRIPLINE_TOPIC_PREFIX": rig.settings.topic_prefix,
    }
    return await asyncio.to_thread(CliRunner().invoke, make_app(), list(arguments), env=environment)


async def test_what_was_admitted_before_the_record_is_not_let_through_after_it(rig: Rig) -> None:
    await rig.apply(THANKS)
    async with rig.worker():
        await rig.send("ann", "Order Completed", device="t1")
        await rig.decided([("thanks", "ann", "ADMITTED")])
        (delivery,) = await rig.rows(rig.topics.lane("normal"))
        answer = await run(
            rig, "consent", "--user", "ann", "--category", "offers=out", "-o", "json"
        )
        assert answer.exit_code == 0, answer.stderr
        written = json.loads(answer.stdout)
        shard = partition_of("ann", PARTITIONS)
        assert (written["version"], written["partition"]) == (1, shard)

        async def applied() -> bool:
            meta = await rig.store.load_shard(shard)
            return meta is not None and meta.position.offset >= written["offset"]

        await eventually(applied, within_s=20)
        claim = Claim(
            shard, delivery["delivery_id"], "ann", "thanks", clock.now_ms(), 1_000, Limits()
        )
        assert (await rig.store.claim([claim]))[0].answer is GateAnswer.CONSENT
        await rig.send("ann", "Order Completed", message_id="again")
        await rig.decided([("thanks", "ann", "ADMITTED"), ("thanks", "ann", "CONSENT")])
        story = await explain_user(rig.settings, rig.store, "ann", Window(), 20.0)
    assert [entry.activation for entry in story.profile] == ["category offers: out"]
