"""An Apache Kafka broker in KRaft mode (broker and controller in one process)."""

import asyncio
import base64
import shutil
import subprocess
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from engine.local.errors import ChildError
from engine.local.jars import (
    class_archive_path,
    class_path,
    find_java,
    find_libs,
    storage_template_path,
)
from engine.local.ports import HOST, accepts, free_port
from engine.local.service import Service

MESSAGE_BYTES_MAX = 2 * 1024 * 1024

Jit = Literal["quick", "full"]
"""`quick` starts and warms up faster, `full` is the JVM's default and serves more per second."""

_NODE_ID = 1
_FORMAT_WITHIN_S = 60.0
_METADATA_WITHIN_MS = 2_000
_JVM_FLAGS: Mapping[Jit, tuple[str, ...]] = {
    "quick": ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    "full": (),
}
_LOG4J = """\
status = off
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = INFO
"""

# Thread and buffer sizes for a machine of two cores: with the defaults the idle broker holds
# 300 MB, with these 170 MB, and it starts no slower.
_SETTINGS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "background.threads": "2",
    # After a kill the controller refuses the broker until its old session ends: with the default
    # of 9 s a restart took 13 s, with 2 s it takes 4.
    "broker.heartbeat.interval.ms": "250",
    "broker.session.timeout.ms": "2000",
    "default.replication.factor": "1",
    "group.coordinator.threads": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    # A topic with CreateTime may hold years-old records; each topic sets its own retention.
    "log.retention.ms": "-1",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "metric.reporters": "",
    "min.insync.replicas": "1",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "transaction.state.log.replication.factor": "1",
}

T = TypeVar("T")


class KafkaBroker(Service):
    """One broker with its data under `directory`. `settings` override server.properties.

    The storage is formatted at the first start. Ports default to free ones and are kept for the
    life of this object; the data may be started on other ports by another object later.
    What `engine.local.prepare` left beside the jars (a JVM class archive, a formatted directory)
    is used when it is there: with both a new broker is ready in less than half the time.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        controller_port: int | None = None,
        *,
        heap_mb: int = 512,
        jit: Jit = "quick",
        settings: Mapping[str, str] | None = None,
        libs: Path | None = None,
        jvm_flags: tuple[str, ...] = (),
    ) -> None:
        super().__init__("kafka", directory)
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.heap_mb = heap_mb
        self.jit: Jit = jit
        self._settings = dict(settings or {})
        self._libs = libs
        self._jvm_flags = jvm_flags

    @property
    def servers(self) -> str:
        """The bootstrap address, `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def data_directory(self) -> Path:
        """Where the log segments are."""
        return self.directory / "data"

    def run_tool(self, main_class: str, *arguments: str, within_s: float = 60.0) -> str:
        """Run a class of the Kafka jars to its end and return its output.

        Raises `ChildError` with the output when it fails or takes longer than `within_s`.
        """
        command = [*self._java(), main_class, *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise ChildError(f"{main_class} took longer than {within_s} s") from late
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            raise ChildError(f"{main_class} ended with status {done.returncode}\n{output}")
        return output

    def format_storage(self, into: Path) -> None:
        """Write an empty, formatted data directory with Kafka's own tool."""
        properties = self._write_settings("format.properties", into)
        self.run_tool(
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={_new_id()}",
            "--config",
            str(properties),
            within_s=_FORMAT_WITHIN_S,
        )

    def _command(self) -> list[str]:
        self._format_once()
        properties = self._write_settings("server.properties", self.data_directory)
        return [*self._java(), "kafka.Kafka", str(properties)]

    def _is_ready(self) -> bool:
        # A raw connection first: aiokafka logs an error for each refused one.
        return accepts(self.port) and _in_own_loop(lambda: _serves_metadata(self.servers))

    def _java(self) -> list[str]:
        java = find_java()
        libs = self._libs or find_libs()
        log4j = self.directory / "log4j2.properties"
        self.directory.mkdir(parents=True, exist_ok=True)
        log4j.write_text(_LOG4J)
        archive = class_archive_path(libs, java)
        shared = [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
        return [
            java,
            f"-Xmx{self.heap_mb}m",
            *_JVM_FLAGS[self.jit],
            *(shared if archive.exists() else []),
            *self._jvm_flags,
            f"-Dlog4j2.configurationFile={log4j}",
            "-cp",
            class_path(libs),
        ]

    def _write_settings(self, file_name: str, data_directory: Path) -> Path:
        listeners = f"BROKER://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}"
        settings = {
            **_SETTINGS,
            "process.roles": "broker,controller",
            "node.id": str(_NODE_ID),
            "controller.quorum.voters": f"{_NODE_ID}@{HOST}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "BROKER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": listeners,
            "advertised.listeners": f"BROKER://{self.servers}",
            "log.dirs": str(data_directory),
            **self._settings,
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        properties = self.directory / file_name
        properties.write_text("".join(f"{key}={settings[key]}\n" for key in sorted(settings)))
        return properties

    def _format_once(self) -> None:
        """Lay the data directory down in one rename: an interrupted format is done again."""
        if self.data_directory.exists():
            return
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        template = storage_template_path(self._libs or find_libs())
        if template.exists():
            _copy_storage(template, unfinished)
        else:
            self.format_storage(unfinished)
        unfinished.rename(self.data_directory)


def _copy_storage(template: Path, into: Path) -> None:
    """Copy a formatted directory under ids of its own: two brokers are never the same cluster."""
    shutil.copytree(template, into)
    meta = into / "meta.properties"
    lines = []
    for line in meta.read_text().splitlines():
        key = line.partition("=")[0]
        lines.append(f"{key}={_new_id()}" if key in ("cluster.id", "directory.id") else line)
    meta.write_text("\n".join(lines) + "\n")


def _new_id() -> str:
    """A Kafka uuid: 16 random bytes in unpadded URL-safe base64, without a leading dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


async def _serves_metadata(servers: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=_METADATA_WITHIN_MS)
    try:
        await admin.start()
        cluster: dict[str, Any] = await admin.describe_cluster()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
    # A fenced broker, not yet admitted by the controller, answers with an empty list.
    return len(cluster["brokers"]) > 0


def _in_own_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also where a loop is running or must not be touched."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(make())).result()
