"""Client events: the Segment message as emitters write it to the log.

Shape: Segment tracking spec (`type`, `messageId`, `userId` / `anonymousId`, `event`, `timestamp`,
`properties`, `context`, `traits`); unknown fields are ignored. Decoding is strict about types and
never raises anything but `BadRecord`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from operator import sub
from typing import Any, Literal

import msgspec

from schemas.reasons import DeadLetterReason

EVENT_BYTES_MAX = 65_536
ID_CHARS_MAX = 256
#: The messageIds of the events that we make of our outcomes for analytics tools begin so. A pipe
#: may lead them back here: they are no act of the user.
OWN_PREFIX = "tripline:"
_OWN_CHARS = len(OWN_PREFIX)

#: What a client sends.
CLIENT_TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
#: And three that the engine makes of its own records: an emitter's message of such a type is
#: refused.
EventType = Literal[
    "track",
    "identify",
    "page",
    "screen",
    "group",
    "alias",
    "signal",
    "outcome",
    "preference",
]


#: Types that are not something the user did: neither activity nor a lesson.
ENGINE_MADE = frozenset({"signal", "outcome", "preference"})


class BadRecord(Exception):
    """A record that cannot be an event: `reason` is closed, `detail` names the field."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Event(msgspec.Struct, gc=False):
    """One client event. Conditions read `properties`, `context`, `traits` by dotted paths.

    `timestamp` is the client's own time; the engine's `occurred_at` is min(timestamp, append time).
    `name` is that of a page or screen (Segment spec), of any JSON type: nobody looks at another's.
    """

    type: EventType
    message_id: str = msgspec.field(default="", name="messageId")
    event: str | None = None
    user_id: str | None = msgspec.field(default=None, name="userId")
    anonymous_id: str | None = msgspec.field(default=None, name="anonymousId")
    previous_id: str | None = msgspec.field(default=None, name="previousId")
    timestamp: datetime | None = None
    received_at: datetime | None = msgspec.field(default=None, name="receivedAt")
    properties: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    name: Any = None

    @property
    def profile(self) -> str:
        """The key of the user: `userId`, else `anonymousId` (both emitters and shards use it)."""
        return self.user_id or self.anonymous_id or ""


_decoder = msgspec.json.Decoder(Event)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the Unix epoch, rounded down; a moment without an offset is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    # Dividing by a timedelta takes three times as long.
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def to_ms_all(moments: Sequence[datetime]) -> list[int]:
    """`to_ms` of each, at two thirds of the price where they are of one day."""
    try:
        since = list(map(sub, moments, repeat(_EPOCH)))
    except TypeError:
        return list(map(to_ms, moments))
    day = min(since).days
    if max(since).days != day:
        return list(map(to_ms, moments))
    day_ms = day * 86_400_000
    return [day_ms + one.seconds * 1_000 + one.microseconds // 1_000 for one in since]


def decode_event(value: bytes | None, default_id: str = "", *, signals: bool = False) -> Event:
    """Decode one message; raise `BadRecord` naming the reason and the field.

    `default_id` stands in for a missing `messageId` (event files: the row number). `signals`: the
    message may be a signal, `event` its name, or a preference (event files only: in the log an
    emitter could forge one).
    """
    if value is None:
        raise BadRecord(DeadLetterReason.MALFORMED_JSON, "empty value")
    if len(value) > EVENT_BYTES_MAX:
        raise BadRecord(DeadLetterReason.TOO_LARGE, f"{len(value)} > {EVENT_BYTES_MAX} bytes")
    try:
        event = _decoder.decode(value)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(DeadLetterReason.MALFORMED_JSON, str(error)) from None
    except RecursionError:
        raise BadRecord(DeadLetterReason.TOO_DEEP, "nested too deeply") from None
    if not event.message_id:
        event.message_id = default_id
    _check_ids(event, signals)
    return event


def decode_events(values: Sequence[bytes], *, signals: bool = True) -> list[Event] | None:
    """Decode many messages at half the price, as `decode_event` with `signals` does.

    None when one of them would be refused: ask about each.
    """
    if not values or len(max(values, key=len)) > EVENT_BYTES_MAX:
        return None
    try:
        events: list[Event] = list(map(_decoder.decode, values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    ids = [event.message_id for event in events]
    if OWN_PREFIX in "".join(ids) and any(one[:_OWN_CHARS] == OWN_PREFIX for one in ids):
        return None
    for event in events:
        profile, message_id = event.user_id or event.anonymous_id, event.message_id
        timestamp = event.timestamp
        if (
            event.type == "track"
            and event.event
            and profile
            and message_id
            and len(profile) <= ID_CHARS_MAX
            and len(message_id) <= ID_CHARS_MAX
            and (timestamp is None or timestamp.year >= 1970)
        ):
            continue
        try:
            _check_ids(event, signals)
        except BadRecord:
            return None
    return events


def event_name(event: Event) -> str | None:
    """The name triggers use: `event` of a track, `Page: <name>`, `Screen: <name>`, else None.

    Segment's libraries for phones and servers say `name`, that for browsers `properties.name`, too.
    """
    kind = event.type
    if kind == "track":
        return event.event
    if kind == "page" or kind == "screen":
        for name in (event.name, (event.properties or {}).get("name"), event.event):
            if name and isinstance(name, str):
                return f"{kind.capitalize()}: {name}"
    return None


def occurred_at_ms(event: Event, appended_at_ms: int) -> int:
    """Client time `e`, clamped to at most the append time `a` (design.md section 5)."""
    timestamp = event.timestamp
    if timestamp is None:
        return appended_at_ms
    told_ms = to_ms(timestamp)
    return told_ms if told_ms < appended_at_ms else appended_at_ms


def _refusal(message: str) -> BadRecord:
    if "`$.timestamp`" in message or "`$.receivedAt`" in message:
        return BadRecord(DeadLetterReason.BAD_TIMESTAMP, message)
    return BadRecord(DeadLetterReason.WRONG_TYPE, message)


def _check_ids(event: Event, signals: bool) -> None:
    profile, message_id, kind = event.user_id or event.anonymous_id, event.message_id, event.type
    if not profile or not message_id:
        raise BadRecord(DeadLetterReason.MISSING_ID, "userId or anonymousId, and messageId")
    if len(profile) > ID_CHARS_MAX or len(message_id) > ID_CHARS_MAX:
        raise BadRecord(DeadLetterReason.ID_TOO_LONG, f"an id is over {ID_CHARS_MAX} characters")
    if message_id[:_OWN_CHARS] == OWN_PREFIX:
        raise BadRecord(DeadLetterReason.OWN_EVENT, "made by `tripline export --segment`")
    if kind == "track":
        if not event.event:
            raise BadRecord(DeadLetterReason.MISSING_EVENT, "a track message needs `event`")
    elif kind == "signal" or kind == "outcome":
        if not signals or kind == "outcome":
            raise BadRecord(DeadLetterReason.WRONG_TYPE, f"{kind} is not sent by clients")
        if not event.event:
            raise BadRecord(DeadLetterReason.MISSING_EVENT, "a signal needs `event`, its name")
    elif kind == "preference" and not signals:
        raise BadRecord(DeadLetterReason.WRONG_TYPE, "preference is not sent by clients")
    timestamp = event.timestamp
    if timestamp is not None and timestamp.year < 1970:
        raise BadRecord(DeadLetterReason.BAD_TIMESTAMP, "timestamp is before 1970")
