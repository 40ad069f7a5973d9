"""Outcomes as Segment track events, for analytics tools that know people by what they do.

A `messageId` is made of the delivery and the stage, so a repetition is the same message. All begin
with `schemas.events.OWN_PREFIX`: by that the log refuses them, should a pipe lead back into it.
"""

from typing import Any, Final

import msgspec

from engine.export.rows import ExportedOutcome
from schemas.events import OWN_PREFIX

#: What people did and what was done to them; the other kinds are no event of a user.
STAGES: Final = {
    "accepted": "Sent",
    "delivered": "Delivered",
    "opened": "Opened",
    "clicked": "Clicked",
}
CHANNELS: Final = {"push": "Push", "webpush": "Web Push", "email": "Email", "inbox": "Inbox"}
_encode = msgspec.json.Encoder().encode


def segment_message(row: ExportedOutcome) -> bytes | None:
    """`Push Sent`, `Push Delivered`, `Push Opened` or `Push Clicked`; None for any other kind."""
    kind = row.kind.lower()
    stage = STAGES.get(kind)
    if stage is None:
        return None
    channel = row.channel or "push"
    properties: dict[str, Any] = {
        "delivery_id": row.delivery_id,
        "trigger": row.trigger,
        "revision": row.revision,
        "variant": row.variant or None,
        "channel": channel,
    }
    campaign = {
        "name": row.trigger,
        "source": "tripline",
        "medium": channel,
        "content": row.variant or None,
    }
    return _encode(
        {
            "type": "track",
            "event": f"{CHANNELS.get(channel, channel.title())} {stage}",
            "messageId": f"{OWN_PREFIX}{row.delivery_id}:{kind}",
            "userId": row.user,
            "timestamp": row.at,
            "properties": _told(properties),
            "context": {"campaign": _told(campaign), "library": {"name": "tripline"}},
        }
    )


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
