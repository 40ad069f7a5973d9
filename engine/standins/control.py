"""The control endpoint: rules in, journal and counters out. Plain HTTP, JSON.

- `POST /standin/rules` `{"rules": [...]}` replaces the rules (400 with the fault otherwise).
- `GET /standin/log` is what the journal keeps, a JSON list.
- `GET /standin/stats` counts requests, accepted pushes and connections, and process CPU seconds.
"""

import time
from typing import Protocol

import msgspec
import orjson
from aiohttp import web

from engine.standins.journal import Journal
from engine.standins.rules import RuleBook, Rules


class Controlled(Protocol):
    """A stand-in as its control endpoint sees it."""

    @property
    def book(self) -> RuleBook: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def connections_seen(self) -> int: ...


async def control(standin: Controlled, request: web.BaseRequest) -> web.Response:
    """Answer a request below `/standin/`."""
    asked = (request.method, request.path)
    if asked == ("POST", "/standin/rules"):
        try:
            rules = msgspec.json.decode(await request.read(), type=Rules).rules
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        standin.book.replace(rules)
        return _json({"rules": len(rules)})
    if asked == ("GET", "/standin/log"):
        return _json(standin.journal.entries())
    if asked == ("GET", "/standin/stats"):
        return _json(
            {
                "requests": standin.journal.requests,
                "accepted": standin.journal.accepted,
                "connections": standin.connections_seen,
                "cpu_s": time.process_time(),
            }
        )
    return _json({"error": "unknown"}, status=404)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
