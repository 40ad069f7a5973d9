"""A small client of the Language Server Protocol: what an editor says to yaml-language-server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SERVER = Path(".state/editor/node_modules/yaml-language-server/bin/yaml-language-server")
ANSWER_S = 60.0
#: The editor's settings: no look-up of schemas in the network.
_SETTINGS: dict[str, Any] = {
    "yaml": {
        "validate": True,
        "completion": True,
        "hover": True,
        "schemaStore": {"enable": False, "url": ""},
    }
}


class Editor:
    """One server. `open` shows it a file; the positions are lines and columns from 0."""

    def __init__(self, process: asyncio.subprocess.Process, root: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._out, self._in = process.stdin, process.stdout
        self._root = root
        self._number = 0
        self._version = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._diagnostics: asyncio.Queue[tuple[str, list[dict[str, Any]]]] = asyncio.Queue()

    async def read(self) -> None:
        """Take the server's messages until it ends."""
        while True:
            length = 0
            while (line := (await self._in.readline()).strip()) or not length:
                if self._in.at_eof():
                    return
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            await self._take(json.loads(await self._in.readexactly(length)))

    async def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "workspace/configuration":
            asked = message["params"]["items"]
            answer: Any = [_SETTINGS.get(item.get("section", ""), {}) for item in asked]
            await self._send({"id": message["id"], "result": answer})
        elif method == "textDocument/publishDiagnostics":
            params = message["params"]
            await self._diagnostics.put((params["uri"], params["diagnostics"]))
        elif method is not None and "id" in message:
            await self._send({"id": message["id"], "result": None})
        elif method is None and message.get("id") in self._answers:
            self._answers.pop(message["id"]).set_result(message)

    async def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._out.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await self._out.drain()

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """A request and its result."""
        self._number += 1
        future = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._send({"id": self._number, "method": method, "params": params})
        answer = await asyncio.wait_for(future, ANSWER_S)
        assert "error" not in answer, answer
        return answer["result"]

    async def start(self) -> None:
        """The handshake."""
        capabilities: dict[str, Any] = {
            "workspace": {"configuration": True},
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": True}},
                "hover": {"contentFormat": ["markdown"]},
            },
        }
        params = {"processId": None, "rootUri": self._root.as_uri(), "capabilities": capabilities}
        await self.ask("initialize", params)
        await self._send({"method": "initialized", "params": {}})
        change = {"settings": _SETTINGS}
        await self._send({"method": "workspace/didChangeConfiguration", "params": change})

    async def open(self, path: Path, text: str) -> list[str]:
        """Show a file with this text; what the server finds wrong, as `line: message`."""
        self._version += 1
        document = {
            "uri": path.as_uri(),
            "languageId": "yaml",
            "version": self._version,
            "text": text,
        }
        await self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            uri, found = await asyncio.wait_for(self._diagnostics.get(), ANSWER_S)
            if uri == document["uri"]:
                return [
                    f"{item['range']['start']['line'] + 1}: {item['message']}" for item in found
                ]

    async def complete(self, path: Path, text: str) -> dict[str, str]:
        """What is offered at the `|` of a text: label to what is inserted."""
        before, _, after = text.partition("|")
        await self.open(path, before + after)
        return {
            item["label"]: item.get("insertText", item["label"])
            for item in (await self.ask("textDocument/completion", _at(path, before)))["items"]
        }

    async def hover(self, path: Path, text: str) -> str:
        """What is shown over the `|` of a text."""
        before, _, after = text.partition("|")
        await self.open(path, before + after)
        found = await self.ask("textDocument/hover", _at(path, before))
        return str(found["contents"]["value"]) if found else ""


def _at(path: Path, before: str) -> dict[str, Any]:
    *lines, last = before.split("\n")
    return {
        "textDocument": {"uri": path.as_uri()},
        "position": {"line": len(lines), "character": len(last)},
    }


@asynccontextmanager
async def editor(root: Path) -> AsyncIterator[Editor]:
    """A running server for the files below `root`."""
    assert SERVER.is_file(), "`make setup` fetches the language server"
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SERVER),
        "--stdio",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    client = Editor(process, root)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(client.read())
        try:
            await client.start()
            yield client
        finally:
            process.kill()
            await process.wait()
            reading.cancel()
