"""The OAuth access token for FCM: google-auth signs and fetches, in a thread, ahead of expiry.

firebase-admin's async client refreshes with a synchronous HTTP call inside the event loop, on the
send path: a token endpoint that takes two seconds stops the whole process for two seconds.
"""

import asyncio
import datetime as dt
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from firebase_admin import credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from engine import clock
from engine.tasks import spawn

log = structlog.get_logger(__name__)

AHEAD_S: Final = 300.0
REQUEST_S: Final = 10.0
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
FORCED_PAUSE_S: Final = 60.0


class CredentialError(Exception):
    """No token. `permanent`: the endpoint refused the credential; else it could not be reached."""

    def __init__(self, permanent: bool, retry_after_s: float) -> None:
        super().__init__(f"permanent={permanent}")
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class AccessToken:
    """One access token for all sends, renewed in the background.

    At most one refresh is under way. After a failed one, none is tried for a pause that doubles up
    to a minute. The token in hand is used as long as it lives.
    """

    def __init__(
        self, credential: credentials.Base, *, now_ms: Callable[[], int] = clock.now_ms
    ) -> None:
        self._credential: Any = credential.get_credential()
        self._now_ms = now_ms
        self._value = ""
        self._expires_ms = 0
        self._refreshing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = 0.0
        self._permanent = False
        self._next_try_s = 0.0
        self._forced_s: float | None = None
        # Its own thread: the loop's default pool may be full of somebody else's blocking work.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fcm-token")
        self._closed = False

    def valid(self) -> str:
        """The token if there is one that lives, else ""."""
        return self._value if self._expires_ms > self._now_ms() else ""

    async def get(self) -> str:
        """The token, waiting for a refresh only if none is valid. Raises CredentialError.

        Cancelling a caller does not cancel the refresh the others wait for.
        """
        token = self.valid()
        if token:
            return token
        await self._refresh()
        token = self.valid()
        if token:
            return token
        wait_s = max(self._next_try_s - clock.monotonic_s(), 0.0)
        raise CredentialError(self._permanent, wait_s)

    async def renew(self, refused: str) -> bool:
        """The token `refused` was refused. True if another may be tried now.

        Forces at most one refresh a minute: a project whose every token is refused must not turn
        each send into a token request.
        """
        if refused != self._value:
            return bool(self.valid())
        if self._refreshing is None:
            now_s = clock.monotonic_s()
            if self._forced_s is not None and now_s - self._forced_s < FORCED_PAUSE_S:
                return False
            self._forced_s = now_s
        await self._refresh()
        return self._value != refused and bool(self.valid())

    def close(self) -> None:
        """Stop renewing."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def begin(self) -> None:
        """Start a refresh unless one is under way or the pause after a failure lasts."""
        if self._closed or self._refreshing is not None:
            return
        if clock.monotonic_s() < self._next_try_s:
            return
        task = spawn(self._fetch(), "fcm-token")
        self._refreshing = task
        task.add_done_callback(self._ended)

    async def _refresh(self) -> None:
        self.begin()
        task = self._refreshing
        if task is not None:
            # asyncio.wait neither cancels the task with its caller nor raises its failure.
            await asyncio.wait([task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None

    async def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            value, expires_ms = await loop.run_in_executor(self._thread, self._fetch_blocking)
        except GoogleAuthError as error:
            permanent = not error.retryable and type(error).__name__ == "RefreshError"
            self._failed(permanent, type(error).__name__)
            return
        except Exception as error:
            # A malformed answer surfaces as whatever its parsing raised; sends must not hang on it.
            self._failed(False, type(error).__name__)
            return
        self._pause_s, self._permanent = 0.0, False
        self._value, self._expires_ms = value, expires_ms
        life_s = max((expires_ms - self._now_ms()) / 1000, 0.0)
        self._schedule(max(life_s - AHEAD_S, life_s / 2, PAUSE_S))

    def _fetch_blocking(self) -> tuple[str, int]:
        request = Request()
        try:
            self._credential.refresh(functools.partial(_with_timeout, request))
        finally:
            request.session.close()
        expiry = self._credential.expiry
        if expiry is None:
            raise ValueError("no expiry")
        # google-auth keeps naive UTC.
        expires_ms = int(expiry.replace(tzinfo=dt.UTC).timestamp() * 1000)
        return str(self._credential.token), expires_ms

    def _failed(self, permanent: bool, error: str) -> None:
        self._pause_s = min(max(self._pause_s * 2, PAUSE_S), PAUSE_MAX_S)
        self._next_try_s = clock.monotonic_s() + self._pause_s
        self._permanent = permanent
        log.warning("fcm_token_failed", error=error, permanent=permanent, pause_s=self._pause_s)
        self._schedule(self._pause_s)

    def _schedule(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.begin)


def _with_timeout(request: Request, *args: Any, **kwargs: Any) -> Any:
    """google-auth waits 120 s by default."""
    kwargs["timeout"] = REQUEST_S
    return request(*args, **kwargs)
