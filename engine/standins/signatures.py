"""Check the two JSON web tokens the stand-ins receive (RFC 7515): RS256 for FCM, ES256 for APNs."""

import base64
import binascii
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class BadTokenError(Exception):
    """The token is malformed, of another algorithm, or its signature does not verify."""


def verify(token: str, key: PublicKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and claims of `token`. Raises BadTokenError."""
    try:
        head, claims, signature = token.split(".")
        header, payload = orjson.loads(_decode(head)), orjson.loads(_decode(claims))
        _verify(key, header["alg"], f"{head}.{claims}".encode(), _decode(signature))
    except (ValueError, KeyError, TypeError, binascii.Error, InvalidSignature) as error:
        raise BadTokenError(type(error).__name__) from error
    return header, payload


def _verify(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if algorithm != "RS256":
            raise ValueError("not RS256")
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        return
    if algorithm != "ES256" or len(signature) != 64:
        raise ValueError("not ES256")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def _decode(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
