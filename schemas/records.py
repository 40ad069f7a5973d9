"""Engine-made kinds of the log, as JSON values: outcome, signal, preference, activate, merge,
merged. (A tick's value is empty, a forward's value is the original client event.)

An outcome, a signal and a preference reach the core as events of their own type (`outcome_event`,
`signal_event`, `preference_event`), which no client can send.
"""

from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

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


Given = Literal["in", "out"]


class PreferenceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user agrees to (`in`) or refuses (`out`); what is not named stays as it is.

    `all`: every marketing message. `profiling`: that behaviour leads to messages at all. `id` names
    the change in the user's journal, `at_ms` is when the user made it.
    """

    user: str
    id: str
    at_ms: int
    all: Given | None = None
    profiling: Given | None = None
    channels: dict[str, Given] = {}
    categories: dict[str, Given] = {}
    version: int = 1


class ActivateRecord(msgspec.Struct, frozen=True):
    """From here on the shard decides with version `registry` of the registry."""

    registry: int


class MergeRecord(msgspec.Struct, frozen=True):
    """To the anonymous profile's shard: it is a part of `known` from here on."""

    anonymous: str
    known: str


class MergedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """To the known profile's shard: what the anonymous one held, as a stored state. `outcome`: what
    became of a delivery that was under way then."""

    anonymous: str
    known: str
    state: bytes
    outcome: OutcomeRecord | None = None


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


def preference_event(record: PreferenceRecord) -> Event:
    """The preference as the core sees it, its statements in `properties`; raises ValueError when
    an id or the time is unusable."""
    for name, value in (("user", record.user), ("id", record.id)):
        if not 0 < len(value) <= ID_CHARS_MAX:
            raise ValueError(f"{name} has 1 to {ID_CHARS_MAX} characters")
    said = {"all": record.all, "profiling": record.profiling}
    properties: dict[str, Any] = {name: value for name, value in said.items() if value}
    for name, values in (("channels", record.channels), ("categories", record.categories)):
        if values:
            properties[name] = dict(values)
    return Event(
        type="preference",
        message_id=record.id,
        user_id=record.user,
        timestamp=_moment(record.at_ms),
        properties=properties,
    )


def preference_record(event: Event, at_ms: int) -> PreferenceRecord:
    """The record of a preference event (a line of an event file), made at `at_ms`. What is neither
    `in` nor `out` is left out: it says nothing."""
    said = event.properties or {}
    return PreferenceRecord(
        user=event.profile,
        id=event.message_id,
        at_ms=at_ms,
        all=given_of(said.get("all")),
        profiling=given_of(said.get("profiling")),
        channels=_given_by_name(said.get("channels")),
        categories=_given_by_name(said.get("categories")),
    )


def _given_by_name(values: Any) -> dict[str, Given]:
    found = values.items() if isinstance(values, dict) else ()
    return {name: given for name, value in found if (given := given_of(value))}


def given_of(value: Any) -> Given | None:
    """`in` or `out`; None for anything else."""
    return "in" if value == "in" else "out" if value == "out" else None


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
