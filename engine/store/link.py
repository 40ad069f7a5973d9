"""One Redis server: commands out, replies back, on one connection, in one round trip.

`Link.exchange` cannot be cancelled half way: a cancelled caller goes, the exchange ends by itself
and its replies reach nobody else (CVE-2023-28858 was that mistake).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import hiredis
from redis.asyncio.connection import BlockingConnectionPool, Connection, SSLConnection, parse_url
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from engine.tasks import spawn

Argument: TypeAlias = str | bytes | int
Command: TypeAlias = Sequence[Argument]
Reply: TypeAlias = Any
"""What the server said to one command; a refusal is a `ResponseError` in its place."""

TROUBLE = (RedisConnectionError, RedisTimeoutError, OSError)
"""The server was not reached, went away, or did not answer in time."""


def pack(words: Iterable[Any]) -> bytes:
    """One command as RESP. The first word may hold several, like `FUNCTION LIST`.

    redis-py packs an argument in 3 us of Python; hiredis does it in 0.1 us of C, and a commit of
    300 states has 600 arguments.
    """
    name, *rest = words
    names = name.split() if isinstance(name, str | bytes) else [name]
    packed: bytes = hiredis.pack_command((*names, *rest))
    return packed


class _Packing:
    """Mixed into a connection: commands are packed by hiredis, also those of redis-py itself, and a
    connection that is lost while they are sent is lost on uvloop, too."""

    _writer: asyncio.StreamWriter | None

    def pack_command(self, *args: Any) -> list[bytes]:
        return [pack(args)]

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)  # type: ignore[misc]
        except RuntimeError as error:
            # asyncio drops what is written to a closed transport; uvloop raises this.
            if self._writer is None or not self._writer.is_closing():
                raise
            raise ConnectionResetError(f"the connection was lost: {error}") from error


class PackedConnection(_Packing, Connection):
    """A TCP connection."""


class PackedSSLConnection(_Packing, SSLConnection):
    """A TLS connection."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """`timeout_s` bounds connecting, sending, and each wait for a reply or for a free connection.

    `url_options` are the options and credentials that came with the url.
    """

    timeout_s: float = 5.0
    connections_max: int = 16
    tls: bool = False
    url_options: tuple[tuple[str, Any], ...] = ()


def read_url(url: str, settings: LinkSettings) -> tuple[Address, LinkSettings]:
    """Take a `redis://` or `rediss://` url apart. Raises ValueError."""
    options: dict[str, Any] = dict(parse_url(url))
    if "path" in options:
        raise ValueError("a Redis url starts with redis:// or rediss://")
    tls = options.pop("connection_class", None) is not None
    address = Address(options.pop("host", "127.0.0.1"), options.pop("port", 6379))
    return address, LinkSettings(
        settings.timeout_s, settings.connections_max, tls, tuple(options.items())
    )


class Link:
    """A bounded pool of connections to one server."""

    def __init__(self, address: Address, settings: LinkSettings) -> None:
        self.address = address
        self._flying: set[asyncio.Task[list[Reply] | Exception]] = set()
        self._pool = BlockingConnectionPool(
            max_connections=settings.connections_max,
            timeout=settings.timeout_s,
            connection_class=PackedSSLConnection if settings.tls else PackedConnection,
            host=address.host,
            port=address.port,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            socket_keepalive=True,
            # Routes retries: it knows where else to ask, and how long in all.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **dict(settings.url_options),
        )

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies in order. Raises one of `TROUBLE`; then some commands may have run."""
        task = spawn(self._outcome(commands), "store_exchange")
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        outcome: list[Reply] | Exception = await asyncio.shield(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def ask(self, *command: Argument) -> Reply:
        """The reply to one command. Raises `TROUBLE` or, when it is refused, ResponseError."""
        reply = (await self.exchange([command]))[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def drop_connections(self) -> None:
        """Connect anew from here on: this server is not what it was, or not the one meant."""
        await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Wait for what is under way, then disconnect."""
        if self._flying:
            await asyncio.wait(set(self._flying))
        await self._pool.aclose()

    async def _outcome(self, commands: Sequence[Command]) -> list[Reply] | Exception:
        # An expected failure is a value: it belongs to the caller, who may be gone by now.
        try:
            return await self._on_one_connection(commands)
        except (RedisError, OSError) as error:
            return error

    async def _on_one_connection(self, commands: Sequence[Command]) -> list[Reply]:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command([pack(command) for command in commands])
            replies: list[Reply] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
            return replies
        except BaseException:
            # Whatever is still to come on this connection was meant for this exchange.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)
