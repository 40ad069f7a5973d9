"""What is remembered of one user: the whole of it, bounded, versioned, in one value.

A `UserState` belongs to its shard. `triggers.decide` changes it in place and nothing else does.
Times are milliseconds since the epoch in log time. Stored names are short structs in array form,
so that a user with two pending timers stays within 400 bytes in Redis (design.md section 9). What
is random is stored as bytes (`triggers.packing`).
"""

from hashlib import blake2b
from itertools import compress
from operator import attrgetter
from sys import float_info
from typing import Any, TypeAlias

import msgspec

from triggers.packing import pack_id, pack_token, unpack_id, unpack_token

#: 3: device tokens and the messageIds of instances are packed.
STATE_VERSION = 3
DAY_MS = 86_400_000
#: How long cancels and ended starts are remembered, and how old a start may be (design.md T4, T5).
MEMORY_MS = DAY_MS

INSTANCES_MAX = 32
PENDING_MAX = 64
TOUCHES_MAX = 16
REMEMBERED_MAX = 32
COOLDOWNS_MAX = 64
DEVICES_MAX = 8
SETTLING_MAX = 32
HELD_MAX = 32
TEXTS_MAX = 64
#: How deep a kept value may nest.
KEPT_DEPTH_MAX = 16
#: How many characters of a text are kept.
KEPT_CHARS_MAX = 1024

#: `str | bytes` (`triggers.packing`): msgspec reads no union of the two.
Packed: TypeAlias = Any

_FLOAT_MAX = int(float_info.max)


class Progress(msgspec.Struct, array_like=True, gc=False):
    """What few instances have.

    `event`: the messageId of `$event`: "" for that of `$start`, None when no event started it.
    `step`: how many messages of the series are behind it, `said_at`: when the last one was
    admitted, 0 for none.
    """

    event: str | None = ""
    step: int = 0
    said_at: int = 0


class Instance(msgspec.Struct, array_like=True, gc=False):
    """One pending match: fires at `fire_at` unless it is cancelled.

    `started_by` is the messageId of `$start`, packed (`activation` is its text).
    `start_e` is the client time of `$event`, from which the wait runs, `chain_e` that of the first
    one of its chain of restarts (0: the same), or under `keep` that of the last start it has kept
    out. `fields` are the declared values of `$start` by
    path, and those of `$event` by `$` and path where it is another event.
    `revision` is that of the trigger when it was armed.
    """

    trigger: str
    per: str
    started_by: Packed
    start_e: int
    chain_e: int
    fire_at: int
    fields: dict[str, Any] = {}
    progress: Progress | None = None
    revision: int = 0

    @property
    def activation(self) -> str:
        """As decisions name it."""
        return unpack_id(self.started_by)


class Cancel(msgspec.Struct, array_like=True, gc=False):
    """A remembered `unless` match: which clause, the compared fields, the latest client time."""

    clause: int
    e: int
    fields: dict[str, Any] = {}


class Memory(msgspec.Struct, array_like=True, gc=False):
    """What one trigger remembers of the last 24 h.

    `cancels`: unless matches. `ended`: per value (or messageId) -> client time of the start that
    ended last. The floors are the latest client times that overflow pushed out: whatever is not
    later than a floor counts as remembered, so overflow errs towards silence. `untimed`: messageId
    -> append time of starts without a client time of their own (none, or ahead of the broker's) or
    replaced by another of the same moment: sent again they would look like later starts.
    """

    cancels: list[Cancel] = []
    ended: dict[str, int] = {}
    cancel_floor: int = 0
    ended_floor: int = 0
    untimed: dict[str, int] = {}


class Cooled(msgspec.Struct, array_like=True, gc=False):
    """The last admission of a trigger for a per value."""

    trigger: str
    per: str
    at: int


class Pending(msgspec.Struct, array_like=True, gc=False):
    """An admitted delivery whose outcome is not in the log yet; it can still be cancelled.

    `at`: when it was admitted, which tells what it took; `counts`: it took one of `sends`;
    `others`: the `per` values of a bundle beside the first; `before`: when the message before it in
    its series was admitted, 0 for none or one that was given back. `category`: it took one of
    `sent_by`; `text`: the text of a rotation it used, last used before at `text_before`;
    `merged_before`: the admission of another profile, now merged, whose cooldown it had replaced;
    `revision` and `variant` are those it was decided under.
    """

    delivery: bytes
    trigger: str
    per: str
    at: int
    counts: bool
    drop_at: int
    cancelled: bool = False
    fields: dict[str, Any] = {}
    others: list[str] = []
    before: int = 0
    category: str = ""
    text: str = ""
    text_before: int = 0
    merged_before: int = 0
    revision: int = 0
    variant: str = ""


class Waiting(msgspec.Struct, array_like=True, gc=False):
    """A candidate that waits for its bundle or settle window: what an `Instance` says, and when it
    was due."""

    per: str
    activation: str
    start_e: int
    due: int
    fields: dict[str, Any] = {}
    start: str | None = None
    event: str | None = None


class Bundle(msgspec.Struct, array_like=True, gc=False):
    """Candidates of a trigger that become one message at `close_at`, the first one first."""

    trigger: str
    close_at: int
    waiting: list[Waiting]


class Settling(msgspec.Struct, array_like=True, gc=False):
    """A candidate that competes for a settle window until `close_at`, since `at`.

    `waiting`: itself, or the members of its bundle when it is `bundled`. `step` and `said_at` as in
    an instance.
    """

    trigger: str
    at: int
    close_at: int
    due: int
    waiting: list[Waiting]
    step: int = 0
    said_at: int = 0
    bundled: bool = False


class Held(msgspec.Struct, array_like=True, gc=False):
    """A candidate that waits since `since` for its hours to open, looked at again at `release_at`.

    `revision` is that of the trigger then; the rest is as in `Settling`.
    """

    trigger: str
    since: int
    release_at: int
    due: int
    waiting: list[Waiting]
    revision: int = 0
    step: int = 0
    said_at: int = 0
    bundled: bool = False


class Exposure(msgspec.Struct, array_like=True, gc=False):
    """Since when the user counts for the readout of a trigger, and in which arm.

    `at`: the first exposure under `revision`. `goals`, `value` (millionths) and `left` (has
    unsubscribed): what followed so far.
    """

    arm: str
    at: int
    revision: int = 0
    goals: int = 0
    value: int = 0
    left: bool = False


class Touch(msgspec.Struct, array_like=True, gc=False):
    """A delivery, or a ghost, that something may still be credited to.

    `at`: when it was decided. So long after that the provider took it or the ghost ended
    (`accepted_after`), and the client saw the first click (`clicked_after`), -1 while that is not
    certain: times in full would be four times as long. `seen`: the bits of what has been counted of
    it (`triggers.attribution`).
    """

    delivery: bytes
    trigger: str
    at: int
    accepted_after: int = -1
    clicked_after: int = -1
    seen: int = 0
    revision: int = 0
    variant: str = ""
    channel: str = ""

    @property
    def accepted_at(self) -> int:
        """0 while it is not certain."""
        return 0 if self.accepted_after < 0 else self.at + self.accepted_after

    @property
    def clicked_at(self) -> int:
        """0 for never."""
        return 0 if self.clicked_after < 0 else self.at + self.clicked_after


class Device(msgspec.Struct, array_like=True, gc=False):
    """An app install. `packed`: its token (`triggers.packing`); `platform`: `ios` or `android`."""

    packed: Packed
    platform: str
    seen: int

    @property
    def token(self) -> str:
        """As the provider knows it."""
        return unpack_token(self.packed)


class Consent(msgspec.Struct, array_like=True, gc=False):
    """What a user agrees to and refuses: when it was said (client time, ms), > 0 for an agreement,
    < 0 for a refusal, 0 or absent for neither. `everything`: every marketing message; `profiling`:
    that behaviour leads to messages at all. `devices`: tokens of the known devices on which the
    user does not permit pushes, and since when (client time)."""

    everything: int = 0
    profiling: int = 0
    channels: dict[str, int] = {}
    categories: dict[str, int] = {}
    devices: dict[str, int] = {}


class UserState(msgspec.Struct, array_like=True, gc=False):
    """Everything stored of a user.

    `seen` is the last activity, rounded up to the program's granule; `idle_fired` maps an idle
    trigger to the `seen` it fired for. `sends` are the times of admitted marketing messages: at
    most the largest cap, and those that may be given back. `due` is the score of the user in the
    timer index, 0 for none: always the value of `next_due` when the state was last written.

    `patterns` maps a trigger to what its pattern remembers, `[kind, ...]` in a form that the
    pattern alone knows. `traits` are the declared traits of the user, by path below `traits`,
    `zone` their time zone ("" unknown; kept when a registered trigger needs it).
    `features` maps a feature's key to what it remembers, `relations` a relation to its items and
    when each was added. `bundles` are the messages that still collect candidates. `merged_into` is
    the profile that this one became a part of, "" for none. `settling` are the candidates of the
    open settle window. `sent_by` maps a category with caps of its own to the times of its messages
    as in `sends`; `texts` a trigger to when each text of its rotation was last used ("": one that
    was pushed out). `held` are candidates whose hours are closed, `usual` the hours of the week the
    user is active in, in a form that `triggers.usual` knows. `exposed`: trigger -> the user's arm
    in what is measured there. `touches`: the last deliveries that something may be credited to, the
    oldest first. `consent` None: nothing was ever said. `reached` is `triggers.reach`'s,
    `guests` (profile -> its deliveries under way when it became a part of this one)
    `triggers.guests`'s.
    """

    version: int = STATE_VERSION
    decided_at: int = 0
    seen: int = 0
    due: int = 0
    devices: list[Device] = []
    instances: list[Instance] = []
    idle_fired: dict[str, int] = {}
    memory: dict[str, Memory] = {}
    sends: list[int] = []
    cooled: list[Cooled] = []
    cooled_floor: dict[str, int] = {}
    pending: list[Pending] = []
    patterns: dict[str, list[Any]] = {}
    traits: dict[str, Any] = {}
    zone: str = ""
    features: dict[str, list[Any]] = {}
    relations: dict[str, dict[str, int]] = {}
    bundles: list[Bundle] = []
    merged_into: str = ""
    settling: list[Settling] = []
    sent_by: dict[str, list[int]] = {}
    texts: dict[str, dict[str, int]] = {}
    held: list[Held] = []
    usual: list[Any] = []
    exposed: dict[str, Exposure] = {}
    touches: list[Touch] = []
    consent: Consent | None = None
    reached: list[int] = []
    guests: dict[str, list[Pending]] = {}


class NewerState(Exception):
    """The stored state was written by a newer version of Tripline than this one."""


def under_way(state: UserState) -> list[Pending]:
    """Admitted deliveries whose outcome is not known: the user's own and their guests'."""
    if not state.guests:
        return state.pending
    return [*state.pending, *(one for kept in state.guests.values() for one in kept)]


class _Versioned(msgspec.Struct, array_like=True):
    """The beginning of every state ever written."""

    version: int


def has_rare(state: UserState) -> bool:
    """True when one of the fields behind `pending` holds something."""
    return bool(
        state.patterns
        or state.traits
        or state.zone
        or state.features
        or state.relations
        or state.bundles
        or state.merged_into
        or state.settling
        or state.sent_by
        or state.texts
        or state.held
        or state.usual
        or state.exposed
        or state.touches
        or state.consent
        or state.reached
        or state.guests
    )


_FIELDS = UserState.__struct_fields__
#: How many fields `has_rare` looks at; each is one byte when it is empty, as the two before are.
_RARE = 17
_PLACES = range(_RARE)
#: From the last one on.
_rare_fields = attrgetter(*_FIELDS[: -_RARE - 1 : -1])
#: An array of more than 15 fields has a head of three bytes, a shorter one of one.
_HEAD_BYTES = 3
_SHORT_MAX = 15

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(UserState)
_version_decoder = msgspec.msgpack.Decoder(_Versioned)


def encode_state(state: UserState) -> bytes:
    """msgpack, in field order, without the fields at the end that most users do not have."""
    data = _encoder.encode(state)
    if has_rare(state):
        empty = next(compress(_PLACES, _rare_fields(state)))
    else:
        empty = _RARE
        if not state.pending:
            empty += 1 if state.cooled_floor else 2
    left = len(_FIELDS) - empty
    head = bytes((0x90 + left,)) if left <= _SHORT_MAX else bytes((0xDC, 0, left))
    return head + data[_HEAD_BYTES : len(data) - empty]


def decode_state(data: bytes) -> UserState:
    """Raise `NewerState` when the data comes from a version this one cannot read."""
    try:
        state = _decoder.decode(data)
    except msgspec.ValidationError:
        _refuse_newer(_version_decoder.decode(data).version)
        raise
    if state.version != STATE_VERSION:
        _refuse_newer(state.version)
        _bring_up(state)
    return state


def _bring_up(state: UserState) -> None:
    """To this version, as if it had been written by it: what is packed is compared packed."""
    for device in state.devices:
        device.packed = pack_token(device.token)
    for instance in state.instances:
        instance.started_by = pack_id(instance.activation)
    state.version = STATE_VERSION


def _refuse_newer(version: int) -> None:
    if version > STATE_VERSION:
        raise NewerState(
            f"state version {version} is newer than {STATE_VERSION}: upgrade this process"
        )


def storable(value: Any, depth_max: int = KEPT_DEPTH_MAX) -> Any:
    """A value of an event as state can hold it, whatever its emitter wrote.

    msgpack has no integers beyond 64 bits (they become the nearest float), and nesting that the
    JSON decoder took from a shallow stack can be too deep from a deeper one (what lies below
    `depth_max` becomes null). Either would stop the shard when the state is written or read.

    A text of more than `KEPT_CHARS_MAX` characters is cut and ends with a hash of the whole, so
    that different texts stay different; a list or an object keeps what fits into that number of
    elements and characters, four times. A user's state and deliveries are bounded by it.
    """
    kind = type(value)
    if kind is str:
        return value if len(value) <= KEPT_CHARS_MAX else _cut(value)
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _nearest_float(value)
    if kind is not list and kind is not dict:
        return value
    return _bounded(value, depth_max, [4 * KEPT_CHARS_MAX])


def _bounded(value: Any, depth_max: int, left: list[int]) -> Any:
    kind = type(value)
    if kind is not list and kind is not dict:
        kept = storable(value)
        left[0] -= 1 + (len(kept) if type(kept) is str else 0)
        return kept
    left[0] -= 1
    if not depth_max:
        return None
    if kind is list:
        items = []
        for item in value:
            if left[0] <= 0:
                break
            items.append(_bounded(item, depth_max - 1, left))
        return items
    fields = {}
    for name, item in value.items():
        if left[0] <= 0:
            break
        left[0] -= len(name)
        fields[name if len(name) <= KEPT_CHARS_MAX else _cut(name)] = _bounded(
            item, depth_max - 1, left
        )
    return fields


def _cut(text: str) -> str:
    mark = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[: KEPT_CHARS_MAX - len(mark)]}{mark}"


def _nearest_float(value: int) -> float:
    return float(max(-_FLOAT_MAX, min(_FLOAT_MAX, value)))


def is_blank(state: UserState) -> bool:
    """True when nothing is left worth keeping: the key can go."""
    return not (
        state.decided_at
        or state.seen
        or state.devices
        or state.instances
        or state.memory
        or state.sends
        or state.cooled
        or state.cooled_floor
        or state.pending
        or has_rare(state)
    )
