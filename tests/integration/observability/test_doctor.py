"""`tripline doctor` against a real broker and a real Redis."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
import structlog
import typer
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from engine import clock
from engine.cli.common import ExitCode
from engine.cli.doctor import doctor
from engine.doctor import State, check_kafka, check_redis
from engine.local.kafka import KafkaBroker
from engine.local.ports import free_port
from engine.settings import Settings
from engine.store import functions
from engine.store.redis import RedisStore
from engine.topics import ensure_topics
from tests.services import FreshRedis

pytestmark = pytest.mark.service


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """The command configures the logs of its process, which here is the tests'."""
    level = logging.getLogger("aiokafka").level
    yield
    structlog.reset_defaults()
    logging.getLogger("aiokafka").setLevel(level)


def call(*words: str, **environment: str) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(words), env=environment)


def states(result: Result) -> dict[str, str]:
    rows: list[dict[str, Any]] = json.loads(result.stdout)["checks"]
    return {row["check"]: row["state"] for row in rows}


@pytest.fixture
def environment(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> dict[str, str]:
    return {
        "TRIPLINE_KAFKA_SERVERS": kafka.servers,
        "TRIPLINE_REDIS_URL": redis_url,
        "TRIPLINE_TOPIC_PREFIX": topic_prefix,
        "TRIPLINE_PARTITIONS": "2",
        "TRIPLINE_LOG_SECRET": "s" * 16,
    }


def test_it_names_what_is_missing_and_after_creating_the_topics_nothing_is_wrong(
    environment: dict[str, str],
) -> None:
    before = call("-o", "json", **environment)
    assert before.exit_code == ExitCode.ERROR
    prefix = environment["TRIPLINE_TOPIC_PREFIX"]
    assert states(before)[f"topic {prefix}events"] == "fail"
    after = call("-o", "json", "--create-topics", **environment)
    assert after.exit_code == ExitCode.OK, after.output
    assert json.loads(after.stdout)["ok"] is True
    assert states(after)["topics"] == "ok"
    assert set(states(after).values()) == {"ok", "warn"}, "no provider, functions not loaded"


def test_services_that_are_away_are_told_apart_from_wrong_ones() -> None:
    away = f"127.0.0.1:{free_port()}"
    result = call(
        "-o", "json", TRIPLINE_KAFKA_SERVERS=away, TRIPLINE_REDIS_URL=f"redis://u:hunter2@{away}"
    )
    assert result.exit_code == ExitCode.UNREACHABLE
    assert states(result)["kafka"] == states(result)["redis"] == "unreachable"
    assert "hunter2" not in result.output


def test_a_wrong_setting_ends_it_before_anything_is_asked() -> None:
    result = call(TRIPLINE_PARTITION="8")
    assert result.exit_code == ExitCode.INVALID
    assert "did you mean TRIPLINE_PARTITIONS?" in result.stderr


def test_the_settings_are_listed_without_secrets_and_without_services() -> None:
    result = call("--settings", "-o", "json", TRIPLINE_LOG_SECRET="hunter2-hunter2-hunter2")
    assert result.exit_code == ExitCode.OK
    listed = {row["variable"]: row for row in json.loads(result.stdout)["settings"]}
    assert listed["TRIPLINE_LOG_SECRET"]["value"] == "[hidden]"
    assert listed["TRIPLINE_PARTITIONS"]["default"] == "8"
    assert "hunter2" not in result.output


async def test_the_functions_a_worker_loaded_are_found(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    before = {check.name: check for check in await check_redis(settings, 5)}
    store = RedisStore(redis_url)
    await store.wait_ready(10)
    await store.aclose()
    after = {check.name: check for check in await check_redis(settings, 5)}
    (name,) = (name for name in after if name.endswith("functions"))
    assert (before[name].state, after[name].state) == (State.WARN, State.OK)
    assert all(check.state is State.OK for check in after.values())
    other = functions.stamped(functions.code() + "-- of another release\n")
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.function_load(other)
    again = {check.name: check for check in await check_redis(settings, 5)}[name]
    assert again.state is State.OK
    assert other.partition("\n")[0].removeprefix("#!lua name=") in again.detail


async def test_a_redis_that_may_forget_is_a_fault(fresh_redis: FreshRedis) -> None:
    server = fresh_redis(appendonly=False, settings={"maxmemory-policy": "allkeys-lru"})
    found = await check_redis(Settings(redis_url=server.url, redis_replicas=1), 5)
    words = " ".join(check.detail for check in found if check.state is State.FAIL)
    assert "appendonly yes" in words
    assert "set noeviction" in words
    assert "0 replicas of 1" in words


def test_a_redis_that_refuses_the_login_is_told_so(fresh_redis: FreshRedis) -> None:
    server = fresh_redis()
    server.command("ACL", "SETUSER", "me", "on", ">right", "~*", "+@all")
    wrong = server.url.replace("redis://", "redis://me:wrong@")
    away = f"127.0.0.1:{free_port()}"
    result = call("-o", "json", TRIPLINE_REDIS_URL=wrong, TRIPLINE_KAFKA_SERVERS=away)
    assert states(result)["redis"] == "refused"


async def test_the_age_of_the_newest_record_shows_a_clock_that_is_behind(
    kafka: KafkaBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(kafka_servers=kafka.servers, topic_prefix=topic_prefix, partitions=2)
    await ensure_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.servers)
    await producer.start()
    try:
        await producer.send_and_wait(f"{topic_prefix}events", b"{}", partition=1)
    finally:
        await producer.stop()
    right = {check.name: check for check in await check_kafka(settings, 10)}
    assert right["broker clock"].state is State.OK
    assert "s old" in right["broker clock"].detail
    real = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: real() - 60_000)
    behind = {check.name: check for check in await check_kafka(settings, 10)}
    assert behind["broker clock"].state is State.FAIL
    assert "in the future" in behind["broker clock"].detail
