import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from schemas.kinds import Kind, is_sealed, seal, sealed_headers

SECRET = b"k" * 32


def test_a_seal_is_the_hmac_over_kind_partition_key_and_value_with_their_lengths() -> None:
    content = b""
    for part in (b"tick", b"3", b"u", b"v"):
        content += len(part).to_bytes(4, "big") + part
    expected = hmac.new(SECRET, content, hashlib.sha256).digest()[:16]
    assert seal(SECRET, "tick", 3, b"u", b"v") == expected


@given(st.binary(max_size=8), st.binary(max_size=8), st.integers(0, 9))
def test_a_record_carries_its_seal(key: bytes, value: bytes, partition: int) -> None:
    headers = sealed_headers(SECRET, Kind.OUTCOME, partition, key, value)
    assert is_sealed(SECRET, headers, "outcome", partition, key, value)


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_moving_bytes_between_key_and_value_breaks_the_seal(key: bytes, value: bytes) -> None:
    headers = sealed_headers(SECRET, Kind.OUTCOME, 1, key + b"x", value)
    assert not is_sealed(SECRET, headers, "outcome", 1, key, b"x" + value)


def test_another_kind_partition_or_secret_breaks_the_seal() -> None:
    headers = sealed_headers(SECRET, Kind.OUTCOME, 1, b"u", b"v")
    assert not is_sealed(SECRET, headers, "activate", 1, b"u", b"v")
    assert not is_sealed(SECRET, headers, "outcome", 2, b"u", b"v")
    assert not is_sealed(b"j" * 32, headers, "outcome", 1, b"u", b"v")
    assert not is_sealed(SECRET, [], "outcome", 1, b"u", b"v")
