"""Packing, urls, and how a connection is lost."""

import asyncio
import socket
import struct
from typing import cast

import pytest
import uvloop
from redis.asyncio.connection import Connection

from engine import clock
from engine.store.link import (
    TROUBLE,
    Address,
    LinkSettings,
    PackedConnection,
    PackedSSLConnection,
    pack,
    read_url,
)


@pytest.mark.parametrize(
    "words",
    [
        ("PING",),
        ("FUNCTION LIST", "WITHCODE"),
        (b"CONFIG SET", b"maxmemory", 1),
        ("SET", "key", b"\x00\r\n$-1\r\n\xff"),
        ("SET", "ключ 🛒", memoryview(b"value")),
        ("ZADD", "t", 2**53, -1, 0.1, 1e300),
        ("SET", "", ""),
        ("SET", "big", b"x" * 100_000),
        ("MSET", *("k", "v") * 5_000),
    ],
)
def test_a_command_is_packed_as_redis_py_packs_it(words: tuple[object, ...]) -> None:
    theirs = b"".join(bytes(part) for part in Connection().pack_command(*words))  # type: ignore[arg-type]
    assert pack(words) == theirs


@pytest.mark.parametrize("kind", [PackedConnection, PackedSSLConnection])
def test_connections_pack_with_hiredis(kind: type[PackedConnection | PackedSSLConnection]) -> None:
    assert kind().pack_command("CLIENT SETNAME", "me") == [pack(("CLIENT SETNAME", "me"))]


def test_what_is_not_a_redis_value_is_refused() -> None:
    with pytest.raises(TypeError):
        pack(("SET", "key", None))


def test_a_url_is_taken_apart() -> None:
    address, settings = read_url(
        "rediss://user:p%40ss@cache.example:7000/3?socket_keepalive=yes", LinkSettings(1.5, 4)
    )
    assert address == Address("cache.example", 7000)
    assert (settings.timeout_s, settings.connections_max, settings.tls) == (1.5, 4, True)
    options = dict(settings.url_options)
    assert (options["username"], options["password"], options["db"]) == ("user", "p@ss", 3)


def test_a_plain_url_is_not_tls_and_has_the_usual_port() -> None:
    address, settings = read_url("redis://cache.example", LinkSettings())
    assert (address, settings.tls) == (Address("cache.example", 6379), False)


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "http://cache.example", "cache.example"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        read_url(url, LinkSettings())


class _Server(asyncio.Protocol):
    """Takes everything and answers nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def reset(self) -> None:
        """End the connection as a killed process does."""
        peer = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def _sent_while_lost() -> list[Exception]:
    """What commands end with that are sent in every turn of the loop in which a connection is
    lost."""
    peer = _Server()
    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0)
    errors: list[Exception] = []
    async with server:
        connection = PackedConnection(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        await connection._connect()  # type: ignore[no-untyped-call]
        peer.reset()
        deadline_s = clock.monotonic_s() + 10
        while len(errors) < 5 and clock.monotonic_s() < deadline_s:
            try:
                await connection._send_packed_command([pack(("PING",))])
            except Exception as error:
                errors.append(error)
            await asyncio.sleep(0)
        await connection.disconnect(nowait=True)
    return errors


def test_commands_of_a_connection_that_is_just_lost_fail_as_such_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        errors = runner.run(_sent_while_lost())
    assert len(errors) == 5
    assert all(isinstance(error, TROUBLE) for error in errors), errors
