import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import redis

from engine.local.errors import ChildError
from engine.local.ports import accepts
from engine.local.process import Child, ProcessIdentity
from engine.local.redis import RedisServer
from engine.local.stack import (
    Addresses,
    LocalStack,
    RecordedProcess,
    StackRecord,
    read_record,
    stop_recorded,
)
from tests.waiting import eventually

pytestmark = pytest.mark.service

_UP = (
    "import pathlib, signal, sys\n"
    "from engine.local.stack import LocalStack\n"
    "with LocalStack(pathlib.Path(sys.argv[1]), environment={}):\n"
    "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "    print('up', flush=True)\n"
    "    signal.pause()\n"
)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Child]:
    """A command that keeps a stack up in `tmp_path / "stack"`."""
    command = Child(
        "up", [sys.executable, "-c", _UP, str(tmp_path / "stack")], log_path=tmp_path / "up.log"
    )
    command.start()
    yield command
    command.kill()


async def _record(up: Child, directory: Path) -> StackRecord:
    await eventually(lambda: up.log_tail(1) == "up", within_s=60.0)
    record = read_record(directory)
    assert record is not None
    return record


def _redis(record: StackRecord) -> "redis.Redis":
    return redis.Redis.from_url(record.addresses.redis_url, decode_responses=True)


async def test_down_stops_what_up_started_and_nothing_else(up: Child, tmp_path: Path) -> None:
    record = await _record(up, tmp_path / "stack")
    bystander = RedisServer(tmp_path / "bystander")
    with bystander:
        assert [process.name for process in record.processes] == ["redis", "kafka"]
        assert record.running
        # The owner stops its children in good order before it ends.
        assert stop_recorded(tmp_path / "stack") == ["owner"]
        assert up.wait(10.0) == 0
        assert not any(process.identity.alive for process in record.processes)
        assert read_record(tmp_path / "stack") is None
        assert bystander.command("PING")
    assert stop_recorded(tmp_path / "stack") == []


async def test_nothing_is_left_when_up_is_killed_and_the_next_run_has_data_and_ports(
    up: Child, tmp_path: Path
) -> None:
    record = await _record(up, tmp_path / "stack")
    with _redis(record) as client:
        client.set("key", "value")
    up.kill()
    for process in record.processes:
        assert process.identity.wait_gone(10.0)
    assert stop_recorded(tmp_path / "stack") == []
    with LocalStack(tmp_path / "stack", environment={}) as stack:
        assert stack.addresses == record.addresses
        with _redis(record) as client:
            assert client.get("key") == "value"


async def test_a_second_run_in_the_same_directory_is_refused(up: Child, tmp_path: Path) -> None:
    record = await _record(up, tmp_path / "stack")
    with pytest.raises(ChildError, match=rf"another command \(pid {up.pid}\)"):
        LocalStack(tmp_path / "stack", environment={}).start()
    assert read_record(tmp_path / "stack") == record
    assert all(process.identity.alive for process in record.processes)


def test_only_the_recorded_process_is_stopped_and_not_a_later_one_with_its_pid(
    tmp_path: Path,
) -> None:
    other = Child("other", ["sleep", "600"], log_path=tmp_path / "other.log")
    other.start()
    now = ProcessIdentity.of(other.pid)
    assert now is not None
    try:
        _write_record(tmp_path, replace(now, started_ticks=now.started_ticks - 1))
        assert stop_recorded(tmp_path) == []
        assert other.alive
        _write_record(tmp_path, now)
        assert stop_recorded(tmp_path) == ["other"]
        assert other.wait(10.0) == -signal.SIGTERM
    finally:
        other.kill()


async def test_a_worker_recorded_by_the_owner_is_in_the_record(tmp_path: Path) -> None:
    worker = Child("worker", ["sleep", "600"], log_path=tmp_path / "worker.log")
    worker.start()
    try:
        with LocalStack(tmp_path, environment=_adopt("k:1", "redis://r:1/0")) as stack:
            stack.record_process("worker", worker.pid)
            record = read_record(tmp_path)
            assert record is not None
            assert [(one.name, one.pid) for one in record.processes] == [("worker", worker.pid)]
    finally:
        worker.kill()


def test_addresses_in_the_environment_are_adopted_and_their_servers_left_running(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = _adopt("broker.example:9092", redis_server.url)
    with LocalStack(tmp_path, environment=environment) as stack:
        assert stack.addresses.kafka_servers == "broker.example:9092"
        assert stack.addresses.redis_url == redis_server.url
        record = read_record(tmp_path)
        assert record is not None
        assert record.processes == []
    assert accepts(redis_server.port)


def _adopt(kafka_servers: str, redis_url: str) -> dict[str, str]:
    return {"TRIPLINE_KAFKA_SERVERS": kafka_servers, "TRIPLINE_REDIS_URL": redis_url}


def _write_record(directory: Path, process: ProcessIdentity) -> None:
    """What a command leaves that was killed: an owner that is gone, and one of its processes."""
    gone = RecordedProcess("owner", 2**22, 1, process.boot_id)
    named = RecordedProcess("other", process.pid, process.started_ticks, process.boot_id)
    record = StackRecord(gone, [named], Addresses("k:1", "redis://r:1/0"))
    (directory / "stack.json").write_bytes(msgspec.json.encode(record))
