"""What a provider's answer means: pure functions from an answer to a `SendResult`.

FCM: `details[].errorCode` of an FcmError first, then `error.status`, then the HTTP status
(firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and .../cloud-messaging/scale-fcm).
APNs: the pair of HTTP status and reason, then the status
(developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns).
Codes neither table knows fall into a class by status, so `reason` stays bounded.
"""

from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import orjson

from engine.delivery.senders import SendKind, SendResult

RETRY_AFTER_MAX_S: Final = 86_400.0


class Row(NamedTuple):
    """A reaction: `wait_s` stands in when the provider does not say how long to wait."""

    kind: SendKind
    reason: str
    wait_s: float | None = None


_FCM_CODES: Final[dict[str, Row]] = {
    row.reason: row
    for row in (
        Row(SendKind.REJECTED, "INVALID_ARGUMENT"),
        Row(SendKind.UNREGISTERED, "UNREGISTERED"),
        Row(SendKind.REJECTED, "SENDER_ID_MISMATCH"),
        Row(SendKind.RETRY_LATER, "QUOTA_EXCEEDED", 60.0),
        Row(SendKind.RETRY_LATER, "UNAVAILABLE", 10.0),
        Row(SendKind.RETRY_LATER, "INTERNAL", 10.0),
        Row(SendKind.RETRY_LATER, "UNSPECIFIED_ERROR", 10.0),
        Row(SendKind.AUTH, "THIRD_PARTY_AUTH_ERROR"),
        Row(SendKind.AUTH, "APNS_AUTH_ERROR"),
    )
}
_FCM_STATUSES: Final[dict[str, Row]] = {
    "INVALID_ARGUMENT": Row(SendKind.REJECTED, "INVALID_ARGUMENT"),
    "FAILED_PRECONDITION": Row(SendKind.REJECTED, "FAILED_PRECONDITION"),
    # A 404 without an FcmError may come from a wrong project or path: no proof about the token.
    "NOT_FOUND": Row(SendKind.REJECTED, "NOT_FOUND"),
    "UNAUTHENTICATED": Row(SendKind.AUTH, "UNAUTHENTICATED"),
    "PERMISSION_DENIED": Row(SendKind.AUTH, "PERMISSION_DENIED"),
    "RESOURCE_EXHAUSTED": Row(SendKind.RETRY_LATER, "QUOTA_EXCEEDED", 60.0),
    "UNAVAILABLE": Row(SendKind.RETRY_LATER, "UNAVAILABLE", 10.0),
    "INTERNAL": Row(SendKind.RETRY_LATER, "INTERNAL", 10.0),
    # The back end took longer than the front end waited: it may still finish.
    "DEADLINE_EXCEEDED": Row(SendKind.UNKNOWN, "DEADLINE_EXCEEDED"),
}
_FCM_HTTP: Final[dict[int, Row]] = {
    400: _FCM_STATUSES["INVALID_ARGUMENT"],
    401: _FCM_STATUSES["UNAUTHENTICATED"],
    403: _FCM_STATUSES["PERMISSION_DENIED"],
    404: _FCM_STATUSES["NOT_FOUND"],
    413: Row(SendKind.REJECTED, "PAYLOAD_TOO_LARGE"),
    429: _FCM_STATUSES["RESOURCE_EXHAUSTED"],
    500: _FCM_STATUSES["INTERNAL"],
    503: _FCM_STATUSES["UNAVAILABLE"],
    504: _FCM_STATUSES["DEADLINE_EXCEEDED"],
}
_FCM_ERROR_TYPE: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

_APNS_REASONS: Final[dict[tuple[int, str], Row]] = {
    (status, reason): Row(kind, reason, wait_s)
    for status, kind, wait_s, reasons in (
        (400, SendKind.REJECTED, None, "BadDeviceToken BadCollapseId BadExpirationDate"),
        (400, SendKind.REJECTED, None, "BadMessageId BadPriority InvalidPushType PayloadEmpty"),
        (400, SendKind.REJECTED, None, "DuplicateHeaders MissingDeviceToken"),
        (400, SendKind.AUTH, None, "DeviceTokenNotForTopic TopicDisallowed BadTopic MissingTopic"),
        (400, SendKind.RETRY_LATER, None, "IdleTimeout"),
        (403, SendKind.AUTH, None, "ExpiredProviderToken InvalidProviderToken"),
        (403, SendKind.AUTH, None, "MissingProviderToken BadCertificate BadCertificateEnvironment"),
        (403, SendKind.AUTH, None, "BadEnvironmentKeyIdInToken UnrelatedKeyIdInToken Forbidden"),
        (404, SendKind.REJECTED, None, "BadPath"),
        (405, SendKind.REJECTED, None, "MethodNotAllowed"),
        (410, SendKind.UNREGISTERED, None, "Unregistered ExpiredToken"),
        (413, SendKind.REJECTED, None, "PayloadTooLarge"),
        (429, SendKind.RETRY_LATER, 60.0, "TooManyRequests TooManyProviderTokenUpdates"),
        (500, SendKind.RETRY_LATER, None, "InternalServerError"),
        (503, SendKind.RETRY_LATER, None, "ServiceUnavailable Shutdown"),
    )
    for reason in reasons.split()
}
_APNS_HTTP: Final[dict[int, Row]] = {
    400: Row(SendKind.REJECTED, "HTTP_400"),
    403: Row(SendKind.AUTH, "HTTP_403"),
    404: Row(SendKind.REJECTED, "HTTP_404"),
    405: Row(SendKind.REJECTED, "HTTP_405"),
    410: Row(SendKind.UNREGISTERED, "HTTP_410"),
    413: Row(SendKind.REJECTED, "HTTP_413"),
    429: Row(SendKind.RETRY_LATER, "HTTP_429", 60.0),
    500: Row(SendKind.RETRY_LATER, "HTTP_500"),
    503: Row(SendKind.RETRY_LATER, "HTTP_503"),
}

# By hundreds. A redirect or an informational answer was not the provider speaking, and nothing
# was delivered. A 5xx outside the tables comes from a gateway that cannot know what its back end
# did.
_CLASSES: Final[dict[int, Row]] = {
    1: Row(SendKind.UNKNOWN, "HTTP_1XX"),
    3: Row(SendKind.RETRY_LATER, "HTTP_3XX", 60.0),
    4: Row(SendKind.REJECTED, "HTTP_4XX"),
    5: Row(SendKind.UNKNOWN, "HTTP_5XX"),
}
_STRANGE: Final = Row(SendKind.UNKNOWN, "HTTP_OTHER")
_ACCEPTED: Final = SendResult(SendKind.ACCEPTED, "ACCEPTED", status=200)

REASONS: Final = frozenset(
    row.reason
    for table in (_FCM_CODES, _FCM_STATUSES, _FCM_HTTP, _APNS_REASONS, _APNS_HTTP, _CLASSES)
    for row in table.values()
) | {"ACCEPTED", "TRUNCATED", _STRANGE.reason}
"""Every reason these functions can give."""


def retry_after_s(value: str | None, now_ms: int) -> float | None:
    """Seconds to wait by a Retry-After header: delay-seconds or an HTTP date (RFC 9110 10.2.3).

    None for a missing or malformed one; never negative, at most a day.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Bounded before int(): a header of thousands of digits is a fault, not a number.
        return min(float(text[:9]), RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(text)
        wait_s = at.timestamp() - now_ms / 1000
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def classify_fcm(status: int, body: bytes, retry_after: str | None, now_ms: int) -> SendResult:
    """What FCM's answer means. `retry_after` is the raw header, `now_ms` the wall time."""
    if status == 200:
        return _ACCEPTED
    if 200 < status < 300:
        return SendResult(SendKind.ACCEPTED, "ACCEPTED", status=status)
    error = _object(_object(_parse(body)).get("error"))
    row = _FCM_CODES.get(_fcm_error_code(error))
    if row is None:
        row = _FCM_STATUSES.get(_text(error.get("status")))
    if row is None:
        row = _FCM_HTTP.get(status) or _CLASSES.get(status // 100, _STRANGE)
    return _result(row, status, retry_after, now_ms)


def classify_apns(status: int, body: bytes, retry_after: str | None, now_ms: int) -> SendResult:
    """What APNs' answer means. An empty or unreadable body falls back to the status."""
    if status == 200:
        return _ACCEPTED
    if 200 < status < 300:
        return SendResult(SendKind.ACCEPTED, "ACCEPTED", status=status)
    answer = _object(_parse(body))
    row = _APNS_REASONS.get((status, _text(answer.get("reason"))))
    if row is None:
        row = _APNS_HTTP.get(status) or _CLASSES.get(status // 100, _STRANGE)
    since = answer.get("timestamp") if row.kind is SendKind.UNREGISTERED else None
    since_ms = since if isinstance(since, int) and not isinstance(since, bool) else None
    return _result(row, status, retry_after, now_ms, since_ms)


def truncated(status: int) -> SendResult:
    """An answer whose status was seen and whose body was cut off.

    A refusal is a refusal, but its reason may matter (IdleTimeout is a 400): ask again.
    """
    if 200 <= status < 300:
        return SendResult(SendKind.ACCEPTED, "ACCEPTED", status=status)
    row = _CLASSES.get(status // 100, _STRANGE)
    if row.kind is SendKind.UNKNOWN and status not in (500, 503):
        return SendResult(SendKind.UNKNOWN, "TRUNCATED", status=status)
    return SendResult(SendKind.RETRY_LATER, "TRUNCATED", status=status)


def _result(
    row: Row, status: int, retry_after: str | None, now_ms: int, since_ms: int | None = None
) -> SendResult:
    wait_s = None
    if row.kind is SendKind.RETRY_LATER:
        asked_s = retry_after_s(retry_after, now_ms)
        wait_s = row.wait_s if asked_s is None else asked_s
    return SendResult(row.kind, row.reason, wait_s, status, since_ms)


def _parse(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # An empty or foreign body is an expected answer: the status decides then.
        return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _fcm_error_code(error: dict[str, Any]) -> str:
    details = error.get("details")
    if isinstance(details, list):
        for detail in details:
            if isinstance(detail, dict) and detail.get("@type") == _FCM_ERROR_TYPE:
                return _text(detail.get("errorCode"))
    return ""
