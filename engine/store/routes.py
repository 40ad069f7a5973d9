"""Which server owns a shard, and what to do when it does not answer as it should.

Everything sent here may run twice with the effect of once, so a whole exchange is sent again
whenever it is unclear what became of it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import structlog
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from engine import clock
from engine.ports import StoreUnavailable
from engine.store import functions
from engine.store.errors import StoreBroken
from engine.store.link import TROUBLE, Address, Command, Link, LinkSettings, Reply, read_url
from engine.tasks import spawn

log = structlog.get_logger(__name__)

SLOTS = 16_384
_CLUSTER_SCHEMES = {"redis+cluster://": "redis://", "rediss+cluster://": "rediss://"}

#: Waits between tries. The first is none: an idle connection that the server closed is the
#: commonest failure, and a new one heals it.
_PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)

#: Refusals that pass by themselves, by the first word of the error.
_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")


class Topology(Protocol):
    """Knows the servers. May raise `TROUBLE` and ResponseError when it has to ask."""

    async def owner(self, slot: int) -> Link:
        """The server to send the slot's commands to."""

    async def primaries(self) -> list[Link]:
        """Every server that owns slots."""

    def moved(self, error: MovedError, asked: Link) -> None:
        """A server said who owns a slot now."""

    def doubt(self) -> None:
        """What is known may be out of date: look again before the next command."""

    async def aclose(self) -> None:
        """Give back connections."""


class OneServer:
    """A single Redis (or the address of its current primary)."""

    def __init__(self, address: Address, settings: LinkSettings) -> None:
        self._link = Link(address, settings)

    async def owner(self, slot: int) -> Link:
        return self._link

    async def primaries(self) -> list[Link]:
        return [self._link]

    def moved(self, error: MovedError, asked: Link) -> None:
        raise StoreBroken(f"{asked.address} is part of a Redis Cluster: use redis+cluster://")

    def doubt(self) -> None:
        pass

    async def aclose(self) -> None:
        await self._link.aclose()


class Cluster:
    """A Redis Cluster, learned from any of its nodes by CLUSTER SLOTS."""

    def __init__(self, seeds: Sequence[Address], settings: LinkSettings) -> None:
        self._seeds = list(seeds)
        self._settings = settings
        self._links: dict[Address, Link] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._in_doubt = True
        self._learning = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def owner(self, slot: int) -> Link:
        await self._be_sure()
        address = self._owners[slot]
        if address is None:
            self._in_doubt = True
            raise ClusterDownError("nobody owns the hash slot of this shard")
        return self._link(address)

    async def primaries(self) -> list[Link]:
        await self._be_sure()
        return [self._link(address) for address in sorted(_known(self._owners))]

    def moved(self, error: MovedError, asked: Link) -> None:
        # An empty host means the host of the server that said so (cluster specification).
        self._owners[int(error.slot_id)] = Address(
            str(error.host) or asked.address.host, int(error.port)
        )

    def doubt(self) -> None:
        self._in_doubt = True

    async def aclose(self) -> None:
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.aclose()
        if self._leaving:
            await asyncio.wait(set(self._leaving))

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = Link(address, self._settings)
        return link

    async def _be_sure(self) -> None:
        if not self._in_doubt:
            return
        async with self._learning:
            if self._in_doubt:
                await self._learn()

    async def _learn(self) -> None:
        trouble: Exception | None = None
        for address in dict.fromkeys([*sorted(_known(self._owners)), *self._seeds]):
            try:
                ranges = await self._link(address).ask("CLUSTER SLOTS")
            except (*TROUBLE, ResponseError) as error:
                trouble = error
                continue
            self._owners = _owners(ranges, address)
            self._in_doubt = False
            self._forget_strangers()
            return
        assert trouble is not None
        raise trouble

    def _forget_strangers(self) -> None:
        keep = _known(self._owners) | set(self._seeds)
        for address in [address for address in self._links if address not in keep]:
            task = spawn(self._links.pop(address).aclose(), "store_link_close")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


def _known(owners: Sequence[Address | None]) -> set[Address]:
    return {address for address in set(owners) if address is not None}


def _owners(ranges: Sequence[Any], asked: Address) -> list[Address | None]:
    owners: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_ in ranges:
        host = bytes(primary[0] or b"").decode()
        address = Address(host or asked.host, int(primary[1]))
        owners[first : last + 1] = [address] * (last + 1 - first)
    return owners


def topology_of(url: str, settings: LinkSettings) -> Topology:
    """Read `redis://host`, `rediss://host`, `redis+cluster://host:1,host:2`. Raises ValueError."""
    for scheme, plain in _CLUSTER_SCHEMES.items():
        if url.startswith(scheme):
            rest = url.removeprefix(scheme)
            authority, slash, path = rest.partition("/")
            user, at, hosts = authority.rpartition("@")
            parts = [
                read_url(f"{plain}{user}{at}{host}{slash}{path}", settings)
                for host in hosts.split(",")
            ]
            return Cluster([address for address, _ in parts], parts[0][1])
    return OneServer(*read_url(url, settings))


class Routes:
    """Sends commands to the owner of a slot and bounds the retries.

    Raises `StoreUnavailable` when trying later is right, `StoreBroken` when it is not.
    """

    def __init__(self, topology: Topology, retry_within_s: float) -> None:
        self.topology = topology
        self._retry_within_s = retry_within_s

    async def send(self, slot: int, commands: Sequence[Command]) -> list[Reply]:
        """All replies, none of them an error. Everything may be sent several times."""
        deadline_s = clock.monotonic_s() + self._retry_within_s
        trouble: Exception | None = None
        for pause_s in (0.0, *_PAUSES_S):
            if pause_s:
                await asyncio.sleep(pause_s)
            replies: list[Reply] = []
            trouble = await self._try(slot, commands, replies)
            if trouble is None:
                return replies
            if _is_final(trouble) or clock.monotonic_s() > deadline_s:
                break
        assert trouble is not None
        raise as_store_error(trouble)

    async def send_batches(
        self, batches: Sequence[tuple[int, list[Command]]], last: Command | None = None
    ) -> list[list[Reply]]:
        """What `send` would answer to each (slot, commands), in one round trip per server.

        `last` goes once to each server, behind all the rest; its reply ends each batch's replies.
        """
        answers: list[list[Reply]] = [[] for _ in batches]
        by_link: dict[Link, list[int]] = {}
        try:
            for index, (slot, _) in enumerate(batches):
                by_link.setdefault(await self.topology.owner(slot), []).append(index)
        except (*TROUBLE, ResponseError):
            by_link = {}  # asked again below, one by one, with the patience of `send`
        await asyncio.gather(
            *(
                self._try_together(link, group, batches, last, answers)
                for link, group in by_link.items()
            )
        )
        for index, (slot, commands) in enumerate(batches):
            if not answers[index]:
                answers[index] = await self.send(slot, [*commands, *([last] if last else [])])
        return answers

    @staticmethod
    async def _try_together(
        link: Link,
        group: list[int],
        batches: Sequence[tuple[int, list[Command]]],
        last: Command | None,
        answers: list[list[Reply]],
    ) -> None:
        """Fill in the answers of the batches that went well."""
        commands = [command for index in group for command in batches[index][1]]
        try:
            replies = await link.exchange([*commands, last] if last else commands)
        except TROUBLE:
            return
        ending = [replies.pop()] if last else []
        rest = iter(replies)
        for index in group:
            answer = [*islice(rest, len(batches[index][1])), *ending]
            if not any(isinstance(reply, ResponseError) for reply in answer):
                answers[index] = answer

    async def _try(
        self, slot: int, commands: Sequence[Command], replies: list[Reply]
    ) -> Exception | None:
        """Fill in the replies, or return the trouble, with the way cleared for another try."""
        try:
            link = await self.topology.owner(slot)
            replies += await link.exchange(commands)
            trouble = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
            if trouble is not None:
                await self._clear(trouble, link)
            return trouble
        except (*TROUBLE, ResponseError) as error:
            self.topology.doubt()
            return error

    async def _clear(self, trouble: ResponseError, link: Link) -> None:
        if functions.is_missing(trouble):
            log.warning("functions_missing", server=str(link.address))
            await functions.load(link)
        elif isinstance(trouble, MovedError):
            self.topology.moved(trouble, link)
        elif isinstance(trouble, ReadOnlyError):
            # The primary became a replica; its name may lead to another server by now.
            await link.drop_connections()
            self.topology.doubt()
        elif isinstance(trouble, ClusterDownError):
            self.topology.doubt()

    async def primaries(self) -> list[Link]:
        """Every server that owns slots."""
        with store_errors():
            return await self.topology.primaries()

    async def aclose(self) -> None:
        """Give back connections."""
        await self.topology.aclose()


def slot_of(tag: str) -> int:
    """The hash slot of all keys of a shard."""
    return int(key_slot(tag.encode()))


def _is_final(trouble: Exception) -> bool:
    """Whether another try in a moment is pointless.

    ASK is one of those worth a pause, never one to follow: it means that the slot is on the move,
    and at its destination a shard lacks the keys that have not arrived.
    """
    if isinstance(trouble, AuthenticationError | AuthorizationError | NoPermissionError):
        return True
    passing = MovedError | AskError | TryAgainError | ClusterDownError | ReadOnlyError
    if isinstance(trouble, passing) or not isinstance(trouble, ResponseError):
        return False
    return not functions.is_missing(trouble)


def as_store_error(trouble: Exception) -> Exception:
    """What callers of the store see of a failure."""
    status = getattr(trouble, "status_code", None)
    words = f"{status} {trouble}" if status else str(trouble)
    if isinstance(trouble, AuthenticationError | AuthorizationError | NoPermissionError):
        return StoreBroken(f"Redis refuses us: {words}")
    if isinstance(trouble, AskError | MovedError):
        return StoreUnavailable(f"the hash slot of this shard is being moved: {words}")
    if not isinstance(trouble, ResponseError) or isinstance(trouble, ClusterDownError):
        return StoreUnavailable(f"Redis cannot be reached: {words}")
    if words.startswith(_PASSING) or functions.is_missing(trouble):
        return StoreUnavailable(f"Redis refuses service: {words}")
    return StoreBroken(f"Redis answered: {words}")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what redis-py raises into `StoreUnavailable` or `StoreBroken`."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise as_store_error(error) from error
