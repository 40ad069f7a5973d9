"""Intake: one record of the log becomes an input of the core, a dead letter, or nothing.

Nothing: ticks, and client events that no trigger names and that teach nothing of a device or of
activity. They still move the watermark.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, final

import msgspec

from schemas.events import BadRecord, Event, decode_event, decode_events
from schemas.kinds import KIND_HEADER, ORIGIN_HEADER, Kind, header, is_sealed
from schemas.reasons import DeadLetterReason
from schemas.records import (
    ActivateRecord,
    MergedRecord,
    MergeRecord,
    OutcomeRecord,
    PreferenceRecord,
    SignalRecord,
    decode,
    preference_event,
    signal_event,
)
from triggers.program import NO_HITS, Hits, Program
from triggers.state import UserState, decode_state

#: Client events decoded at once. More of them would not fit into the processor's cache before those
#: that mean nothing are let go of.
RUN_MAX = 64


class LogRecord(Protocol):
    """What is read of a Kafka record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@final
class EventInput(msgspec.Struct, gc=False):
    """A client event, a signal or a preference that means something.

    `origin` (partition, offset) when it was forwarded."""

    a: int
    user: str
    event: Event
    hits: Hits
    origin: tuple[int, int] | None = None


class OutcomeInput(NamedTuple):
    """How a delivery ended."""

    a: int
    user: str
    record: OutcomeRecord


class MergeInput(NamedTuple):
    """The anonymous profile `user` is a part of `known` from here on."""

    a: int
    user: str
    known: str


class MergedInput(NamedTuple):
    """What the profile `guest` held, or what became of its delivery, becomes a part of `user`."""

    a: int
    user: str
    state: UserState
    origin: tuple[int, int]
    guest: str
    outcome: OutcomeRecord | None = None


class Activation(NamedTuple):
    """From this record on the shard decides with registry version `number`."""

    number: int


Input = EventInput | OutcomeInput | MergeInput | MergedInput


def plain_run(records: Sequence[LogRecord], start: int) -> Sequence[LogRecord]:
    """The records without headers from `start` on, `RUN_MAX` at most; `start` may have some."""
    end, stop = start, min(len(records), start + RUN_MAX)
    while end < stop and not records[end].headers:
        end += 1
    return records[start:end]


def read_plain(
    run: Sequence[LogRecord],
    watermark_ms: int,
    program: Program,
    inputs: list[tuple[LogRecord, "Input"]],
) -> int | None:
    """Decode a `plain_run` at half the price, add what means something to `inputs`; the watermark
    behind it. None, and nothing is added, when one of them is bad: ask `read_record` about each.
    """
    values = [value for record in run if (value := record.value) is not None]
    events = decode_events(values, signals=False)
    if events is None or len(events) < len(run):
        return None
    hits_of = program.hits
    for record, event in zip(run, events, strict=True):
        if record.timestamp > watermark_ms:
            watermark_ms = record.timestamp
        hits = hits_of(event)
        if hits is not None:
            inputs.append((record, _input_of(event, watermark_ms, hits, None)))
    return watermark_ms


def read_record(
    record: LogRecord, a: int, program: Program, secret: bytes
) -> Input | Activation | None:
    """Decode one record appended at `a` (made monotone by the caller); raise `BadRecord`."""
    headers = record.headers
    if not headers:
        return _client_event(record.value, a, program, None)
    kind = header(headers, KIND_HEADER)
    if kind is None:
        return _client_event(record.value, a, program, None)
    name = kind.decode("ascii", "replace")
    if name not in Kind._value2member_map_:
        raise BadRecord(DeadLetterReason.UNKNOWN_KIND, f"kind {name[:64]!r}")
    if not is_sealed(secret, headers, name, record.partition, record.key, record.value):
        raise BadRecord(DeadLetterReason.FORGED, f"kind {name} without its seal")
    return _engine_record(Kind(name), record, a, program)


def kind_of(record: LogRecord) -> str:
    """`event`, or the kind the header claims."""
    kind = header(record.headers, KIND_HEADER) if record.headers else None
    return "event" if kind is None else kind.decode("ascii", "replace")


def is_forwarded(record: LogRecord) -> bool:
    """The record has been moved between partitions once already."""
    kind = kind_of(record)
    if kind in (Kind.SIGNAL, Kind.PREFERENCE):
        return header(record.headers, ORIGIN_HEADER) is not None
    return kind == Kind.FORWARD


def _client_event(
    value: bytes | None, a: int, program: Program, origin: tuple[int, int] | None
) -> EventInput | None:
    return _event_input(decode_event(value), a, program, origin)


def _event_input(
    event: Event, a: int, program: Program, origin: tuple[int, int] | None
) -> EventInput | None:
    hits = program.hits(event)
    return None if hits is None else _input_of(event, a, hits, origin)


def _input_of(event: Event, a: int, hits: Hits, origin: tuple[int, int] | None) -> EventInput:
    if hits is NO_HITS:
        # Nobody reads them any more, and a batch of them would not fit into the processor's cache.
        event.properties = None
    return EventInput(a, event.user_id or event.anonymous_id or "", event, hits, origin)


def _engine_record(
    kind: Kind, record: LogRecord, a: int, program: Program
) -> Input | Activation | None:
    if kind is Kind.TICK:
        return None
    if kind is Kind.FORWARD:
        item = _client_event(record.value, a, program, _origin(record))
        if item is not None and record.key:
            # A record of a merged profile is forwarded in the name of the known one.
            item.user = record.key.decode()
        return item
    try:
        if kind is Kind.ACTIVATE:
            return Activation(decode(record.value, ActivateRecord).registry)
        if kind is Kind.MERGE:
            merge = decode(record.value, MergeRecord)
            return MergeInput(a, merge.anonymous, merge.known)
        if kind is Kind.MERGED:
            merged = decode(record.value, MergedRecord)
            state, origin = decode_state(merged.state), _origin(record)
            return MergedInput(a, merged.known, state, origin, merged.anonymous, merged.outcome)
        if kind is Kind.SIGNAL or kind is Kind.PREFERENCE:
            if kind is Kind.SIGNAL:
                event = signal_event(decode(record.value, SignalRecord))
            else:
                event = preference_event(decode(record.value, PreferenceRecord))
            passed_on = header(record.headers, ORIGIN_HEADER) is not None
            return _event_input(event, a, program, _origin(record) if passed_on else None)
        outcome = decode(record.value, OutcomeRecord)
        if len(bytes.fromhex(outcome.delivery_id)) != 16:
            raise ValueError("delivery_id is not 32 hex digits")
    except (msgspec.DecodeError, ValueError) as error:
        raise BadRecord(DeadLetterReason.BAD_ENGINE_RECORD, f"{kind}: {error}") from None
    return OutcomeInput(a, outcome.user, outcome)


def _origin(record: LogRecord) -> tuple[int, int]:
    origin = header(record.headers, ORIGIN_HEADER) or b""
    try:
        partition, offset = origin.split(b":")
        return int(partition), int(offset)
    except ValueError:
        raise BadRecord(DeadLetterReason.BAD_ENGINE_RECORD, "no origin") from None
