"""Engine-made kinds of the log, as JSON values: outcome, signal, activate, merge, merged. (A tick's
value is empty, a forward's value is the original client event.)

An outcome and a signal reach patterns as events of their own type (`outcome_event`,
`signal_event`), which no client can send.
"""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from schemas.events import ID_CHARS_MAX, Event
from schemas.reasons import Reason

T = TypeVar("T", bound=msgspec.Struct)


class DeadToken(msgspec.Struct, frozen=True):
    """A device token the provider called unregistered.

    `invalid_since_ms`: the provider's own time where it gives one (APNs 410), else None. A later
    registration of the same token wins.
    """

    token: str
    invalid_since_ms: int | None = None


class OutcomeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one delivery ended. The first one per delivery counts (design.md T9).

    `claimed_at_ms`: when the gate let it go, 0 where whoever writes this did not claim it.
    """

    delivery_id: str
    user: str
    trigger: str
    reason: Reason
    at_ms: int
    provider: str = ""
    code: str = ""
    attempts: int = 1
    dead_tokens: list[DeadToken] = []
    claimed_at_ms: int = 0
    version: int = 1


class SignalRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry by API, campaign or score: `name` says which triggers it means, `id` makes it one
    of its kind (a repetition has no effect), `properties` may be asked by conditions."""

    user: str
    name: str
    id: str
    at_ms: int
    properties: dict[str, Any] = {}
    version: int = 1


class ActivateRecord(msgspec.Struct, frozen=True):
    """From here on the shard decides with version `registry` of the registry."""

    registry: int


class MergeRecord(msgspec.Struct, frozen=True):
    """To the anonymous profile's shard: it is a part of `known` from here on."""

    anonymous: str
    known: str


class MergedRecord(msgspec.Struct, frozen=True):
    """To the known profile's shard: what the anonymous one held, as a stored state."""

    anonymous: str
    known: str
    state: bytes


def signal_event(record: SignalRecord) -> Event:
    """The signal as patterns see it; raises ValueError when an id or the time is unusable."""
    for name, value in (("user", record.user), ("name", record.name), ("id", record.id)):
        if not 0 < len(value) <= ID_CHARS_MAX:
            raise ValueError(f"{name} has 1 to {ID_CHARS_MAX} characters")
    return Event(
        type="signal",
        message_id=record.id,
        event=record.name,
        user_id=record.user,
        timestamp=_moment(record.at_ms),
        properties=record.properties,
    )


def outcome_event(record: OutcomeRecord, appended_at_ms: int) -> Event:
    """The outcome as patterns see it: `properties` name the delivery and how it ended."""
    return Event(
        type="outcome",
        message_id=f"{record.delivery_id}:{record.reason.lower()}",
        user_id=record.user,
        timestamp=_moment(min(max(record.at_ms, 0), appended_at_ms)),
        properties={
            "delivery_id": record.delivery_id,
            "trigger": record.trigger,
            "reason": record.reason.value,
            "provider": record.provider,
            "code": record.code,
        },
    )


def _moment(at_ms: int) -> datetime:
    """Raises ValueError for what no calendar has."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"at_ms {at_ms} is no time") from error


def encode(record: msgspec.Struct) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(record)


def decode(value: bytes | None, kind: type[T]) -> T:
    """Decode strictly; raises `msgspec.DecodeError` (or its ValidationError) on anything else."""
    return msgspec.json.decode(value or b"", type=kind)
