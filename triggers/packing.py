"""Device tokens and messageIds as a state holds them: bytes where these mean the very same text.

Providers and SDKs write random bytes as text. Whatever is not written as they do stays a text.
What was packed is compared packed: the same text always gives the same form.
"""

from binascii import Error, a2b_base64, b2a_base64
from functools import lru_cache
from typing import Final

#: Unpacked tokens at hand, 25 MB in all: of FCM it takes 2 us to unpack one, 0.9 us to find it.
TOKENS_CACHED_MAX: Final = 65_536

#: Shorter tokens are none of a provider's.
_TOKEN_CHARS_MIN: Final = 32
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
#: The lower six bits of a packed token's first byte: hex digits, or where the colon was (0: none).
_HEX: Final = 63
_UUID_CHARS: Final = 36
_UUID_BYTES: Final = 16


def pack_token(token: str) -> str | bytes:
    """APNs: hex digits in lower case, half as long. FCM: base64url, with a colon behind the
    instance id, three quarters. One byte more tells which."""
    if len(token) < _TOKEN_CHARS_MIN or not token.isascii():
        return token
    packed = _packed_hex(token) or _packed_base64(token)
    return token if packed is None or unpack_token(packed) != token else packed


def _packed_hex(token: str) -> bytes | None:
    try:
        return bytes((_HEX,)) + bytes.fromhex(token)
    except ValueError:
        return None


def _packed_base64(token: str) -> bytes | None:
    colon = max(token.find(":"), 0)
    if colon >= _HEX:
        return None
    written = token[:colon] + token[colon + 1 :] if colon else token
    added = -len(written) % 4
    try:
        raw = a2b_base64((written + "A" * added).encode().translate(_STANDARD))
    except Error:
        return None
    return bytes((added << 6 | colon,)) + raw


def unpack_token(packed: str | bytes) -> str:
    """The text that was packed."""
    if isinstance(packed, str):
        return packed
    # Hex digits are written faster, in 0.2 us, than found among so many unpacked ones, 0.65 us.
    return packed[1:].hex() if packed[0] == _HEX else _unpack_base64(packed)


@lru_cache(maxsize=TOKENS_CACHED_MAX)
def _unpack_base64(packed: bytes) -> str:
    head = packed[0]
    colon = head & _HEX
    text = b2a_base64(packed[1:], newline=False).translate(_URL_SAFE).decode()
    if added := head >> 6:
        text = text[:-added]
    return f"{text[:colon]}:{text[colon:]}" if colon else text


def is_packed(packed: str | bytes, token: object) -> bool:
    """Whether this text was packed. Every event of a user asks."""
    if isinstance(packed, str):
        return packed == token
    if packed[0] == _HEX:
        return packed[1:].hex() == token
    return _unpack_base64(packed) == token


def pack_id(message_id: str) -> str | bytes:
    """A UUID in lower case is its 16 bytes; one in upper case, as iOS writes it, a byte more."""
    if len(message_id) != _UUID_CHARS:
        return message_id
    try:
        raw = bytes.fromhex(message_id.replace("-", ""))
    except ValueError:
        return message_id
    if unpack_id(raw) == message_id:
        return raw
    raw += b"U"
    return raw if unpack_id(raw) == message_id else message_id


def unpack_id(packed: str | bytes) -> str:
    """The text that was packed."""
    if isinstance(packed, str):
        return packed
    digits = packed[:_UUID_BYTES].hex()
    text = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return text.upper() if len(packed) > _UUID_BYTES else text
