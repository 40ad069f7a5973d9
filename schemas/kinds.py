"""What tells records of the log apart: the `kind` header, and the seal of engine-made records.

A record without a `kind` header is a client event. Every other kind is made by the engine and
carries a `seal`: HMAC-SHA256 over kind, partition, key and value, so that an emitter with write
access to the topic cannot forge an outcome (design.md section 3).
"""

import hmac
from collections.abc import Sequence
from enum import StrEnum

Headers = Sequence[tuple[str, bytes]]

KIND_HEADER = "kind"
SEAL_HEADER = "seal"
ORIGIN_HEADER = "origin"
FOLLOWED_HEADER = "followed"
SEAL_BYTES = 16


class Kind(StrEnum):
    """The engine-made kinds of the log."""

    TICK = "tick"
    OUTCOME = "outcome"
    ACTIVATE = "activate"
    FORWARD = "forward"
    MERGE = "merge"
    MERGED = "merged"
    SIGNAL = "signal"
    PREFERENCE = "preference"


def seal(secret: bytes, kind: str, partition: int, key: bytes | None, value: bytes | None) -> bytes:
    """The first 16 bytes of the HMAC; lengths are bound in so that fields cannot mix."""
    parts = (kind.encode(), str(partition).encode(), key or b"", value or b"")
    content = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(secret, content, "sha256")[:SEAL_BYTES]


def sealed_headers(
    secret: bytes, kind: Kind, partition: int, key: bytes | None, value: bytes | None
) -> list[tuple[str, bytes]]:
    """The headers of an engine-made record."""
    mark = seal(secret, kind, partition, key, value)
    return [(KIND_HEADER, kind.encode()), (SEAL_HEADER, mark)]


def header(headers: Headers, name: str) -> bytes | None:
    """The first header of that name, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def is_sealed(
    secret: bytes,
    headers: Headers,
    kind: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
) -> bool:
    """True when the record carries the seal of this engine for exactly this content."""
    mark = header(headers, SEAL_HEADER)
    return mark is not None and hmac.compare_digest(mark, seal(secret, kind, partition, key, value))
