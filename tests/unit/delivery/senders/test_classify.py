"""Every row of the providers' error tables, and what must hold for answers nobody foresaw."""

import datetime as dt
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.senders import SendKind
from engine.delivery.senders.classify import (
    REASONS,
    RETRY_AFTER_MAX_S,
    classify_apns,
    classify_fcm,
    retry_after_s,
    truncated,
)

NOW_MS = 1_700_000_000_000
REJECTED, AUTH, LATER = SendKind.REJECTED, SendKind.AUTH, SendKind.RETRY_LATER
UNREGISTERED, UNKNOWN = SendKind.UNREGISTERED, SendKind.UNKNOWN
STATUSES = st.integers(100, 599)
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def fcm_body(code: str | None, status: str | None = None) -> bytes:
    details = [{"@type": "type.googleapis.com/google.rpc.Help"}]
    if code is not None:
        details.append({"@type": FCM_ERROR, "errorCode": code})
    return orjson.dumps({"error": {"message": "m", "status": status, "details": details}})


@pytest.mark.parametrize(
    ("http", "code", "kind", "wait_s"),
    [
        (400, "INVALID_ARGUMENT", REJECTED, None),
        (401, "THIRD_PARTY_AUTH_ERROR", AUTH, None),
        (401, "APNS_AUTH_ERROR", AUTH, None),
        (403, "SENDER_ID_MISMATCH", REJECTED, None),
        (404, "UNREGISTERED", UNREGISTERED, None),
        (429, "QUOTA_EXCEEDED", LATER, 60.0),
        (500, "INTERNAL", LATER, 10.0),
        (503, "UNAVAILABLE", LATER, 10.0),
        (500, "UNSPECIFIED_ERROR", LATER, 10.0),
    ],
)
def test_fcm_goes_by_the_fcm_error(
    http: int, code: str, kind: SendKind, wait_s: float | None
) -> None:
    result = classify_fcm(http, fcm_body(code, "NOT_FOUND"), None, NOW_MS)
    assert (result.kind, result.reason, result.status) == (kind, code, http)
    assert result.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("http", "status", "kind", "reason"),
    [
        (400, "INVALID_ARGUMENT", REJECTED, "INVALID_ARGUMENT"),
        (400, "FAILED_PRECONDITION", REJECTED, "FAILED_PRECONDITION"),
        (401, "UNAUTHENTICATED", AUTH, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED", AUTH, "PERMISSION_DENIED"),
        (404, "NOT_FOUND", REJECTED, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED", LATER, "QUOTA_EXCEEDED"),
        (500, "INTERNAL", LATER, "INTERNAL"),
        (503, "UNAVAILABLE", LATER, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED", UNKNOWN, "DEADLINE_EXCEEDED"),
    ],
)
def test_fcm_without_fcm_error_goes_by_the_rpc_status_then_by_http(
    http: int, status: str, kind: SendKind, reason: str
) -> None:
    for body in (fcm_body(None, status), fcm_body("NEW_CODE", None), b"", b"<html>", b"[1]"):
        result = classify_fcm(http, body, None, NOW_MS)
        if body == fcm_body(None, status) or reason != "FAILED_PRECONDITION":
            assert (result.kind, result.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("http", "kind", "reason"),
    [
        (302, LATER, "HTTP_3XX"),
        (413, REJECTED, "PAYLOAD_TOO_LARGE"),
        (418, REJECTED, "HTTP_4XX"),
        (502, UNKNOWN, "HTTP_5XX"),
    ],
)
def test_fcm_statuses_outside_the_table_fall_into_a_class(
    http: int, kind: SendKind, reason: str
) -> None:
    result = classify_fcm(http, b"", None, NOW_MS)
    assert (result.kind, result.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("http", "kind", "wait_s", "reasons"),
    [
        (400, REJECTED, None, "BadDeviceToken BadCollapseId BadExpirationDate BadMessageId"),
        (400, REJECTED, None, "BadPriority InvalidPushType PayloadEmpty DuplicateHeaders"),
        (400, REJECTED, None, "MissingDeviceToken"),
        (400, AUTH, None, "DeviceTokenNotForTopic TopicDisallowed BadTopic MissingTopic"),
        (400, LATER, None, "IdleTimeout"),
        (403, AUTH, None, "ExpiredProviderToken InvalidProviderToken MissingProviderToken"),
        (403, AUTH, None, "BadCertificate BadCertificateEnvironment BadEnvironmentKeyIdInToken"),
        (403, AUTH, None, "UnrelatedKeyIdInToken Forbidden"),
        (404, REJECTED, None, "BadPath"),
        (405, REJECTED, None, "MethodNotAllowed"),
        (410, UNREGISTERED, None, "Unregistered ExpiredToken"),
        (413, REJECTED, None, "PayloadTooLarge"),
        (429, LATER, 60.0, "TooManyRequests TooManyProviderTokenUpdates"),
        (500, LATER, None, "InternalServerError"),
        (503, LATER, None, "ServiceUnavailable Shutdown"),
    ],
)
def test_apns_goes_by_status_and_reason(
    http: int, kind: SendKind, wait_s: float | None, reasons: str
) -> None:
    for reason in reasons.split():
        body = orjson.dumps({"reason": reason})
        result = classify_apns(http, body, None, NOW_MS)
        assert (result.kind, result.reason, result.status) == (kind, reason, http)
        assert result.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("http", "kind"),
    [
        (400, REJECTED),
        (403, AUTH),
        (404, REJECTED),
        (405, REJECTED),
        (410, UNREGISTERED),
        (413, REJECTED),
        (429, LATER),
        (500, LATER),
        (503, LATER),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{", b"null", b'{"reason": "NewReason"}'])
def test_apns_without_a_known_reason_goes_by_the_status(
    http: int, kind: SendKind, body: bytes
) -> None:
    result = classify_apns(http, body, None, NOW_MS)
    assert (result.kind, result.reason) == (kind, f"HTTP_{http}")


def test_the_time_a_token_became_invalid_is_kept_in_milliseconds() -> None:
    body = orjson.dumps({"reason": "Unregistered", "timestamp": 1_699_999_999_123})
    assert classify_apns(410, body, None, NOW_MS).token_invalid_since_ms == 1_699_999_999_123


@pytest.mark.parametrize("since", ["1", True, None, 1.5])
def test_a_timestamp_of_another_type_is_no_timestamp(since: object) -> None:
    body = orjson.dumps({"reason": "Unregistered", "timestamp": since})
    assert classify_apns(410, body, None, NOW_MS).token_invalid_since_ms is None


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 5_000, RETRY_AFTER_MAX_S),
        (format_datetime(dt.datetime.fromtimestamp(NOW_MS / 1000 + 90, dt.UTC), True), 90.0),
        (format_datetime(dt.datetime.fromtimestamp(NOW_MS / 1000 - 90, dt.UTC), True), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, NOW_MS) == wait_s


@given(STATUSES, st.binary(max_size=60), st.none() | st.text(max_size=40))
def test_any_answer_has_a_bounded_reason_and_a_sane_wait(
    status: int, body: bytes, retry_after: str | None
) -> None:
    for classify in (classify_fcm, classify_apns):
        result = classify(status, body, retry_after, NOW_MS)
        assert result.reason in REASONS
        assert result.status == status
        assert result.retry_after_s is None or 0 <= result.retry_after_s <= RETRY_AFTER_MAX_S


@given(STATUSES, st.sampled_from(["UNREGISTERED", "INTERNAL", "NEW", ""]), st.text(max_size=10))
def test_accepted_means_2xx_and_only_that(status: int, code: str, reason: str) -> None:
    fcm = classify_fcm(status, fcm_body(code), None, NOW_MS)
    apns = classify_apns(status, orjson.dumps({"reason": reason}), None, NOW_MS)
    for result in (fcm, apns, truncated(status)):
        assert (result.kind is SendKind.ACCEPTED) == (200 <= status < 300)


@given(STATUSES, st.none() | st.sampled_from(["NOT_FOUND", "INTERNAL", "UNREGISTERED"]))
def test_without_an_fcm_error_no_fcm_answer_removes_a_token(
    status: int, rpc_status: str | None
) -> None:
    result = classify_fcm(status, fcm_body(None, rpc_status), None, NOW_MS)
    assert result.kind is not SendKind.UNREGISTERED


@given(STATUSES.filter(lambda status: status != 410), st.sampled_from(["Unregistered", ""]))
def test_only_410_removes_an_apns_token(status: int, reason: str) -> None:
    result = classify_apns(status, orjson.dumps({"reason": reason}), None, NOW_MS)
    assert result.kind is not SendKind.UNREGISTERED


@given(STATUSES)
def test_a_cut_off_refusal_never_removes_a_token_or_opens_a_breaker(status: int) -> None:
    allowed = {SendKind.ACCEPTED, SendKind.RETRY_LATER, SendKind.UNKNOWN}
    assert truncated(status).kind in allowed
