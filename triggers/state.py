"""What is remembered of one user: the whole of it, bounded, versioned, in one value.

A `UserState` belongs to its shard. `triggers.decide` changes it in place and nothing else does.
Times are milliseconds since the epoch in log time. Stored names are short structs in array form,
so that a user with two pending timers stays within 400 bytes in Redis (design.md section 9).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

STATE_VERSION = 1
DAY_MS = 86_400_000
#: How long cancels and ended starts are remembered, and how old a start may be (design.md T4, T5).
MEMORY_MS = DAY_MS

INSTANCES_MAX = 32
PENDING_MAX = 64
REMEMBERED_MAX = 32
COOLDOWNS_MAX = 64
DEVICES_MAX = 8


class Instance(msgspec.Struct, array_like=True, gc=False):
    """One pending match: fires at `fire_at` unless it is cancelled.

    `start_e` is the client time of `$start`, `chain_e` that of the first start of its chain of
    restarts; `fields` the declared values of `$start`.
    """

    trigger: str
    per: str
    activation: str
    start_e: int
    chain_e: int
    fire_at: int
    fields: dict[str, Any] = {}


class Cancel(msgspec.Struct, array_like=True, gc=False):
    """A remembered `unless` match: which clause, the compared fields, the latest client time."""

    clause: int
    e: int
    fields: dict[str, Any] = {}


class Memory(msgspec.Struct, array_like=True, gc=False):
    """What one trigger remembers of the last 24 h.

    `cancels`: unless matches. `ended`: per value (or messageId) -> client time of the start that
    ended last. The floors are the latest client times that overflow pushed out: whatever is not
    later than a floor counts as remembered, so overflow errs towards silence.
    """

    cancels: list[Cancel] = []
    ended: dict[str, int] = {}
    cancel_floor: int = 0
    ended_floor: int = 0


class Sent(msgspec.Struct, array_like=True, gc=False):
    """One admitted marketing message, for spacing and caps."""

    at: int
    delivery: bytes


class Cooled(msgspec.Struct, array_like=True, gc=False):
    """The last admission of a trigger for a per value."""

    trigger: str
    per: str
    at: int
    delivery: bytes


class Pending(msgspec.Struct, array_like=True, gc=False):
    """An admitted delivery whose outcome is not in the log yet; it can still be cancelled."""

    delivery: bytes
    trigger: str
    per: str
    start_e: int
    drop_at: int
    cancelled: bool = False
    fields: dict[str, Any] = {}


class Device(msgspec.Struct, array_like=True, gc=False):
    """An app install that can be reached. `platform`: `ios` or `android`."""

    token: str
    platform: str
    seen: int


class UserState(msgspec.Struct, array_like=True, gc=False):
    """Everything stored of a user.

    `seen` is the last activity, rounded up to the program's granule; `idle_fired` maps an idle
    trigger to the `seen` it fired for. `due` is the score of the user in the timer index, 0 for
    none: always the value of `next_due` when the state was last written.
    """

    version: int = STATE_VERSION
    decided_at: int = 0
    seen: int = 0
    due: int = 0
    devices: list[Device] = []
    instances: list[Instance] = []
    idle_fired: dict[str, int] = {}
    memory: dict[str, Memory] = {}
    sends: list[Sent] = []
    cooled: list[Cooled] = []
    cooled_floor: dict[str, int] = {}
    pending: list[Pending] = []


class NewerState(Exception):
    """The stored state was written by a newer version of Tripline than this one."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(UserState)


def encode_state(state: UserState) -> bytes:
    """msgpack, in field order."""
    return _encoder.encode(state)


def decode_state(data: bytes) -> UserState:
    """Raise `NewerState` when the data comes from a version this one cannot read."""
    state = _decoder.decode(data)
    if state.version > STATE_VERSION:
        raise NewerState(
            f"state version {state.version} is newer than {STATE_VERSION}: upgrade this process"
        )
    return state


def is_blank(state: UserState) -> bool:
    """True when nothing is left worth keeping: the key can go."""
    return not (
        state.seen
        or state.devices
        or state.instances
        or state.memory
        or state.sends
        or state.cooled
        or state.pending
    )


def earliest(times: Iterable[int]) -> int:
    """The smallest time that is not 0, else 0."""
    return min((time for time in times if time), default=0)
