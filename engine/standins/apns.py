"""APNs over HTTP/2 and TLS: the server side, on `h2`, that can do what ASGI servers cannot.

It shows the traits clients trip over: one stream until a valid provider token, then
SETTINGS MAX_CONCURRENT_STREAMS; REFUSED_STREAM above that; `apns-id` echoed; bodies only on errors.
"""

import asyncio
import contextlib
import ssl
from typing import Final

from aiohttp import web

from engine import clock
from engine.standins.apns_connection import ApnsServerConnection
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material
from engine.standins.control import control
from engine.standins.journal import Journal
from engine.standins.rules import Delay, Rule, RuleBook
from engine.standins.signatures import BadTokenError, verify

TOKEN_LIFETIME_S: Final = 3600
TOKENS_MAX: Final = 1_000


class ApnsStandin:
    """One APNs host.

    `streams_max` is what MAX_CONCURRENT_STREAMS becomes after a valid token; `streams_initial` what
    it is before; `streams_after_rejection` what a 400 lowers it to; `initial_window` the flow
    control window of each stream, bytes; `strict` makes h2 validate every header it receives.
    """

    def __init__(
        self,
        material: Material,
        journal: Journal,
        *,
        rules: list[Rule] | None = None,
        delay: Delay | None = None,
        streams_max: int = 1_000,
        streams_initial: int = 1,
        streams_after_rejection: int | None = None,
        initial_window: int = 65_535,
        strict: bool = True,
    ) -> None:
        self.book = RuleBook(rules or [], delay or Delay())
        self.journal = journal
        self.streams_max = streams_max
        self.streams_initial = streams_initial
        self.streams_after_rejection = streams_after_rejection
        self.initial_window = initial_window
        self.strict = strict
        self.connections_seen = 0
        self.streams_peak = 0
        self.resets_seen = 0
        self.pings_seen = 0
        self.port = 0
        self.connections: set[ApnsServerConnection] = set()
        self.tokens_seen: dict[str, int] = {}
        self._key = material.apns_public_key()
        self._context: ssl.SSLContext = material.server_context()
        self._server: asyncio.Server | None = None
        self._control: web.ServerRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1 with TLS; `port` 0 picks one, kept in `port`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ApnsServerConnection(self),
            "127.0.0.1",
            port,
            ssl=self._context,
            backlog=256,
            ssl_shutdown_timeout=0.2,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def start_control(self, port: int = 0) -> int:
        """Serve `/standin/*` as plain HTTP on 127.0.0.1; returns the port."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await control(self, request)

        self._control = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.2)
        await self._control.setup()
        await web.TCPSite(self._control, "127.0.0.1", port).start()
        return int(self._control.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening, cut what is open, flush the journal."""
        for connection in list(self.connections):
            connection.abort()
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._server.wait_closed()
                    await _nobody_left(self._server)
            self._server = None
        if self._control is not None:
            await self._control.cleanup()
            self._control = None
        self.journal.flush()

    def deafen(self) -> None:
        """From now on the present connections ignore what arrives, pings included."""
        for connection in self.connections:
            connection.deaf = True

    def token_fault(self, authorization: str) -> str | None:
        """Why this authorization header is refused, None when it is good."""
        if not authorization.startswith("bearer "):
            return "MissingProviderToken"
        token = authorization.removeprefix("bearer ")
        issued_s = self.tokens_seen.get(token)
        if issued_s is None:
            try:
                header, claims = verify(token, self._key)
            except BadTokenError:
                return "InvalidProviderToken"
            if header.get("kid") != KEY_ID or claims.get("iss") != TEAM_ID:
                return "InvalidProviderToken"
            issued_s = int(claims.get("iat", 0))
            if len(self.tokens_seen) >= TOKENS_MAX:
                del self.tokens_seen[next(iter(self.tokens_seen))]
            self.tokens_seen[token] = issued_s
        if not -60 <= clock.now_ms() // 1000 - issued_s <= TOKEN_LIFETIME_S:
            return "ExpiredProviderToken"
        return None

    def topic_fault(self, topic: str | None) -> str | None:
        """Why this apns-topic is refused, None when it is good."""
        if topic is None:
            return "MissingTopic"
        return None if topic == TOPIC else "TopicDisallowed"


async def _nobody_left(server: asyncio.Server) -> None:
    """Wait for connections that are gone in the middle of their handshake: nobody was told of them.

    Python 3.11's `wait_closed` of a closed server returns at once (python/cpython#79033).
    """
    while getattr(server, "_active_count", 0):  # noqa: ASYNC110 (it tells nobody)
        await asyncio.sleep(0.005)
