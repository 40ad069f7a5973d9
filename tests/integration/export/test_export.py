"""`tripline export` against a real Kafka: decisions of a real worker, and outcomes."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.local.kafka import KafkaBroker
from engine.topics import ensure_topics
from schemas.decisions import utc
from schemas.events import BadRecord, decode_event
from schemas.outcomes import OutcomeRow, outcome_record
from schemas.reasons import Reason
from schemas.topics import Topics
from tests.integration.stream.rig import PARTITIONS, Rig, make_settings, open_rig
from tests.services import create_topic
from tests.unit.export.records import DAY_MS, T0_MS, decision, stored
from tests.waiting import eventually

pytestmark = pytest.mark.service

TRIGGER = {"id": "seen", "state": "live", "when": {"event": "Seen"}, "per": "event"} | {
    "class": "transactional"
}


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def exported(*arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(tripline("export", *arguments, "-o", "json").stdout)
    return {name: one["rows"] for name, one in answer["exports"].items()}


@pytest.fixture
def topics(kafka: KafkaBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", kafka.servers)
    monkeypatch.setenv("TRIPLINE_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("TRIPLINE_GROUP", f"{topic_prefix}group")
    monkeypatch.setenv("TRIPLINE_PARTITIONS", str(PARTITIONS))
    return Topics(topic_prefix)


def publish(servers: str, topic: str, records: Iterable[tuple[int, bytes, bytes]]) -> None:
    """Partition, value and `seq` of each record."""

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            for partition, value, mark in records:
                headers = [("seq", mark)]
                await producer.send_and_wait(topic, value, partition=partition, headers=headers)

    asyncio.run(send())


def make_topics(servers: str, prefix: str) -> None:
    settings = make_settings(servers, "redis://127.0.0.1:1/0", prefix)
    asyncio.run(ensure_topics(settings))


async def values(servers: str, topic: str) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=None) as consumer:
        place = TopicPartition(topic, 0)
        end = (await consumer.end_offsets([place]))[place]
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        found: list[bytes] = []
        while len(found) < end:
            found += [
                r.value for r in (await consumer.getmany(place, timeout_ms=200)).get(place, ())
            ]
        return found


def test_what_a_worker_decided_is_in_the_folder_once_however_often_it_is_exported(
    kafka: KafkaBroker, redis_url: str, topics: Topics, tmp_path: Path
) -> None:
    async def work() -> list[dict[str, Any]]:
        settings = make_settings(kafka.servers, redis_url, topics.prefix)
        async with open_rig(settings) as rig:
            await rig.apply(TRIGGER)
            async with rig.worker():
                for users, rows in ((range(5), [5, 0]), (range(5, 9), [4, 0])):
                    for number in users:
                        await rig.send(f"u{number}", "Seen", device=f"d{number}")
                    await rig.decided([("seen", f"u{n}", "ADMITTED") for n in range(users.stop)])
                    for count in rows:
                        found = await asyncio.to_thread(exported, tmp_path)
                        assert found == {"decisions": count, "outcomes": 0}
            return await rig.rows(topics.decisions)

    rows = asyncio.run(work())
    columns = "user_id, trigger_id, outcome, delivery_id, start_id, revision"
    assert stored(tmp_path / "decisions", columns) == sorted(
        (r["user"], r["trigger"], r["outcome"], r["delivery_id"], r["start"], r["revision"])
        for r in rows
    )


def test_what_became_of_a_message_reaches_the_folder_and_the_analytics(
    kafka: KafkaBroker, redis_url: str, topics: Topics, tmp_path: Path
) -> None:
    async def work() -> str:
        settings = make_settings(kafka.servers, redis_url, topics.prefix)
        async with open_rig(settings) as rig:
            await rig.apply(TRIGGER | {"goal": {"event": "Bought", "within": "1d"}})
            async with rig.worker():
                await rig.send("u1", "Seen", device="d1")
                await rig.decided([("seen", "u1", "ADMITTED")])
                (delivery,) = await rig.rows(topics.lane("normal"))
                await rig.end(delivery, Reason.ACCEPTED)
                named = {"delivery_id": delivery["delivery_id"]}
                await rig.send("u1", "Push Opened", properties=named)
                await rig.send("u1", "Bought")
                await eventually(
                    lambda: _kinds(rig, {"accepted", "opened", "converted"}), within_s=30
                )
            found: str = delivery["delivery_id"]
            return found

    async def _kinds(rig: Rig, wanted: set[str]) -> bool:
        return wanted <= {row["kind"] for row in await rig.rows(topics.outcomes)}

    delivery = asyncio.run(work())
    assert exported(tmp_path, "--segment", tmp_path / "segment.jsonl")["segment"] == 2
    columns = "delivery_id, kind, user_id, channel"
    found = stored(tmp_path / "outcomes", columns)
    for kind in ("accepted", "converted", "opened"):
        assert (delivery, kind, "u1", "push") in found
    assert (delivery,) in stored(tmp_path / "decisions", "delivery_id")
    events = [json.loads(line) for line in (tmp_path / "segment.jsonl").read_bytes().splitlines()]
    assert sorted(event["event"] for event in events) == ["Push Opened", "Push Sent"]


def test_ranges_of_publishing_meet_without_a_gap_and_repeats_are_dropped(
    kafka: KafkaBroker, topics: Topics, tmp_path: Path
) -> None:
    make_topics(kafka.servers, topics.prefix)
    first = [(n % 4, decision(n, T0_MS + n * DAY_MS // 3), b"%d.0:x:0" % n) for n in range(40)]
    publish(kafka.servers, topics.decisions, first)
    begun = asyncio.run(last_time(kafka.servers, topics.decisions)) + 1
    again = [*first[-4:], *((n % 4, decision(n), b"%d.0:y:0" % n) for n in range(40, 60))]
    publish(kafka.servers, topics.decisions, again)
    after = utc(begun)
    assert exported(tmp_path, "--decisions", "--from", after) == {"decisions": 20}
    assert exported(tmp_path, "--decisions", "--to", after) == {"decisions": 40}
    assert exported(tmp_path, "--decisions") == {"decisions": 0}
    users = stored(tmp_path / "decisions", "user_id")
    assert users == sorted((f"u{n}",) for n in range(60))


async def create_listed(servers: str, name: str) -> None:
    """Brokers acknowledge a topic a moment before they list it."""
    await create_topic(servers, name)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:

        async def listed() -> bool:
            return name in await admin.list_topics()

        await eventually(listed)
    finally:
        await admin.close()


def outcome(number: int, kind: str) -> bytes:
    row = OutcomeRow(kind, f"{number:032x}", "cart", 1, "", "push", f"u{number}", T0_MS + number)
    return outcome_record(row)


def test_segment_events_go_to_a_file_or_on_into_a_topic_and_never_come_back(
    kafka: KafkaBroker, topics: Topics, tmp_path: Path
) -> None:
    make_topics(kafka.servers, topics.prefix)
    target = f"{topics.prefix}analytics"
    asyncio.run(create_listed(kafka.servers, target))
    kinds = ("accepted", "opened", "converted")
    records = [(n % 4, outcome(n, kind), b"%d.0:x:0" % n) for n in range(3) for kind in kinds]
    publish(kafka.servers, topics.outcomes, [*records, records[0]])
    assert exported("--segment", f"topic:{target}") == {"segment": 6}
    assert exported("--segment", f"topic:{target}") == {"segment": 0}
    publish(kafka.servers, topics.outcomes, [(1, outcome(9, "clicked"), b"9.0:x:0")])
    assert exported("--segment", f"topic:{target}") == {"segment": 1}
    assert exported("--segment", tmp_path / "out.jsonl") == {"segment": 7}
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted(asyncio.run(values(kafka.servers, target)))
    names = [json.loads(line)["event"] for line in lines]
    assert sorted(names) == ["Push Clicked", *["Push Opened"] * 3, *["Push Sent"] * 3]
    for line in lines:
        with pytest.raises(BadRecord, match="OWN_EVENT"):
            decode_event(line)
    tripline("export", "--segment", f"topic:{topics.events}", code=2)
    tripline("export", "--segment", f"topic:{target}-none", code=4)


def test_what_retention_took_before_it_was_sent_on_is_said_once(
    kafka: KafkaBroker, topics: Topics
) -> None:
    make_topics(kafka.servers, topics.prefix)
    target = f"{topics.prefix}analytics"
    asyncio.run(create_listed(kafka.servers, target))
    sent = [(0, outcome(n, "opened"), b"%d.0:x:0" % n) for n in range(6)]
    publish(kafka.servers, topics.outcomes, sent[:2])
    assert exported("--segment", f"topic:{target}") == {"segment": 2}
    publish(kafka.servers, topics.outcomes, sent[2:])

    async def retain_the_last() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
        await admin.start()
        try:
            gone = {TopicPartition(topics.outcomes, 0): RecordsToDelete(before_offset=5)}
            await admin.delete_records(gone)
        finally:
            await admin.close()

    asyncio.run(retain_the_last())
    answer = tripline("export", "--segment", f"topic:{target}", "-o", "json", code=1)
    found = json.loads(answer.stdout)["exports"]["segment"]
    assert (found["rows"], found["lost"]) == (1, 3)
    assert exported("--segment", f"topic:{target}") == {"segment": 0}


def test_no_topic_and_no_broker_are_said(
    kafka: KafkaBroker, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no topic" in tripline("export", tmp_path, code=4).stderr
    assert not tmp_path.joinpath("decisions").exists()
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", "127.0.0.1:1")
    tripline("export", tmp_path, "--timeout", "0.5", code=6)


async def last_time(servers: str, topic: str) -> int:
    """The greatest timestamp on the topic."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=None) as consumer:
        places = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        for place in places:
            consumer.seek(place, ends[place] - 1)
        latest: dict[TopicPartition, int] = {}
        while len(latest) < PARTITIONS:
            for place, found in (await consumer.getmany(*places, timeout_ms=200)).items():
                latest[place] = found[-1].timestamp
        return max(latest.values())
