"""An event as the Segment message that decodes to the same event."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.events import Event

_ENCODER: Final = msgspec.json.Encoder()
_FIELDS: Final = (
    ("type", "type"),
    ("messageId", "message_id"),
    ("event", "event"),
    ("name", "name"),
    ("userId", "user_id"),
    ("anonymousId", "anonymous_id"),
    ("previousId", "previous_id"),
    ("timestamp", "timestamp"),
    ("properties", "properties"),
    ("traits", "traits"),
    ("context", "context"),
)


def to_segment(event: Event, a_ms: int) -> bytes:
    """The message in JSON with `receivedAt` = `a_ms`; absent fields are left out."""
    message: dict[str, Any] = {}
    for name, attribute in _FIELDS:
        value = getattr(event, attribute)
        if value is not None:
            message[name] = value
    message["receivedAt"] = datetime.fromtimestamp(a_ms // 1000, UTC).replace(
        microsecond=a_ms % 1000 * 1000
    )
    return _ENCODER.encode(message)
