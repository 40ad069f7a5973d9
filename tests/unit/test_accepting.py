"""See `tests.accepting`."""

import asyncio
import gc
import socket


class _Silent(asyncio.Protocol):
    """Asks for nothing."""


async def test_a_connection_that_comes_while_its_server_closes_is_closed() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Silent, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        # One turn to see the connection, one to accept it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
        client.setblocking(False)
        async with asyncio.timeout(5):
            # A warning of an unclosed socket is an error here.
            gc.collect()
            assert await loop.sock_recv(client, 1) == b""
