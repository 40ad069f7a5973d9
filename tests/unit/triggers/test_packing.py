"""Packing: shorter where that loses nothing, and always the very same text again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.packing import is_packed, pack_id, pack_token, unpack_id, unpack_token

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
written = st.one_of(
    st.text(BASE64URL + ":", min_size=30, max_size=200),
    st.text("0123456789abcdef", min_size=30, max_size=70),
    st.text("0123456789abcdefABCDEF- +/=:\n", min_size=30, max_size=70),
    st.text(max_size=80),
)


@given(written)
def test_every_token_is_the_same_text_again(token: str) -> None:
    assert unpack_token(pack_token(token)) == token


@given(st.one_of(written, st.uuids().map(str), st.uuids().map(lambda one: str(one).upper())))
def test_every_message_id_is_the_same_text_again(message_id: str) -> None:
    assert unpack_id(pack_id(message_id)) == message_id


@given(st.text(BASE64URL, min_size=11, max_size=30), st.text(BASE64URL, min_size=120, max_size=160))
def test_an_fcm_token_takes_three_quarters_of_its_length(instance: str, rest: str) -> None:
    token = f"{instance}:APA91b{rest}"
    assert len(pack_token(token)) == 3 * -(-(len(token) - 1) // 4) + 1


@pytest.mark.parametrize("digits", ["0f" * 32, "0f" * 40, "63" * 80])
def test_an_apns_token_takes_half_of_its_length_and_a_byte(digits: str) -> None:
    assert len(pack_token(digits)) == len(digits) // 2 + 1


@pytest.mark.parametrize(
    "token", ["token-1", "x" * 64 + "=", "a:b:" + "c" * 60, "é" * 40, ":" + "a" * 40, "+/" * 40]
)
def test_a_token_of_another_form_stays_a_text(token: str) -> None:
    assert pack_token(token) == token


@given(st.uuids())
def test_a_uuid_takes_16_bytes_and_one_more_in_upper_case(one: object) -> None:
    text = str(one)
    assert len(pack_id(text)) == 16
    assert len(pack_id(text.upper())) == 17 - (text.upper() == text)


@pytest.mark.parametrize("other", ["", "m1", "022bb90c-bbac-11e4-8dfc-aa07a5b093dB", "-" * 36])
def test_a_message_id_of_another_form_stays_a_text(other: str) -> None:
    assert pack_id(other) == other


@given(written, written)
def test_a_text_is_known_again_by_what_was_packed_and_no_other_is(token: str, other: str) -> None:
    packed = pack_token(token)
    assert is_packed(packed, token)
    for told in (other, token + "0", token[:-1], token.swapcase(), token[::-1], "", None, 5):
        assert is_packed(packed, told) == (told == token)
