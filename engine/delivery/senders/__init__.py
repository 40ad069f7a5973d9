"""One seam to the push providers: a `Push` goes in, a `SendResult` comes out, nothing is raised.

- `Push` is one rendered message for one device token; `SendResult` says what became of it.
- `SendKind` is what the caller must do next. Its line between *definitely not delivered*
  (`RETRY_LATER`, `REJECTED`, `AUTH`, `UNREGISTERED`) and *nobody knows* (`UNKNOWN`) is what keeps
  retries from becoming duplicates: neither provider offers an idempotency key.
- `Sender` is the seam. `fcm.FcmSender` speaks HTTP/1.1 to FCM v1, `apns.ApnsSender` HTTP/2 to APNs.
- `classify` turns a provider's answer into a `SendResult`: pure, table-driven.

Senders never retry: the one retry layer is the delivery worker. The only second requests made
here are one after a forced credential refresh (FCM) and one after a re-minted provider token
(APNs), both after an answer that refused the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class SendKind(StrEnum):
    """What became of one push, and so what the caller may do."""

    ACCEPTED = "accepted"
    """The provider took it."""
    UNREGISTERED = "unregistered"
    """The token is dead: remove it (if it was registered before `token_invalid_since_ms`)."""
    REJECTED = "rejected"
    """Bad payload or bad request: never retry it unchanged."""
    RETRY_LATER = "retry_later"
    """Definitely not delivered; the same push may be sent again later."""
    AUTH = "auth"
    """A credential or topic fault of the app: definitely not delivered, open the breaker."""
    UNKNOWN = "unknown"
    """The request was written and no answer came back: it may have been delivered."""


QUARANTINE_REASONS: Final = frozenset({"BadDeviceToken", "SENDER_ID_MISMATCH"})
"""`REJECTED` reasons that speak about the token, not the payload: the token is of another
environment or another project. Not proof that it is dead, so it is not `UNREGISTERED`."""


@dataclass(frozen=True, slots=True)
class Push:
    """One rendered message for one device.

    `delivery_id` is 32 hex characters; `collapse_key` at most 64 bytes; `expires_at_ms` is wall
    time, milliseconds since the epoch. `urgent` is APNs priority 10 or FCM HIGH, else 5 or NORMAL.
    `link` and `delivery_id` travel in the data part under those names and win over `data`.
    """

    delivery_id: str
    token: str
    title: str
    body: str
    link: str | None
    data: Mapping[str, str]
    collapse_key: str
    expires_at_ms: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of a push.

    `reason` is a provider's code or one of ours, from a bounded vocabulary (safe as a metric
    label); `retry_after_s` the least wait the provider asks for; `status` the HTTP status if one
    was seen; `token_invalid_since_ms` the time APNs last knew the token to be invalid.
    """

    kind: SendKind
    reason: str
    retry_after_s: float | None = None
    status: int | None = None
    token_invalid_since_ms: int | None = None


class Sender(Protocol):
    """A push provider. One instance serves many concurrent sends of one event loop."""

    @property
    def provider(self) -> str:
        """ "fcm" or "apns"."""
        ...

    async def start(self) -> None:
        """Get ready. Raises ValueError for a credential that can never work; a provider that is
        merely away does not fail the start."""
        ...

    async def send(self, push: Push, now_ms: int, timeout_s: float) -> SendResult:
        """Send `push`, taking at most `timeout_s`. Never raises for a provider, network or payload
        fault. Cancelling it harms no other send; what was written may still be delivered."""
        ...

    async def aclose(self) -> None:
        """Close all connections. Sends still under way end as if the connection was lost."""
        ...
