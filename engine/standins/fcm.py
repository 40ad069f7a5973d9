"""FCM v1 over HTTP/1.1: message sends, and the OAuth token endpoint they depend on."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from engine import clock
from engine.standins.certificates import CLIENT_EMAIL, PROJECT_ID, Material
from engine.standins.control import control
from engine.standins.journal import Journal
from engine.standins.rules import Action, Delay, Rule, RuleBook
from engine.standins.signatures import BadTokenError, verify

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKENS_MAX: Final = 1_000
_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_STATUS_NAMES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_SEND_PATH: Final = f"/v1/projects/{PROJECT_ID}/messages:send"


class FcmStandin:
    """One FCM project. `token_lifetime_s` is what access tokens live; `token_delay_s` how long the
    token endpoint takes; `token_status` what it answers. It speaks TLS by `ssl_context`."""

    def __init__(
        self,
        material: Material,
        journal: Journal,
        *,
        rules: list[Rule] | None = None,
        delay: Delay | None = None,
        token_lifetime_s: int = 3600,
        token_delay_s: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.book = RuleBook(rules or [], delay or Delay())
        self.journal = journal
        self.token_status = 200
        self.token_delay_s = token_delay_s
        self.token_lifetime_s = token_lifetime_s
        self.tokens_issued = 0
        self.connections_seen = 0
        self.base_url = ""
        self._ssl = ssl_context
        self._material = material
        self._key = material.service_account_key()
        self._tokens: dict[str, int] = {}
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1 (`port` 0 picks one), set `base_url` and the account's token_uri."""
        server = _CountingServer(self)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024, ssl_context=self._ssl)
        await site.start()
        scheme = "http" if self._ssl is None else "https"
        self.base_url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        self._material.set_token_uri(f"{self.base_url}/token")

    async def stop(self) -> None:
        """Stop listening, cut what is open, flush the journal."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.journal.flush()

    def revoke_tokens(self) -> None:
        """Refuse every access token issued so far (the next send gets a 401)."""
        self._tokens.clear()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request to this port."""
        if request.path == _SEND_PATH and request.method == "POST":
            return await self._send(request)
        if request.path == "/token" and request.method == "POST":
            return await self._token(request)
        if request.path.startswith("/standin/"):
            return await control(self, request)
        return web.Response(status=404)

    async def _token(self, request: web.BaseRequest) -> web.Response:
        form = parse_qs((await request.read()).decode())
        await asyncio.sleep(self.token_delay_s)
        if self.token_status != 200:
            return _json({"error": "stand_in"}, self.token_status)
        try:
            _, claims = verify(form["assertion"][0], self._key)
        except (KeyError, BadTokenError):
            return _json({"error": "invalid_grant", "error_description": "bad assertion"}, 400)
        now_s = clock.now_ms() // 1000
        fresh = claims.get("iat", 0) - 60 <= now_s < claims.get("exp", 0)
        if form.get("grant_type") != [GRANT_TYPE] or claims.get("iss") != CLIENT_EMAIL or not fresh:
            return _json({"error": "invalid_grant", "error_description": "bad claims"}, 400)
        self.tokens_issued += 1
        token = f"standin-{secrets.token_hex(16)}"
        if len(self._tokens) >= TOKENS_MAX:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[token] = clock.now_ms() + self.token_lifetime_s * 1000
        return _json(
            {
                "access_token": token,
                "expires_in": self.token_lifetime_s,
                "token_type": "Bearer",
            }
        )

    async def _send(self, request: web.BaseRequest) -> web.StreamResponse:
        now_ms = clock.now_ms()
        raw = await request.read()
        authorization = request.headers.get("Authorization", "")
        if self._tokens.get(authorization.removeprefix("Bearer "), 0) <= now_ms:
            return _error(401, None, None)
        try:
            message = orjson.loads(raw)["message"]
            token = message["token"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _error(400, "INVALID_ARGUMENT", None)
        rule = self.book.match(token)
        self.journal.record(_entry(message, rule, now_ms))
        delay_s = self.book.delay_s(rule)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        if rule.action is Action.ANSWER:
            return await _answer(request, rule, message)
        await _misbehave(request, rule)
        return web.Response(status=500)


class _CountingServer(web.Server):
    """aiohttp's low-level server (no router: a load test pays for it), counting connections."""

    def __init__(self, standin: FcmStandin) -> None:
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = standin.handle
        # keepalive_timeout above any client's, so that the client is the one who closes.
        super().__init__(handler, keepalive_timeout=600.0, access_log=None)
        self._standin = standin

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        self._standin.connections_seen += 1
        super().connection_made(handler, transport)


async def _answer(
    request: web.BaseRequest, rule: Rule, message: dict[str, Any]
) -> web.StreamResponse:
    if rule.status is None or rule.status == 200:
        name = message.get("data", {}).get("delivery_id", "")
        return web.Response(
            body=b'{"name":"projects/%b/messages/%b"}' % (PROJECT_ID.encode(), name.encode()),
            content_type="application/json",
        )
    if rule.body is not None or rule.empty_body:
        return web.Response(text=rule.body or "", status=rule.status, headers=_retry_after(rule))
    response = _error(rule.status, rule.reason, rule)
    if not rule.split_body:
        return response
    body = response.body
    assert isinstance(body, bytes)
    split = web.StreamResponse(status=rule.status, headers=_retry_after(rule))
    await split.prepare(request)
    await split.write(body[: len(body) // 2])
    await split.write(body[len(body) // 2 :])
    await split.write_eof()
    return split


async def _misbehave(request: web.BaseRequest, rule: Rule) -> None:
    if rule.action is Action.HANG:
        # Until the client gives up: aiohttp cancels the handler when the connection goes.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
    transport = request.transport
    if transport is None:
        return
    if rule.action is Action.CLOSE_MID_RESPONSE:
        status = rule.status or 200
        cut = web.StreamResponse(status=status, headers={"Content-Length": "1000"})
        await cut.prepare(request)
        await cut.write(b'{"error": {')
        transport.close()
        return
    transport.abort()


def _entry(message: dict[str, Any], rule: Rule, now_ms: int) -> dict[str, Any]:
    notification, data = message.get("notification", {}), message.get("data", {})
    android = message.get("android", {})
    return {
        "provider": "fcm",
        "at_ms": now_ms,
        "delivery_id": data.get("delivery_id", ""),
        "token": message["token"],
        "status": rule.answered_status,
        "reason": rule.reason,
        "action": rule.action,
        "accepted": rule.accepts,
        "title": notification.get("title", ""),
        "body": notification.get("body", ""),
        "link": data.get("link"),
        "collapse_key": android.get("collapse_key"),
        "urgent": android.get("priority") == "high",
        "expires_at_ms": now_ms + int(android.get("ttl", "0s").rstrip("s").split(".")[0]) * 1000,
    }


def _error(status: int, code: str | None, rule: Rule | None) -> web.Response:
    """An error as FCM writes it: `code` is the FcmError, left out when None."""
    details = [{"@type": _FCM_ERROR, "errorCode": code}] if code else []
    body = {
        "error": {
            "code": status,
            "message": "stand-in",
            "status": _STATUS_NAMES.get(status, "UNKNOWN"),
            "details": details,
        }
    }
    return _json(body, status, _retry_after(rule) if rule else None)


def _retry_after(rule: Rule) -> dict[str, str]:
    return {"Retry-After": rule.retry_after} if rule.retry_after is not None else {}


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, headers=headers, content_type="application/json"
    )
