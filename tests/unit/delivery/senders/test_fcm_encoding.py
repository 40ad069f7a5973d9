"""The hand-written FCM body equals what firebase-admin would send."""

import json
from typing import Any

import orjson
import pytest
from firebase_admin import messaging
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.senders import Push
from engine.delivery.senders.fcm import TTL_MAX_S, encode, message, ttl_s

NOW_MS = 1_700_000_000_000
# What UTF-8 can carry: no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PUSHES = st.builds(
    Push,
    delivery_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    token=TEXT.filter(bool),
    title=TEXT,
    body=TEXT,
    link=st.none() | TEXT,
    data=st.dictionaries(TEXT, TEXT, max_size=4),
    collapse_key=TEXT,
    expires_at_ms=st.integers(NOW_MS - 10**9, NOW_MS + 10**10),
    urgent=st.booleans(),
)


def by_sdk(push: Push) -> Any:
    service: Any = messaging._MessagingService
    return {"message": service.encode_message(message(push, NOW_MS))}


@given(PUSHES)
def test_the_body_is_what_the_sdk_encodes(push: Push) -> None:
    ours = encode(push, NOW_MS)
    assert json.loads(ours) == json.loads(json.dumps(by_sdk(push)))
    # Byte for byte, once both write keys in one order and text as UTF-8.
    ordered = orjson.dumps(orjson.loads(ours), option=orjson.OPT_SORT_KEYS)
    assert ordered == orjson.dumps(by_sdk(push), option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize(
    ("left_ms", "ttl"),
    [(-1, 0), (0, 0), (999, 0), (1_000, 1), (3_600_999, 3_600), (10**12, TTL_MAX_S)],
)
def test_ttl_is_what_remains(left_ms: int, ttl: int) -> None:
    push = Push("0" * 32, "t", "", "", None, {}, "k", NOW_MS + left_ms, urgent=True)
    assert ttl_s(push, NOW_MS) == ttl
    android = json.loads(encode(push, NOW_MS))["message"]["android"]
    assert android["ttl"] == f"{ttl}s"


def test_the_engines_own_keys_win_over_data() -> None:
    data = {"delivery_id": "forged", "link": "forged", "kept": "1"}
    push = Push("a" * 32, "t", "", "", "app://x", data, "k", NOW_MS, urgent=False)
    sent = json.loads(encode(push, NOW_MS))["message"]["data"]
    assert sent == {"delivery_id": "a" * 32, "link": "app://x", "kept": "1"}
