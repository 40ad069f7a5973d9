"""The APNs provider token: one JWT per key, shared by every connection and sender of the process.

Apple wants a token refreshed no more than once in 20 minutes and no less than once an hour, and
answers TooManyProviderTokenUpdates otherwise. aioapns mints one per connection, and its connections
die after 10 idle seconds; so the signing is aioapns', the bookkeeping is ours.
"""

from collections.abc import Callable
from typing import Any, Final

from aioapns.connection import JWTAuthorizationHeaderProvider

from engine import clock

REFRESH_S: Final = 45 * 60.0
REMINT_AFTER_S: Final = 20 * 60.0


class ProviderToken:
    """Mints the authorization header and hands the same one to all.

    `key` is the PEM content of the .p8 file. Minting is synchronous (one ES256 signature), so it
    needs no lock: two callers cannot both find the token stale. `monotonic_s` is the age clock.
    """

    def __init__(
        self,
        key: str,
        key_id: str,
        team_id: str,
        *,
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._monotonic_s = monotonic_s
        self._header = b""
        self._minted_s = 0.0
        self._forced_s: float | None = None
        self._frozen_until_s = 0.0
        self.mints = 0

    def header(self) -> bytes:
        """The value of `authorization`. Raises ValueError if the key cannot sign."""
        now_s = self._monotonic_s()
        stale = now_s - self._minted_s >= REFRESH_S and now_s >= self._frozen_until_s
        if not self._header or stale:
            self._mint(now_s)
        return self._header

    def expired(self, refused: bytes) -> bool:
        """APNs called the token `refused` expired. True if a different one may be tried now.

        Mints at most once in 20 minutes: if a fresh token is refused too, the fault is a clock or
        a key, and more tokens would only earn TooManyProviderTokenUpdates.
        """
        if refused != self._header:
            return True
        now_s = self._monotonic_s()
        if now_s < self._frozen_until_s:
            return False
        if self._forced_s is not None and now_s - self._forced_s < REMINT_AFTER_S:
            return False
        self._forced_s = now_s
        self._mint(now_s)
        return True

    def too_many_updates(self) -> None:
        """APNs answered TooManyProviderTokenUpdates: keep this token, mint none for 20 minutes."""
        self._frozen_until_s = self._monotonic_s() + REMINT_AFTER_S

    def _mint(self, now_s: float) -> None:
        # A new provider each time: it caches by its own clock, and this class decides the age.
        provider: Any = JWTAuthorizationHeaderProvider(self._key, self._key_id, self._team_id)
        try:
            header = provider.get_header()
        except Exception as error:
            # PyJWT and cryptography raise many types for an unusable key.
            raise ValueError(f"the APNs key cannot sign: {type(error).__name__}") from error
        self._header = str(header).encode("ascii")
        self._minted_s = now_s
        self.mints += 1
