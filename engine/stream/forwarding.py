"""A record that belongs to another profile or another partition, as it goes there.

It keeps its kind and its content. The `origin` header names the record it was made from, so that it
is applied once however often the outbox publishes it; `followed` counts how often it was passed on.

Profiles can name each other in a ring: two records that cross do not see each other. A record that
has been passed on `FOLLOWED_MAX` times went round, and the profile it meets then is whole again.
"""

import msgspec

from engine.stream.intake import LogRecord, kind_of
from engine.stream.outbox import OutMessage
from schemas.kinds import FOLLOWED_HEADER, ORIGIN_HEADER, Kind, header, sealed_headers
from schemas.records import MergedRecord, PreferenceRecord, SignalRecord, decode, encode

FOLLOWED_MAX = 8


def went_round(record: LogRecord) -> bool:
    """The record was passed on so often that the profiles must name each other in a ring."""
    return _followed(record) >= FOLLOWED_MAX


def passed_on(
    record: LogRecord,
    user: str,
    home: int,
    shard: int,
    topic: str,
    secret: bytes,
    timestamp_ms: int | None,
) -> OutMessage:
    """The record for `user`, who lives in partition `home`, as `shard` passes it on."""
    kind, value = Kind.FORWARD, record.value or b""
    said = kind_of(record)
    if said == Kind.SIGNAL:
        kind = Kind.SIGNAL
        value = encode(msgspec.structs.replace(decode(value, SignalRecord), user=user))
    elif said == Kind.PREFERENCE:
        kind = Kind.PREFERENCE
        value = encode(msgspec.structs.replace(decode(value, PreferenceRecord), user=user))
    elif said == Kind.MERGED:
        kind = Kind.MERGED
        value = encode(msgspec.structs.replace(decode(value, MergedRecord), known=user))
    key = user.encode()
    headers = [
        *sealed_headers(secret, kind, home, key, value),
        (ORIGIN_HEADER, f"{shard}:{record.offset}".encode()),
        (FOLLOWED_HEADER, str(_followed(record) + 1).encode()),
    ]
    return OutMessage(topic, home, key, value, headers, timestamp_ms)


def _followed(record: LogRecord) -> int:
    said = header(record.headers, FOLLOWED_HEADER) if record.headers else None
    return int(said) if said and said.isdigit() else 0
