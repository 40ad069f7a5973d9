"""A wire between a client and a server that can lose what the server says."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

Loss = Literal["close", "hang"]


class LossyProxy:
    """Forwards bytes to `port`. `lose` makes it lose the reply to the next FCALL, once.

    "close": the connection breaks after the server has answered. "hang": nothing more ever comes.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._loss: Loss | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lose(self, loss: Loss) -> None:
        self._loss = loss

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.ensure_future(self._forward(server_reader, writer))
        try:
            while data := await reader.read(65_536):
                losing = self._loss if b"FCALL" in data else None
                if losing:
                    self._loss = None
                    back.cancel()
                    with suppress(asyncio.CancelledError):
                        await back
                server_writer.write(data)
                await server_writer.drain()
                if losing:
                    await server_reader.read(65_536)
                    self.lost += 1
                    if losing == "close":
                        return
                    await asyncio.Event().wait()
        finally:
            back.cancel()
            for each in (server_writer, writer):
                each.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
