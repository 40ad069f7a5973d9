"""One Kafka and one Redis for one machine, written down so that another command can stop them."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from engine.local.errors import ChildError
from engine.local.kafka import Jit, KafkaBroker
from engine.local.ports import is_free
from engine.local.process import ProcessIdentity
from engine.local.redis import RedisServer
from engine.local.service import Service

KAFKA_SERVERS_VARIABLE = "TRIPLINE_KAFKA_SERVERS"
REDIS_URL_VARIABLE = "TRIPLINE_REDIS_URL"
_RECORD_FILE = "stack.json"
_PORTS_FILE = "ports.json"
_LOCK_FILE = "stack.lock"
_CHILD_WITHIN_S = 15.0


class Addresses(msgspec.Struct, frozen=True):
    """Where the services answer."""

    kafka_servers: str
    redis_url: str


class RecordedProcess(msgspec.Struct, frozen=True):
    """A process this stack started, told apart from a later one with the same pid."""

    name: str
    pid: int
    started_ticks: int
    boot_id: str

    @property
    def identity(self) -> ProcessIdentity:
        """What to check and signal."""
        return ProcessIdentity(self.pid, self.started_ticks, self.boot_id)


class StackRecord(msgspec.Struct, frozen=True):
    """The contents of `stack.json`, which is there while the stack is started."""

    owner: RecordedProcess
    processes: list[RecordedProcess]
    addresses: Addresses

    @property
    def running(self) -> bool:
        """True while the command that started the stack runs."""
        return self.owner.identity.alive


class LocalStack:
    """A broker and a Redis under `directory`, for as long as this object is started.

    An address in the environment (TRIPLINE_KAFKA_SERVERS, TRIPLINE_REDIS_URL) is adopted and
    nothing is started or stopped for it. Data stays between runs, and so do the ports while they
    are free. Children die with this process, also when it is killed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        kafka_heap_mb: int = 512,
        jit: Jit = "quick",
        kafka_settings: Mapping[str, str] | None = None,
        redis_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._environment = os.environ if environment is None else environment
        self._kafka_heap_mb = kafka_heap_mb
        self._jit: Jit = jit
        self._kafka_settings = kafka_settings
        self._redis_settings = redis_settings
        self._lock: IO[bytes] | None = None
        self._addresses: Addresses | None = None
        self._others: list[RecordedProcess] = []
        self.kafka: KafkaBroker | None = None
        self.redis: RedisServer | None = None

    @property
    def addresses(self) -> Addresses:
        """Raises `ChildError` before `start`."""
        if self._addresses is None:
            raise ChildError("the stack was not started")
        return self._addresses

    def start(self, within_s: float = 60.0) -> Addresses:
        """Start what is not adopted, both at once, and wait until both answer.

        Raises `ChildError` when another command runs the stack of this directory, or when a
        service fails (then nothing is left running), and `MissingProgramError`.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._make_services()
            self._write_ports()
            # Written before the wait: `make down` also works while it starts.
            self._write_record()
            for service in self._services():
                service.launch()
                self._write_record()
            for service in self._services():
                service.wait_ready(within_s)
        except BaseException:
            self.stop()
            raise
        return self.addresses

    def stop(self) -> None:
        """Stop what this object started and forget it. The data stays."""
        for service in reversed(self._services()):
            service.stop(_CHILD_WITHIN_S)
        if self._lock is not None:
            (self.directory / _RECORD_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def record_process(self, name: str, pid: int) -> None:
        """Write down one more process (a worker, say) for `stop_recorded`, if it still runs."""
        identity = ProcessIdentity.of(pid)
        if identity is not None:
            self._others.append(_recorded(name, identity))
            self._write_record()

    async def start_async(self, within_s: float = 60.0) -> Addresses:
        """`start` without blocking the event loop. When cancelled, nothing is left running."""
        starting = asyncio.ensure_future(asyncio.to_thread(self.start, within_s))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A thread cannot be cancelled; stopping beside it would race with what it launches.
            await asyncio.wait([starting])
            self.stop()
            raise

    async def stop_async(self) -> None:
        """`stop` without blocking the event loop."""
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _services(self) -> list[Service]:
        return [service for service in (self.redis, self.kafka) if service is not None]

    def _make_services(self) -> None:
        ports = self._read_ports()
        kafka_servers = self._environment.get(KAFKA_SERVERS_VARIABLE)
        if not kafka_servers:
            self.kafka = KafkaBroker(
                self.directory / "kafka",
                _if_free(ports.get("kafka")),
                _if_free(ports.get("kafka_controller")),
                heap_mb=self._kafka_heap_mb,
                jit=self._jit,
                settings=self._kafka_settings,
            )
            kafka_servers = self.kafka.servers
        redis_url = self._environment.get(REDIS_URL_VARIABLE)
        if not redis_url:
            self.redis = RedisServer(
                self.directory / "redis",
                _if_free(ports.get("redis")),
                settings=self._redis_settings,
            )
            redis_url = self.redis.url
        self._addresses = Addresses(kafka_servers, redis_url)

    def _read_ports(self) -> dict[str, int]:
        try:
            return msgspec.json.decode(
                (self.directory / _PORTS_FILE).read_bytes(), type=dict[str, int]
            )
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}

    def _write_ports(self) -> None:
        ports: dict[str, int] = {}
        if self.kafka is not None:
            ports["kafka"] = self.kafka.port
            ports["kafka_controller"] = self.kafka.controller_port
        if self.redis is not None:
            ports["redis"] = self.redis.port
        (self.directory / _PORTS_FILE).write_bytes(msgspec.json.encode(ports))

    def _take_lock(self) -> None:
        lock = (self.directory / _LOCK_FILE).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            record = read_record(self.directory)
            who = "" if record is None else f" (pid {record.owner.pid})"
            raise ChildError(
                f"another command{who} runs the services in {self.directory}: "
                "stop it first, `make down` does"
            ) from None
        self._lock = lock

    def _write_record(self) -> None:
        owner = ProcessIdentity.of(os.getpid())
        assert owner is not None
        children = [
            _recorded(service.name, identity)
            for service in self._services()
            if service.alive and (identity := ProcessIdentity.of(service.child.pid)) is not None
        ]
        record = StackRecord(
            owner=_recorded("owner", owner),
            processes=[*children, *self._others],
            addresses=self.addresses,
        )
        path = self.directory / _RECORD_FILE
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        unfinished.replace(path)


def read_record(directory: Path) -> StackRecord | None:
    """What the last `start` in `directory` wrote down; None when there is nothing readable."""
    try:
        return msgspec.json.decode((directory / _RECORD_FILE).read_bytes(), type=StackRecord)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def stop_recorded(directory: Path, within_s: float = 30.0) -> list[str]:
    """Stop the command that runs the stack of `directory`, then whatever of it is left.

    Only processes that were written down are touched, and only while their start time is the
    recorded one. Returns the names of those stopped. Raises `ChildError` when one survives KILL.
    """
    record = read_record(directory)
    if record is None:
        return []
    stopped: list[str] = []
    # The owner first: it stops its children in good order.
    for recorded in (record.owner, *record.processes):
        if not recorded.identity.send(signal.SIGTERM):
            continue
        if not recorded.identity.wait_gone(within_s):
            recorded.identity.send(signal.SIGKILL)
            if not recorded.identity.wait_gone(_CHILD_WITHIN_S):
                raise ChildError(f"{recorded.name} (pid {recorded.pid}) does not end")
        stopped.append(recorded.name)
    return stopped


def main(arguments: list[str]) -> int:
    """`python -m engine.local.stack DIRECTORY`: stop what was recorded there and say so."""
    for directory in map(Path, arguments):
        for name in stop_recorded(directory):
            print(f"stopped {name} of {directory}")
    return 0


def _recorded(name: str, identity: ProcessIdentity) -> RecordedProcess:
    return RecordedProcess(name, identity.pid, identity.started_ticks, identity.boot_id)


def _if_free(port: int | None) -> int | None:
    return port if port is not None and is_free(port) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
