"""APNs requests: identifiers, payload, and the header encoding that replaces hpack's."""

import uuid
from typing import Any

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.senders import Push
from engine.delivery.senders.apns import apns_id, collapse_id, notification
from engine.delivery.senders.apns_h2 import LiteralEncoder

NOW_MS = 1_700_000_000_000
NAMES = st.sampled_from(
    [b":method", b":path", b":authority", b":scheme", b"authorization", b"apns-id", b"x-other"]
)


def a_push(**changes: Any) -> Push:
    fields: dict[str, Any] = {
        "delivery_id": "0123456789abcdef0123456789abcdef",
        "token": "f" * 64,
        "title": "T",
        "body": "B",
        "link": "app://x",
        "data": {"delivery_id": "forged", "aps": "forged", "kept": "1"},
        "collapse_key": "cart",
        "expires_at_ms": NOW_MS + 90_500,
        "urgent": True,
    }
    return Push(**{**fields, **changes})


def test_the_payload_has_the_alert_and_the_engines_own_keys_win() -> None:
    request = notification(a_push(), NOW_MS)
    assert request.message["aps"] == {"alert": {"title": "T", "body": "B"}, "sound": "default"}
    assert request.message["delivery_id"] == "0123456789abcdef0123456789abcdef"
    assert request.message["link"] == "app://x"
    assert request.message["kept"] == "1"


@pytest.mark.parametrize(("urgent", "priority"), [(True, 10), (False, 5)])
def test_urgent_is_priority_10(urgent: bool, priority: int) -> None:
    assert notification(a_push(urgent=urgent), NOW_MS).priority == priority


@pytest.mark.parametrize(("left_ms", "ttl"), [(90_500, 90), (0, 0), (-5_000, 0)])
def test_time_to_live_is_what_remains(left_ms: int, ttl: int) -> None:
    push = a_push(expires_at_ms=NOW_MS + left_ms)
    assert notification(push, NOW_MS).time_to_live == ttl


@given(st.uuids())
def test_apns_id_is_the_uuid_of_the_delivery(value: uuid.UUID) -> None:
    assert apns_id(value.hex) == str(value)
    assert apns_id(value.hex.upper()) == str(value)


@given(st.text(max_size=100))
def test_a_collapse_id_is_always_a_valid_header(key: str) -> None:
    made = collapse_id(key)
    assert 1 <= len(made.encode("ascii")) <= 64
    assert all("!" <= character <= "~" for character in made)
    assert collapse_id(key) == made


def test_a_plain_collapse_key_is_kept_and_others_stay_distinct() -> None:
    assert collapse_id("cart:42") == "cart:42"
    assert collapse_id("корзина") != collapse_id("корзины")
    assert collapse_id("x" * 65) != collapse_id("x" * 66)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=400)), max_size=12), st.booleans())
def test_hpack_decodes_what_the_literal_encoder_writes(
    headers: list[tuple[bytes, bytes]], resized: bool
) -> None:
    encoder, decoder = LiteralEncoder(), Decoder()
    if resized:
        encoder.header_table_size = 100
    for _ in range(2):
        block = encoder.encode(headers)
        assert [tuple(h) for h in decoder.decode(block, raw=True)] == headers
