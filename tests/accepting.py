"""A fault of Python 3.11's asyncio: a server that closes between the accept of a connection and the
making of its transport leaves the socket open, and an assertion fails unseen.

Found as a `ResourceWarning` in whatever test the collector ran in, long after the server was gone;
`test_accepting` shows it. Python 3.12 and later close the socket.
"""

import asyncio
import socket
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

_MAKE = "_accept_connection2"


def close_what_comes_too_late() -> None:
    """From now on such a connection is closed."""
    loops = selector_events.BaseSelectorEventLoop
    make = getattr(loops, _MAKE)

    async def accept(
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        conn: socket.socket,
        extra: dict[str, Any],
        sslcontext: Any = None,
        server: asyncio.Server | None = None,
        *more: Any,
        **named: Any,
    ) -> None:
        if server is not None and not server.sockets:
            conn.close()
            return
        await make(loop, protocol_factory, conn, extra, sslcontext, server, *more, **named)

    setattr(loops, _MAKE, accept)
