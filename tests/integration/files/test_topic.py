"""A topic as a history, against a real Kafka."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.files import Problems, Span, pairs_of
from engine.files.topic import TopicMissingError, TopicUnreachableError, open_topic
from engine.local.kafka import KafkaBroker
from schemas.kinds import KIND_HEADER
from tests.services import create_topic
from tests.unit.files.reading import segment

pytestmark = pytest.mark.service

T0_MS = 1_767_607_200_000
#: Partition, append time after T0, value, and kind.
Sent = tuple[int, int, bytes, str | None]
TRIGGER = "id: bought\nstate: live\nclass: transactional\nwhen: {event: Seen}\nper: event\n"


def fill(servers: str, topic: str, records: Iterable[Sent], partitions: int = 3) -> None:
    async def send() -> None:
        times = {"message.timestamp.type": "CreateTime"}
        await create_topic(servers, topic, partitions, times)
        producer = AIOKafkaProducer(bootstrap_servers=servers)
        await producer.start()
        try:
            for partition, a_ms, value, kind in records:
                headers = [(KIND_HEADER, kind.encode())] if kind else []
                await producer.send_and_wait(
                    topic,
                    value,
                    partition=partition,
                    timestamp_ms=T0_MS + a_ms,
                    headers=headers,
                )
        finally:
            await producer.stop()

    asyncio.run(send())


def read(
    servers: str, topic: str, span: Span | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    problems = Problems()
    options = {"bootstrap_servers": servers}
    with open_topic(options, topic, problems=problems, span=span or Span()) as history:
        passed: list[int] = []
        events = pairs_of(history.batches(passed.append))
        found = [(a_ms - T0_MS, event.message_id) for a_ms, event in events]
        if span is None:
            assert sum(passed) == history.records
        return (
            found,
            sorted((kind, count) for kind, count in history.kinds.items()),
            [(count, str(problems.examples[kind][0])) for kind, count in problems.counts.items()],
        )


def test_all_partitions_are_one_history_by_append_time(
    kafka: KafkaBroker, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}events"
    records: list[Sent] = [
        (n % 3, 10 * (n // 2), segment(0, messageId=f"m{n}"), None) for n in range(400)
    ]
    records += [(0, 5_000, b"{}", "outcome"), (1, 5_000, b"", "tick"), (2, 5_000, b"{}", "outcome")]
    records += [(1, 5_001, b"{oops", None), (1, 4_000, segment(0, messageId="back"), None)]
    fill(kafka.servers, topic, records)
    found, kinds, problems = read(kafka.servers, topic)
    expected = sorted((10 * (n // 2), n % 3, n) for n in range(400))
    # Append times of a partition do not go back: the last one counts as that of the one above.
    assert found == [(a_ms, f"m{n}") for a_ms, _, n in expected] + [(5_001, "back")]
    assert kinds == [("outcome", 2), ("tick", 1)]
    ((count, example),) = problems
    assert (count, example.split(" ")[0]) == (1, f"{topic}[1]:134:")


def test_only_what_was_appended_in_the_range_is_read(kafka: KafkaBroker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}events"
    fill(
        kafka.servers,
        topic,
        [(n % 2, n, segment(0, messageId=f"m{n}"), None) for n in range(20)],
    )
    found, _, _ = read(kafka.servers, topic, Span(T0_MS + 5, T0_MS + 9))
    assert [message_id for _, message_id in found] == ["m5", "m6", "m7", "m8"]
    assert read(kafka.servers, topic, Span(T0_MS + 90))[0] == []


def test_a_topic_that_is_not_there_is_not_created(kafka: KafkaBroker, topic_prefix: str) -> None:
    for _ in range(2):
        with pytest.raises(TopicMissingError, match=f"no topic {topic_prefix}none"):
            read(kafka.servers, f"{topic_prefix}none")


def test_no_broker_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.files.topic.CONNECT_WITHIN_S", 1.0)
    with pytest.raises(TopicUnreachableError, match="events: Kafka"):
        read("127.0.0.1:1", "events")


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def test_backtest_reads_the_log_and_decides_as_on_a_file(
    kafka: KafkaBroker, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", kafka.servers)
    monkeypatch.setenv("TRIPLINE_TOPIC_PREFIX", topic_prefix)
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "bought.yaml").write_text(TRIGGER)
    messages = [segment(n, userId=f"u{n % 5}") for n in range(30)]
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(message + b"\n" for message in messages))
    fill(
        kafka.servers,
        f"{topic_prefix}events",
        [(n % 3, n, message, None) for n, message in enumerate(messages)] + [(0, 99, b"", "tick")],
    )
    decided = []
    for source in (f"topic:{topic_prefix}events", "topic:", events):
        out = tmp_path / "decisions.jsonl"
        answer = tripline(
            "backtest", tmp_path, "--events", source, "--decisions", out, "-o", "json"
        )
        report = json.loads(answer.stdout)
        assert (report["events"], report["triggers"]["bought"]["admitted"]) == (30, 30)
        decided.append(out.read_bytes())
    assert (
        "own records passed over: tick 1"
        in tripline("backtest", tmp_path, "--events", "topic:").stderr
    )
    assert decided[0] == decided[1] == decided[2]
    tripline("backtest", tmp_path, "--events", "topic:nothing-here", code=4)
