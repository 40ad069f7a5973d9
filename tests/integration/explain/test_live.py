"""Explain and replay on a real Kafka and a real Redis, beside a worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner, Result

from engine import clock
from engine.cli.main import make_app
from engine.explain.live import Window, explain_user
from engine.explain.replay import Range, Replayed, replay
from engine.explain.story import Story, story_json
from engine.local.kafka import KafkaBroker
from schemas.partitioner import partition_of
from tests.integration.stream.rig import PARTITIONS, Rig, make_settings, open_rig
from tests.waiting import eventually

pytestmark = pytest.mark.service

THANKS: dict[str, Any] = {
    "id": "thanks",
    "state": "live",
    "when": {"event": "Order Completed", "where": {"properties.total": {"gte": 20}}},
    "cooldown": "1s",
}
CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Product Added"},
    "unless": {"event": "Order Completed"},
    "wait": "1s",
}
FAR: dict[str, Any] = {**CART, "id": "far", "wait": "1h"}
POLICY = {"grace": "0s", "spacing": "1h"}


@pytest.fixture
async def rig(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> AsyncIterator[Rig]:
    async with open_rig(make_settings(kafka.servers, redis_url, topic_prefix)) as made:
        yield made


async def _play(rig: Rig) -> None:
    """Ann orders, and leaves a cart behind too soon; the others order under two versions."""
    await rig.apply(THANKS, CART, FAR, policy=POLICY)
    async with rig.worker():
        await rig.send(
            "ann", "Order Completed", device="t1", message_id="o1", properties={"total": 9}
        )
        await rig.send("ann", "Order Completed", message_id="o2", properties={"total": 30})
        await rig.send("ann", "Product Added", message_id="p1")
        expected = [("thanks", "ann", "ADMITTED"), ("cart", "ann", "SPACING")]
        await rig.decided(expected)
        await rig.append(b"{", "ann")
        await rig.apply({**THANKS, "state": "paused"}, CART, FAR, policy=POLICY)
        for name in ("bob", "cid"):
            wrong = (partition_of(name, PARTITIONS) + 1) % PARTITIONS
            await rig.send(name, "Order Completed", properties={"total": 30}, partition=wrong)
            expected.append(("thanks", name, "PAUSED"))
        await rig.decided(expected)


async def _explain(rig: Rig, user: str = "ann", **window: int) -> Story:
    return await explain_user(rig.settings, rig.store, user, Window(**window), 20.0)


async def _replay(rig: Rig, wanted: Range = Range()) -> list[Replayed]:  # noqa: B008
    return await replay(rig.settings, rig.store, range(PARTITIONS), wanted, 20.0)


async def _told_of(rig: Rig, user: str, what: str) -> None:
    """Wait until the story of the user has it."""

    async def has() -> bool:
        return any(entry.what == what for entry in (await _explain(rig, user)).entries)

    await eventually(has, within_s=30, every_s=0.2)


def _told(story: Story, trigger: str) -> list[tuple[str, str | None]]:
    return [(e.what, e.reason) for e in story.entries if e.trigger == trigger]


async def test_a_live_user_is_explained_as_it_was_decided(rig: Rig) -> None:
    await _play(rig)
    keys = await _everything(rig)
    story = await _explain(rig)
    assert (story.approximate, story.records, story.stored) == ([], 3, True)
    assert (story.unread, len(story.dead_letters)) == (1, 1)
    assert "MALFORMED_JSON" in story.dead_letters[0]
    assert _told(story, "thanks") == [("NOT_MATCHED", None), ("ADMITTED", None)]
    assert _told(story, "cart")[-2:] == [("ARMED", None), ("SUPPRESSED", "SPACING")]
    told = story_json(story)
    spacing = next(c for c in told["triggers"]["cart"]["entries"][-1]["checks"] if c["reason"])
    assert spacing["values"]["last_trigger"] == "thanks"
    (pending,) = told["triggers"]["far"]["pending"]
    assert (pending["kind"], pending["activation"]) == ("instance", "p1")
    assert told["triggers"]["thanks"]["state"] == "paused"
    json.dumps(told)
    assert await _everything(rig) == keys


async def test_a_user_whose_past_is_not_read_is_explained_approximately(rig: Rig) -> None:
    await _play(rig)
    whole = await _explain(rig)
    ordered = next(e for e in whole.entries if e.trigger == "cart" and e.what == "ARMED")
    story = await _explain(rig, since_ms=ordered.at)
    assert len(story.approximate) == 1
    # Deciding from there does not know of the message that stood in the way; the journal does.
    told = _told(story, "cart")
    assert ("ADMITTED", None) in told
    assert ("RECORDED", "SPACING") in told


async def test_an_earlier_moment_is_explained_from_the_log_alone(rig: Rig) -> None:
    await _play(rig)
    whole = await _explain(rig)
    armed = next(e for e in whole.entries if e.trigger == "cart" and e.what == "ARMED")
    story = await _explain(rig, at_ms=armed.at)
    assert not story.stored
    assert _told(story, "cart")[-1] == ("ARMED", None)
    (pending,) = story_json(story)["triggers"]["cart"]["pending"]
    assert pending["activation"] == "p1"


async def test_a_forwarded_user_is_explained_in_their_own_shard(rig: Rig) -> None:
    await _play(rig)
    story = await _explain(rig, "bob")
    assert _told(story, "thanks") == [("SUPPRESSED", "PAUSED")]


async def test_what_was_due_before_an_apply_that_cancels_is_explained_as_it_was_decided(
    rig: Rig,
) -> None:
    await rig.apply(CART, FAR)
    async with rig.worker():
        await rig.send("ann", "Product Added", device="t1", message_id="p1")
        await rig.decided([("cart", "ann", "ADMITTED")])
        edited = [{**CART, "priority": 60}, {**FAR, "priority": 60}]
        await rig.apply(*edited, cancel_pending=True)
        await rig.send("ann", "Order Completed")
        await rig.decided([("cart", "ann", "ADMITTED"), ("far", "ann", "CANCELLED")])
    story = await _explain(rig)
    assert _told(story, "cart")[:2] == [("ARMED", None), ("ADMITTED", None)]
    assert _told(story, "far")[:2] == [("ARMED", None), ("CANCELLED", None)]


async def test_a_guest_who_identifies_is_explained_and_replayed_as_one(rig: Rig) -> None:
    await rig.apply(FAR)
    names = {"userId": "ann", "anonymousId": "guest"}
    added = {"type": "track", "messageId": "p1", "event": "Product Added"} | names
    del added["userId"]
    async with rig.worker():
        await rig.append(msgspec.json.encode(added), "guest")
        await _told_of(rig, "guest", "ARMED")
        identify = {"type": "identify", "messageId": "i1", **names}
        await rig.append(msgspec.json.encode(identify), "ann")
        await _told_of(rig, "ann", "MERGED")
        await rig.append(msgspec.json.encode({**added, "messageId": "p2"}), "guest")
        await _told_of(rig, "ann", "RESTARTED")
    story = await _explain(rig)
    assert _told(story, "far") == [("ARMED", None), ("RESTARTED", None)]
    assert [entry.what for entry in story.profile] == ["MERGED"]
    assert story.approximate == []
    guest = await _explain(rig, "guest")
    assert [entry.what for entry in guest.profile] == ["MERGED", "FORWARDED"]
    assert not any(one.comparison.different for one in await _replay(rig))


async def test_replay_decides_what_was_decided(rig: Rig) -> None:
    await _play(rig)
    keys = await _everything(rig)
    found = await _replay(rig)
    assert sum(one.comparison.equal for one in found) == 4
    assert [one.comparison.different for one in found] == [0] * len(found)
    assert not any(one.approximate for one in found)
    assert await _everything(rig) == keys


async def test_replay_finds_a_decision_that_was_tampered_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _play(rig)
    rows = await rig.rows(rig.topics.decisions)
    forged = next(row for row in rows if row["trigger"] == "cart")
    await _publish(rig, {**forged, "outcome": "ADMITTED", "reason": None})
    await _publish(rig, {**forged, "activation": "nobody"})
    (one,) = [one for one in await _replay(rig) if one.comparison.different]
    assert one.shard == partition_of("ann", PARTITIONS)
    assert one.comparison.different == 2
    assert [(d.recorded or {}).get("activation") for d in one.comparison.differences] == [
        "p1",
        "nobody",
    ]
    assert all(d.again is None for d in one.comparison.differences)
    answer = await _command(rig, monkeypatch, "replay", "-o", "json")
    assert (answer.exit_code, json.loads(answer.stdout)["different"]) == (1, 2)
    whole = await _command(rig, monkeypatch, "replay", "--trigger", "thanks")
    assert (whole.exit_code, whole.stdout.splitlines()[-1]) == (
        0,
        "3 decisions equal, 0 different",
    )
    told = await _command(rig, monkeypatch, "explain", "--user", "ann", "--since", "all")
    assert told.exit_code == 0, told.stderr
    assert "SPACING: thanks at " in told.stdout


async def test_replay_compares_the_range_and_trigger_asked_for(rig: Rig) -> None:
    await _play(rig)
    whole = await _explain(rig)
    refused = next(e for e in whole.entries if e.reason == "SPACING")

    def equal(found: list[Replayed]) -> int:
        assert not any(one.comparison.different for one in found)
        return sum(one.comparison.equal for one in found)

    assert equal(await _replay(rig, Range(from_ms=refused.at, to_ms=refused.at + 1))) == 1
    assert equal(await _replay(rig, Range(to_ms=refused.at))) == 1
    assert equal(await _replay(rig, Range(trigger="thanks"))) == 3
    assert equal(await _replay(rig, Range(from_ms=clock.now_ms()))) == 0


async def test_a_report_counts_what_the_workers_decided(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _play(rig)
    done = await _command(rig, monkeypatch, "report", "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["triggers"]
    assert found["thanks"]["funnel"]["prepared"] == 1
    assert found["thanks"]["funnel"]["suppressed"] == {"PAUSED": 2}
    assert found["cart"]["funnel"]["suppressed"] == {"SPACING": 1}
    told = await _command(rig, monkeypatch, "report", "thanks", "--by", "revision")
    assert told.exit_code == 0, told.output
    assert "PAUSED 2" in told.stdout
    missing = await _command(rig, monkeypatch, "report", "nobody")
    assert missing.exit_code == 4


async def _command(rig: Rig, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The command as a person gives it, with this rig's settings as environment."""
    settings = rig.settings
    for name in ("kafka_servers", "redis_url", "topic_prefix", "partitions"):
        monkeypatch.setenv(f"TRIPLINE_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("TRIPLINE_LOG_SECRET", "s" * 32)
    # The command runs a loop of its own.
    return await asyncio.to_thread(CliRunner().invoke, make_app(), list(arguments))


async def _publish(rig: Rig, row: dict[str, Any]) -> None:
    await rig.producer.send_and_wait(
        rig.topics.decisions,
        msgspec.json.encode(row),
        key=row["user"].encode(),
        partition=partition_of(row["user"], PARTITIONS),
    )


async def _everything(rig: Rig) -> tuple[Any, ...]:
    """All that is stored and where every partition ends: reading must change none of it."""
    stored = [await rig.store.dump(shard) for shard in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=rig.settings.kafka_servers) as consumer:
        names = (rig.topics.events, rig.topics.decisions)
        tps = [TopicPartition(name, shard) for name in names for shard in range(PARTITIONS)]
        return stored, await consumer.end_offsets(tps)
