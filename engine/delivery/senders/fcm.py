"""FCM HTTP v1 behind the `Sender` seam, over aiohttp HTTP/1.1 keep-alive connections.

firebase-admin gives the credentials, the message types and their validation. Its transport is
replaced: its async client costs 3.2 ms of CPU a send, leaks one of 100 streams for each retried
5xx until it hangs for good, ignores Retry-After and refreshes its token inside the event loop.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import aiohttp
import orjson
from firebase_admin import credentials, messaging
from yarl import URL

from engine import clock
from engine.delivery.senders import Push, SendKind, SendResult
from engine.delivery.senders.classify import classify_fcm, truncated
from engine.delivery.senders.fcm_token import AccessToken, CredentialError

BASE_URL: Final = "https://fcm.googleapis.com"
TTL_MAX_S: Final = 28 * 86_400
IDLE_S: Final = 60.0
_REFRESHABLE: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None)


def message(push: Push, now_ms: int) -> messaging.Message:
    """`push` as firebase-admin's value type. `ttl` is whole seconds, 0 for "now or never"."""
    data = dict(push.data)
    data["delivery_id"] = push.delivery_id
    if push.link is not None:
        data["link"] = push.link
    built = messaging.Message(
        data=data,
        notification=messaging.Notification(title=push.title, body=push.body),
        android=messaging.AndroidConfig(
            collapse_key=push.collapse_key or None,
            priority="high" if push.urgent else "normal",
            ttl=ttl_s(push, now_ms),
            notification=messaging.AndroidNotification(tag=push.collapse_key or None),
        ),
    )
    # As an argument it warns on each message that `fid` is preferred; registration tokens are what
    # clients send us.
    built.token = push.token
    return built


def ttl_s(push: Push, now_ms: int) -> int:
    """Seconds FCM may store the message: what remains, at most 28 days."""
    return min(max((push.expires_at_ms - now_ms) // 1000, 0), TTL_MAX_S)


def encode(push: Push, now_ms: int) -> bytes:
    """The request body. Raises TypeError for text that is not valid Unicode.

    Written out, not `encode_message(message(push))`: that takes 43 us of the 250 a send may cost,
    this 2, and a test holds the two equal.
    """
    data = dict(push.data)
    data["delivery_id"] = push.delivery_id
    if push.link is not None:
        data["link"] = push.link
    android: dict[str, object] = {
        "priority": "high" if push.urgent else "normal",
        "ttl": f"{ttl_s(push, now_ms)}s",
    }
    if push.collapse_key:
        android["collapse_key"] = push.collapse_key
        android["notification"] = {"tag": push.collapse_key}
    return orjson.dumps(
        {
            "message": {
                "android": android,
                "data": data,
                "notification": {"body": push.body, "title": push.title},
                "token": push.token,
            }
        }
    )


class _Body(aiohttp.BytesPayload):
    """Knows whether its writing has begun: before that, nothing can have been delivered."""

    begun = False

    async def write_with_length(
        self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None
    ) -> None:
        self.begun = True
        await super().write_with_length(writer, content_length)


class _Attempt:
    """How far a send has come, for when it is cut off."""

    __slots__ = ("body", "stage", "status")

    def __init__(self) -> None:
        self.stage = "POOL_FULL"
        self.body: _Body | None = None
        self.status = 0

    def cut(self, reason: str) -> SendResult:
        """The result when the exchange ended without a whole answer."""
        if self.status:
            return truncated(self.status)
        if self.body is not None and self.body.begun:
            return SendResult(SendKind.UNKNOWN, reason)
        return SendResult(SendKind.RETRY_LATER, self.stage)


class FcmSender:
    """Sends to one Firebase project.

    `connections_max` bounds the connections and so the sends in flight, `waiting_max` the sends
    waiting for one. `project_id` defaults to the credential's.
    """

    provider: Final = "fcm"

    def __init__(
        self,
        credential: credentials.Base,
        *,
        project_id: str | None = None,
        base_url: str = BASE_URL,
        connections_max: int = 200,
        waiting_max: int = 5_000,
        ssl_context: ssl.SSLContext | None = None,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        project = project_id or getattr(credential, "project_id", None)
        if not project:
            raise ValueError("no project: the credential names none and none was given")
        self._url = URL(f"{base_url}/v1/projects/{project}/messages:send", encoded=True)
        self._ssl = ssl_context
        self._connections_max = connections_max
        self._waiting_max = waiting_max
        self._waiting = 0
        self._now_ms = now_ms
        self._slots = asyncio.Semaphore(connections_max)
        self._token = AccessToken(credential, now_ms=now_ms)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool and begin to fetch a token; does not wait for it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections_max,
                keepalive_timeout=IDLE_S,
                ssl=self._ssl if self._ssl is not None else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            headers={
                "Content-Type": "application/json",
                "X-GOOG-API-FORMAT-VERSION": "2",
                "User-Agent": "tripline",
            },
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
        )
        self._token.begin()

    async def aclose(self) -> None:
        """Close the connections and stop renewing the token."""
        self._token.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, push: Push, now_ms: int, timeout_s: float) -> SendResult:
        """See `Sender.send`."""
        try:
            body = encode(push, now_ms)
        except (TypeError, ValueError):
            return SendResult(SendKind.REJECTED, "UNENCODABLE")
        attempt = _Attempt()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._admitted(body, attempt)
        except TimeoutError:
            return attempt.cut("TIMEOUT")
        except CredentialError as error:
            kind = SendKind.AUTH if error.permanent else SendKind.RETRY_LATER
            return SendResult(kind, "CREDENTIAL", error.retry_after_s)
        except (aiohttp.ClientError, OSError):
            return attempt.cut("RESET")

    async def _admitted(self, body: bytes, attempt: _Attempt) -> SendResult:
        """Take a slot, then send. aiohttp would queue for a connection too, but without a bound,
        and a timeout there could not be told from one on the wire."""
        if self._slots.locked() and self._waiting >= self._waiting_max:
            return SendResult(SendKind.RETRY_LATER, "POOL_FULL")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            attempt.stage = "CREDENTIAL"
            token = self._token.valid() or await self._token.get()
            result = await self._post(body, token, attempt)
            if result.reason not in _REFRESHABLE:
                return result
            attempt.stage, attempt.body, attempt.status = "CREDENTIAL", None, 0
            if await self._token.renew(token):
                result = await self._post(body, await self._token.get(), attempt)
            return result
        finally:
            self._slots.release()

    async def _post(self, body: bytes, token: str, attempt: _Attempt) -> SendResult:
        session = self._session
        if session is None:
            return SendResult(SendKind.RETRY_LATER, "CLOSED")
        attempt.stage, attempt.status = "CONNECT", 0
        attempt.body = payload = _Body(body)
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(
            self._url, data=payload, headers=headers, allow_redirects=False
        ) as response:
            attempt.status = response.status
            answer = await response.read()
            return classify_fcm(
                response.status, answer, response.headers.get("Retry-After"), self._now_ms()
            )
