"""The dead letter: a refused record with its reason and position, and the record itself."""

import base64
from collections.abc import Iterable

import msgspec

from schemas.reasons import DeadLetterReason

#: The original value is kept up to this size; a longer one is cut and says so.
VALUE_BYTES_MAX = 65_536


class DeadLetter(msgspec.Struct, frozen=True):
    """Where the record stood, why it was refused, and what it held (base64)."""

    topic: str
    partition: int
    offset: int
    appended_at_ms: int
    reason: DeadLetterReason
    detail: str
    key: str | None
    value: str
    cut: bool
    headers: list[tuple[str, str]]
    version: int = 1


def dead_letter(
    topic: str,
    partition: int,
    offset: int,
    appended_at_ms: int,
    reason: DeadLetterReason,
    detail: str,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]],
) -> bytes:
    """The value written to the dead-letters topic."""
    value = value or b""
    return msgspec.json.encode(
        DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            appended_at_ms=appended_at_ms,
            reason=reason,
            detail=detail[:500],
            key=None if key is None else base64.b64encode(key[:1024]).decode(),
            value=base64.b64encode(value[:VALUE_BYTES_MAX]).decode(),
            cut=len(value) > VALUE_BYTES_MAX,
            headers=[
                (name, base64.b64encode(content[:1024]).decode())
                for name, content in list(headers)[:32]
            ],
        )
    )
