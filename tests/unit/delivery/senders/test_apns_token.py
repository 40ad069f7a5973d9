"""When provider tokens are minted: Apple allows one in 20 minutes and demands one an hour."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from engine.delivery.senders.apns_token import REFRESH_S, REMINT_AFTER_S, ProviderToken
from engine.standins.signatures import verify


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def token(time: Clock, key: ec.EllipticCurvePrivateKey) -> ProviderToken:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return ProviderToken(pem.decode(), "KEY", "TEAM", monotonic_s=time)


def test_the_token_is_signed_for_the_team(
    token: ProviderToken, key: ec.EllipticCurvePrivateKey
) -> None:
    scheme, value = token.header().decode().split(" ")
    header, claims = verify(value, key.public_key())
    assert (scheme, header["kid"], claims["iss"]) == ("bearer", "KEY", "TEAM")


def test_the_refresh_age_is_within_apples_limits() -> None:
    assert 20 * 60 < REFRESH_S < 55 * 60


def test_the_same_token_is_used_until_it_is_45_minutes_old(
    token: ProviderToken, time: Clock
) -> None:
    first = token.header()
    time.now_s += REFRESH_S - 1
    assert token.header() == first
    assert token.mints == 1
    time.now_s += 2
    assert token.header() != first
    assert token.mints == 2


def test_expiry_mints_once_for_all_who_were_refused(token: ProviderToken) -> None:
    refused = token.header()
    assert [token.expired(refused) for _ in range(10)] == [True] * 10
    assert token.mints == 2


def test_a_fresh_token_refused_too_is_not_answered_with_more_tokens(
    token: ProviderToken, time: Clock
) -> None:
    assert token.expired(token.header())
    assert not token.expired(token.header())
    time.now_s += REMINT_AFTER_S + 1
    assert token.expired(token.header())
    assert token.mints == 3


def test_too_many_updates_stops_minting_and_keeps_the_old_token(
    token: ProviderToken, time: Clock
) -> None:
    first = token.header()
    time.now_s += REFRESH_S - 60
    token.too_many_updates()
    time.now_s += 120
    assert token.header() == first
    assert not token.expired(first)
    time.now_s += REMINT_AFTER_S
    assert token.header() != first


def test_a_key_that_cannot_sign_is_a_value_error(time: Clock) -> None:
    with pytest.raises(ValueError, match="cannot sign"):
        ProviderToken("nonsense", "KEY", "TEAM", monotonic_s=time).header()
