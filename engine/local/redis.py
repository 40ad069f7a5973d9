"""A Redis server, a replica of one, and a small Redis Cluster."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine import clock
from engine.local.errors import ChildError, MissingProgramError
from engine.local.ports import HOST, free_port
from engine.local.service import Service

AppendFsync = Literal["always", "everysec", "no"]

SLOTS = 16_384
"""Hash slots of a Redis Cluster (Redis Cluster specification)."""

_CLUSTER_NODE_TIMEOUT_MS = 2_000
_COMMAND_WITHIN_S = 5.0
_POLL_S = 0.02


class RedisServer(Service):
    """One server with its append-only file under `directory`. `settings` override redis.conf.

    Nothing is ever evicted and no RDB snapshots are taken by themselves. A restart keeps the data,
    the port and the role: after `promote` it comes back as a primary.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        appendonly: bool = True,
        appendfsync: AppendFsync = "everysec",
        replica_of: "RedisServer | None" = None,
        cluster: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("redis", directory)
        self.port = port or free_port()
        self.cluster_port = free_port() if cluster else None
        self._appendonly = appendonly
        self._appendfsync: AppendFsync = appendfsync
        self._primary_port = None if replica_of is None else replica_of.port
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """The address as redis-py takes it."""
        return f"redis://{HOST}:{self.port}/0"

    def client(self, *, within_s: float = _COMMAND_WITHIN_S) -> "redis.Redis":
        """A new blocking client that answers in `str` and never retries. The caller closes it."""
        return redis.Redis(
            host=HOST,
            port=self.port,
            socket_timeout=within_s,
            socket_connect_timeout=within_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def command(self, *words: str | int) -> Any:
        """Send one command over a connection of its own and return the answer."""
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO, as the server says it."""
        with self.client() as client:
            answer: dict[str, Any] = dict(client.info(section))
        return {key: str(value) for key, value in answer.items()}

    def flush(self) -> None:
        """Remove every key of every database and every function."""
        with self.client() as client:
            client.execute_command("FLUSHALL", "ASYNC")
            client.execute_command("FUNCTION", "FLUSH")

    def promote(self) -> None:
        """Make a replica a primary, at once and over restarts."""
        self.command("REPLICAOF", "NO", "ONE")
        self._primary_port = None

    def follow(self, primary: "RedisServer") -> None:
        """Make this server a replica of `primary`; its own data is replaced."""
        self.command("REPLICAOF", HOST, primary.port)
        self._primary_port = primary.port

    def stop(self, within_s: float = 15.0) -> None:
        """TERM, then KILL after `within_s`. Does nothing when the server does not run."""
        # Redis refuses TERM while it writes the first append-only file of a new replica
        # ("Writing initial AOF, can't exit") and does not come back to it by itself.
        if self.alive:
            self.child.stop(within_s, again_every_s=0.2)

    def wait_linked(self, within_s: float = 20.0) -> None:
        """Block until this replica has its primary's data and follows it."""
        _until(
            lambda: self.info("replication").get("master_link_status") == "up",
            within_s,
            lambda: f"{self.url} follows no primary\n{self.child.log_tail()}",
        )

    def _command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise MissingProgramError("redis-server is not installed: run `make setup`")
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.directory.resolve()),
            "daemonize": "no",
            "logfile": '""',
            "save": '""',
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": self._appendfsync,
            "maxmemory-policy": "noeviction",
            # The default waits 5 s for more replicas to share one transfer.
            "repl-diskless-sync-delay": "0",
            # The default waits 10 s for replicas that lag, also for a paused one.
            "shutdown-timeout": "2",
            **self._cluster_settings(),
            **self._settings,
        }
        if self._primary_port is not None:
            settings["replicaof"] = f"{HOST} {self._primary_port}"
        path = self.directory / "redis.conf"
        path.write_text("".join(f"{key} {value}\n" for key, value in sorted(settings.items())))
        return [program, str(path.resolve())]

    def _cluster_settings(self) -> dict[str, str]:
        if self.cluster_port is None:
            return {}
        return {
            "cluster-enabled": "yes",
            "cluster-port": str(self.cluster_port),
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(_CLUSTER_NODE_TIMEOUT_MS),
        }

    def _is_ready(self) -> bool:
        try:
            # Refused while it starts, LOADING while it reads its file.
            return bool(self.command("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class RedisCluster:
    """Primaries only: `nodes` cluster-enabled servers that share the slots in equal ranges.

    Also restarts as one: the nodes remember each other in their directories.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 3,
        appendfsync: AppendFsync = "everysec",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.nodes = [
            RedisServer(
                directory / f"node-{index}",
                appendfsync=appendfsync,
                cluster=True,
                settings=settings,
            )
            for index in range(nodes)
        ]

    @property
    def url(self) -> str:
        """The address of the first node; a cluster client learns the others from it."""
        return self.nodes[0].url

    def start(self, within_s: float = 30.0) -> None:
        """Start and join the nodes; returns when every one of them says `cluster_state:ok`."""
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_ready(within_s)
            if len(self._slot_owners(self.nodes[0])) == 0:
                self._join()
            _until(lambda: all(map(self._is_whole, self.nodes)), within_s, self._state)
        except BaseException:
            self.kill()
            raise

    def stop(self, within_s: float = 15.0) -> None:
        """Stop every node; the data and the slots are kept."""
        for node in self.nodes:
            node.stop(within_s)

    def kill(self) -> None:
        """SIGKILL every node."""
        for node in self.nodes:
            node.kill()

    def flush(self) -> None:
        """Remove every key and every function on every node."""
        for node in self.nodes:
            node.flush()

    def node_of_slot(self, slot: int) -> RedisServer:
        """The node that owns a hash slot."""
        for first, last, port in self._slot_owners(self.nodes[0]):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise ChildError(f"nobody owns slot {slot}")

    def _join(self) -> None:
        for index, node in enumerate(self.nodes):
            # Distinct epochs from the start: equal ones are a conflict the nodes first settle.
            node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            first = SLOTS * index // len(self.nodes)
            last = SLOTS * (index + 1) // len(self.nodes) - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            assert node.cluster_port is not None
            self.nodes[0].command("CLUSTER", "MEET", HOST, node.port, node.cluster_port)

    def _is_whole(self, node: RedisServer) -> bool:
        state = _cluster_info(node)
        known = int(state["cluster_known_nodes"])
        return state["cluster_state"] == "ok" and known == len(self.nodes)

    def _state(self) -> str:
        return "; ".join(f"{node.url}: {_cluster_info(node)}" for node in self.nodes)

    @staticmethod
    def _slot_owners(node: RedisServer) -> list[tuple[int, int, int]]:
        """(first slot, last slot, port) of every assigned range."""
        ranges: list[Any] = node.command("CLUSTER", "SLOTS")
        return [(int(first), int(last), int(owner[1])) for first, last, owner, *_ in ranges]

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


def _cluster_info(node: RedisServer) -> dict[str, str]:
    answer = str(node.command("CLUSTER", "INFO"))
    pairs = (line.partition(":") for line in answer.splitlines())
    return {key: value for key, _, value in pairs if key}


def _until(probe: Callable[[], bool], within_s: float, describe: Callable[[], str]) -> None:
    deadline_s = clock.monotonic_s() + within_s
    while not probe():
        if clock.monotonic_s() > deadline_s:
            raise ChildError(f"not within {within_s} s: {describe()}")
        time.sleep(_POLL_S)
