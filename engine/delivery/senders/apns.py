"""APNs behind the `Sender` seam: requests built from a `Push`, over a bounded pool of connections.

aioapns gives the value types and the token signing; its pool and protocol are replaced by
`apns_connection`. Use one sender per team and environment (Apple forbids mixing teams on a
connection); two senders may share a `ProviderToken`, for instance to keep unproven device tokens,
whose rejections make Apple throttle a connection, away from proven ones.
"""

import asyncio
import hashlib
import re
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

import orjson
import structlog
from aioapns import PRIORITY_HIGH, PRIORITY_NORMAL, NotificationRequest, PushType

from engine import clock
from engine.delivery.senders import Push, SendKind, SendResult
from engine.delivery.senders.apns_connection import (
    Answer,
    ApnsConnection,
    Broken,
    Exchange,
    Headers,
)
from engine.delivery.senders.apns_token import ProviderToken
from engine.delivery.senders.classify import classify_apns, truncated
from engine.tasks import spawn

log = structlog.get_logger(__name__)

PRODUCTION_HOST: Final = "api.push.apple.com"
PAYLOAD_MAX_BYTES: Final = 4_096
COLLAPSE_ID_MAX_BYTES: Final = 64
RECONNECT_PAUSE_S: Final = 0.25
RECONNECT_PAUSE_MAX_S: Final = 30.0
CLOSE_S: Final = 1.0
_SAFE_TOKEN: Final = re.compile(r"[0-9A-Za-z_.:-]{1,200}\Z")
_PLAIN: Final = re.compile(r"[!-~]{1,64}\Z")


def notification(push: Push, now_ms: int) -> NotificationRequest:
    """`push` as aioapns' value type. `time_to_live` is whole seconds, 0 for "now or never"."""
    message: dict[str, object] = dict(push.data)
    message["delivery_id"] = push.delivery_id
    if push.link is not None:
        message["link"] = push.link
    message["aps"] = {"alert": {"title": push.title, "body": push.body}, "sound": "default"}
    return NotificationRequest(
        push.token,
        message,
        notification_id=apns_id(push.delivery_id),
        time_to_live=max(push.expires_at_ms // 1000 - now_ms // 1000, 0),
        priority=int(PRIORITY_HIGH if push.urgent else PRIORITY_NORMAL),
        collapse_key=collapse_id(push.collapse_key) if push.collapse_key else None,
        push_type=PushType.ALERT,
    )


def apns_id(delivery_id: str) -> str:
    """The lowercase UUID form of 32 hex characters."""
    d = delivery_id.lower()
    return f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}"


def collapse_id(collapse_key: str) -> str:
    """A collapse key as a header may carry it: itself if visible ASCII of at most 64 bytes, else
    its hash, so that equal keys still collapse."""
    if _PLAIN.match(collapse_key):
        return collapse_key
    return hashlib.blake2b(
        collapse_key.encode("utf-8", "surrogatepass"), digest_size=32
    ).hexdigest()


class ApnsSender:
    """Sends to one app (`topic`) of one team in one environment."""

    provider: Final = "apns"

    def __init__(
        self,
        topic: str,
        token: ProviderToken,
        *,
        host: str = PRODUCTION_HOST,
        port: int = 443,
        ssl_context: ssl.SSLContext | None = None,
        connections_max: int = 8,
        streams_max: int = 200,
        waiting_max: int = 5_000,
        connect_timeout_s: float = 10.0,
        ping_interval_s: float = 60.0,
        ping_timeout_s: float = 10.0,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._token = token
        self._host = host
        self._port = port
        self._ssl = ssl_context or ssl.create_default_context()
        self._ssl.set_alpn_protocols(["h2"])
        self._connections_max = connections_max
        self._streams_max = streams_max
        self._waiting_max = waiting_max
        self._connect_timeout_s = connect_timeout_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._now_ms = now_ms
        self._base: Headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", host.encode("ascii")),
            (b"apns-topic", topic.encode("ascii")),
            (b"apns-push-type", PushType.ALERT.value.encode("ascii")),
        ]
        self._connections: list[ApnsConnection] = []
        self._queue: deque[Exchange] = deque()
        self._connecting = False
        self._pause_s = 0.0
        self._paused_until_s = 0.0
        self._closed = False

    async def start(self) -> None:
        """Mint the provider token (ValueError for a key that cannot sign) and begin to connect."""
        self._token.header()
        self._grow()

    async def aclose(self) -> None:
        """Close the connections; sends still waiting end as not delivered."""
        self._closed = True
        self._fail_queue(Broken("CLOSED", written=False))
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([c.closed for c in connections], timeout=CLOSE_S)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.closed

    async def send(self, push: Push, now_ms: int, timeout_s: float) -> SendResult:
        """See `Sender.send`."""
        if not _SAFE_TOKEN.match(push.token):
            # It would be a path and a header of a shared connection.
            return SendResult(SendKind.REJECTED, "BadDeviceToken")
        try:
            headers, body = self._request(push, now_ms)
        except (TypeError, ValueError):
            return SendResult(SendKind.REJECTED, "UNENCODABLE")
        if len(body) > PAYLOAD_MAX_BYTES:
            return SendResult(SendKind.REJECTED, "PayloadTooLarge")
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        try:
            token = self._token.header()
        except ValueError:
            return SendResult(SendKind.AUTH, "BAD_KEY")
        result = await self._attempt(headers, token, body, deadline_s)
        if result.reason == "ExpiredProviderToken" and self._token.expired(token):
            result = await self._attempt(headers, self._token.header(), body, deadline_s)
        elif result.reason == "TooManyProviderTokenUpdates":
            self._token.too_many_updates()
        return result

    def _request(self, push: Push, now_ms: int) -> tuple[Headers, bytes]:
        request = notification(push, now_ms)
        body = orjson.dumps(request.message)
        ttl_s = request.time_to_live or 0
        expiration = now_ms // 1000 + ttl_s if ttl_s else 0
        headers: Headers = [
            (b":path", b"/3/device/" + request.device_token.encode("ascii")),
            *self._base,
            (b"apns-priority", str(request.priority).encode("ascii")),
            (b"apns-id", request.notification_id.encode("ascii")),
            (b"apns-expiration", b"%d" % expiration),
        ]
        if request.collapse_key is not None:
            headers.append((b"apns-collapse-id", request.collapse_key.encode("ascii")))
        return headers, body

    async def _attempt(
        self, headers: Headers, token: bytes, body: bytes, deadline_s: float
    ) -> SendResult:
        loop = asyncio.get_running_loop()
        authorized = [*headers, (b"authorization", token)]
        exchange = Exchange(authorized, body, loop.create_future())
        if not self._enqueue(exchange):
            return SendResult(SendKind.RETRY_LATER, "POOL_FULL")
        timer = loop.call_at(deadline_s, self._expire, exchange)
        try:
            outcome = await exchange.future
        except asyncio.CancelledError:
            if exchange.connection is not None:
                exchange.connection.cancel(exchange)
            raise
        finally:
            timer.cancel()
        return self._result(outcome, exchange)

    def _result(self, outcome: Answer | Broken, exchange: Exchange) -> SendResult:
        if isinstance(outcome, Broken):
            kind = SendKind.UNKNOWN if outcome.written else SendKind.RETRY_LATER
            return SendResult(kind, outcome.reason, outcome.retry_after_s)
        if not outcome.complete:
            return truncated(outcome.status)
        result = classify_apns(outcome.status, outcome.body, outcome.retry_after, self._now_ms())
        if result.reason == "UnrelatedKeyIdInToken" and exchange.connection is not None:
            # The connection is bound to another key for its life.
            exchange.connection.retire()
        return result

    # the pool

    def _enqueue(self, exchange: Exchange) -> bool:
        if self._closed:
            exchange.finish(Broken("CLOSED", written=False))
            return True
        if len(self._queue) >= self._waiting_max:
            self._queue = deque(waiting for waiting in self._queue if not waiting.future.done())
            if len(self._queue) >= self._waiting_max:
                return False
        self._queue.append(exchange)
        self._pump()
        return True

    def _pump(self) -> None:
        """Give waiting exchanges to connections with room, in order of arrival."""
        while self._queue:
            exchange = self._queue[0]
            if exchange.future.done():
                self._queue.popleft()
                continue
            connection = self._with_room()
            if connection is None:
                self._grow()
                return
            self._queue.popleft()
            connection.open(exchange)

    def _with_room(self) -> ApnsConnection | None:
        for connection in self._connections:
            if connection.room > 0:
                return connection
        return None

    def _expire(self, exchange: Exchange) -> None:
        if exchange.connection is not None:
            exchange.connection.expire(exchange)
        else:
            reason = "POOL_FULL" if self._connections else "CONNECT_TIMEOUT"
            exchange.finish(Broken(reason, written=False))

    def _grow(self) -> None:
        if self._closed or self._connecting or len(self._connections) >= self._connections_max:
            return
        if any(not (connection.proven or connection.retired) for connection in self._connections):
            # Its first answer will raise its limit from one; more connections would each need one.
            return
        wait_s = self._paused_until_s - clock.monotonic_s()
        if wait_s > 0:
            if not self._connections:
                self._fail_queue(Broken("CONNECT", written=False, retry_after_s=wait_s))
            return
        self._connecting = True
        spawn(self._connect(), "apns-connect")

    async def _connect(self) -> None:
        connection = ApnsConnection(
            self._on_change,
            streams_max=self._streams_max,
            ping_interval_s=self._ping_interval_s,
            ping_timeout_s=self._ping_timeout_s,
        )
        try:
            fault = await self._handshake(connection)
        except Exception as error:
            # Whatever it was, those who wait must hear of it; the task reports it too.
            self._connecting = False
            self._connect_failed(type(error).__name__)
            raise
        self._connecting = False
        if self._closed or fault is not None:
            connection.abort()
            self._connect_failed(fault or "closing")
            return
        self._connections.append(connection)
        log.info("apns_connected", connections=len(self._connections))
        self._pump()

    async def _handshake(self, connection: ApnsConnection) -> str | None:
        """Connect with TLS and h2; returns the fault if it failed."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    self._host,
                    self._port,
                    ssl=self._ssl,
                    ssl_shutdown_timeout=CLOSE_S,
                )
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        if connection.closed.done():
            return "closed at once"
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            return "no h2"
        return None

    def _connect_failed(self, error: str) -> None:
        self._pause_s = min(max(self._pause_s * 2, RECONNECT_PAUSE_S), RECONNECT_PAUSE_MAX_S)
        self._paused_until_s = clock.monotonic_s() + self._pause_s
        log.warning("apns_connect_failed", error=error, pause_s=self._pause_s)
        if not self._connections:
            self._fail_queue(Broken("CONNECT", written=False, retry_after_s=self._pause_s))

    def _on_change(self, connection: ApnsConnection) -> None:
        if connection.proven:
            self._pause_s = 0.0
        if connection.closed.done() and connection in self._connections:
            self._connections.remove(connection)
            if not connection.proven and not self._closed:
                self._connect_failed("closed before its first answer")
        if not self._closed:
            self._pump()

    def _fail_queue(self, broken: Broken) -> None:
        queue, self._queue = self._queue, deque()
        for exchange in queue:
            exchange.finish(broken)
