"""Engine-made kinds of the log, as JSON values: outcome, activate, merge, merged. (A tick's value
is empty, a forward's value is the original client event.)
"""

from typing import TypeVar

import msgspec

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


def encode(record: msgspec.Struct) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(record)


def decode(value: bytes | None, kind: type[T]) -> T:
    """Decode strictly; raises `msgspec.DecodeError` (or its ValidationError) on anything else."""
    return msgspec.json.decode(value or b"", type=kind)
