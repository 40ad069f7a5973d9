"""What must have been decided, worked out from the log alone and without the engine.

A second implementation of the four crash triggers, written from the specification of the language
and kept as plain as possible: no batches, no timers index, no store, one user at a time. It says
for each activation whether it ended CANCELLED or FIRED and at which moment of the log; whether
something that fired was also admitted is a matter of limits, which the checker proves elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner

from tests.crash.load import FORGED_SEAL
from tests.crash.triggers import (
    ADDED,
    CHECKOUT,
    GRACE_MS,
    LEFT_ID,
    LEFT_WAIT_MS,
    OFFER_ID,
    OFFER_PRICE,
    ORDER,
    REMOVED,
    STOPPED_ID,
    STOPPED_WAIT_MS,
    THANKS_ID,
    VIEWED,
)

DAY_MS = 86_400_000
FIRED = "FIRED"
CANCELLED = "CANCELLED"
_murmur2_partition = DefaultPartitioner()


class Key(NamedTuple):
    """What tells an activation from all others."""

    trigger: str
    user: str
    activation: str


class Expected(NamedTuple):
    """How an activation must end, and when in log time. `reachable`: a device was known then."""

    outcome: str
    at_ms: int
    reachable: bool


class Client(NamedTuple):
    """A client event as it counts: `a` append time, `e` client time, in milliseconds."""

    a: int
    e: int
    offset: int
    partition: int
    user: str
    name: str | None
    message_id: str
    properties: dict[str, Any]
    has_device: bool

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands in the log of its user: one partition."""
        return (self.partition, self.offset)


class BadRecord(NamedTuple):
    """A record that is no event; it must be found among the dead letters."""

    partition: int
    offset: int


@dataclass(slots=True)
class Meaning:
    """A log, taken apart. `clients` by user in the order in which they count; `end_ms` by
    partition: the append time of its last record."""

    clients: dict[str, list[Client]] = field(default_factory=lambda: defaultdict(list))
    bad: list[BadRecord] = field(default_factory=list)
    ends_ms: dict[int, int] = field(default_factory=dict)
    records: int = 0


def read_log(events: Mapping[int, Sequence[ConsumerRecord]]) -> Meaning:
    """Which client events count, in which order and at which times."""
    meaning = Meaning()
    partitions = sorted(events)
    for partition, records in events.items():
        a = 0
        applied: dict[bytes, int] = {}
        for record in records:
            a = max(a, record.timestamp)
            headers = dict(record.headers)
            kind = headers.get("kind")
            if kind in (b"tick", b"activate") or is_outcome(headers):
                continue
            if kind == b"forward":
                source, _, offset = headers["origin"].partition(b":")
                if int(offset) <= applied.get(source, -1):
                    continue
                applied[source] = int(offset)
            else:
                meaning.records += 1
            client = None if kind == b"outcome" else _client(record, a)
            if client is None:
                meaning.bad.append(BadRecord(partition, record.offset))
            elif _murmur2_partition(client.user.encode(), partitions, partitions) == partition:
                meaning.clients[client.user].append(client)
        meaning.ends_ms[partition] = a
    return meaning


def is_outcome(headers: Mapping[str, bytes]) -> bool:
    """An outcome that is not one of those the load forges."""
    return headers.get("kind") == b"outcome" and headers["seal"] != FORGED_SEAL


def _client(record: ConsumerRecord, a: int) -> Client | None:
    try:
        message = orjson.loads(record.value)
        user, message_id, kind = message["userId"], message["messageId"], message["type"]
        name = message["event"] if kind == "track" else None
        e = a
        if "timestamp" in message:
            e = min(round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000), a)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return Client(
        a=a,
        e=e,
        offset=record.offset,
        partition=record.partition,
        user=user,
        name=name,
        message_id=message_id,
        properties=message.get("properties") or {},
        has_device="token" in message.get("context", {}).get("device", {}),
    )


class Start(NamedTuple):
    """A pending absence. `e` is the client time it runs from."""

    trigger: str
    per: str
    message_id: str
    e: int
    fires_ms: int


@dataclass(slots=True)
class _User:
    """One user's story so far. `cancels`: (trigger, per value or None for all, client time).
    `ended`: (trigger, per value) -> client time of the start that ended last. `started`:
    (trigger, messageId) of what was begun: no message counts twice, whatever its client time.
    `kept_out`: (trigger, per value) -> client time of the last start a pending one kept out."""

    reachable: bool = False
    decided_ms: int = 0
    pending: list[Start] = field(default_factory=list)
    cancels: list[tuple[str, str | None, int]] = field(default_factory=list)
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    started: set[tuple[str, str]] = field(default_factory=set)
    kept_out: dict[tuple[str, str], int] = field(default_factory=dict)


def expect(meaning: Meaning) -> dict[Key, list[Expected]]:
    """Every activation that must have ended by the end of the log; each list should hold one."""
    expected: dict[Key, list[Expected]] = defaultdict(list)
    for user, clients in meaning.clients.items():
        for key, ending in _story(user, clients, meaning.ends_ms[clients[0].partition]):
            expected[key].append(ending)
    return dict(expected)


def _story(user: str, clients: Sequence[Client], end_ms: int) -> Iterator[tuple[Key, Expected]]:
    state = _User()
    for client in clients:
        yield from _fire(user, state, client.a)
        state.reachable |= client.has_device
        if client.name == ORDER:
            yield from _cancel(user, state, client, STOPPED_ID, None)
            yield from _cancel(user, state, client, LEFT_ID, None)
            yield from _immediate(user, state, client, THANKS_ID)
        elif client.name == REMOVED:
            yield from _cancel(user, state, client, LEFT_ID, client.properties["product_id"])
        elif client.name == CHECKOUT:
            yield from _start(user, state, client, STOPPED_ID, "", STOPPED_WAIT_MS, restart=True)
        elif client.name == ADDED:
            per = client.properties["product_id"]
            yield from _start(user, state, client, LEFT_ID, per, LEFT_WAIT_MS, restart=False)
        elif client.name == VIEWED and client.properties["price"] >= OFFER_PRICE:
            yield from _immediate(user, state, client, OFFER_ID)
    yield from _fire(user, state, end_ms)


def _fire(user: str, state: _User, before_ms: int) -> Iterator[tuple[Key, Expected]]:
    """A timer fires when the log has passed it; a record at that very moment comes first."""
    due = sorted((s for s in state.pending if s.fires_ms < before_ms), key=lambda s: s.fires_ms)
    for start in due:
        state.pending.remove(start)
        _remember_end(state, start)
        state.decided_ms = max(start.fires_ms, state.decided_ms)
        key = Key(start.trigger, user, start.message_id)
        yield key, Expected(FIRED, state.decided_ms, state.reachable)


def _immediate(
    user: str, state: _User, client: Client, trigger: str
) -> Iterator[tuple[Key, Expected]]:
    key = Key(trigger, user, client.message_id)
    if client.a - client.e > DAY_MS or (trigger, client.message_id) in state.started:
        return
    state.started.add((trigger, client.message_id))
    state.decided_ms = max(client.a, state.decided_ms)
    yield key, Expected(FIRED, state.decided_ms, state.reachable)


def _cancel(
    user: str, state: _User, client: Client, trigger: str, per: str | None
) -> Iterator[tuple[Key, Expected]]:
    for start in [s for s in state.pending if s.trigger == trigger and per in (None, s.per)]:
        state.pending.remove(start)
        _remember_end(state, start)
        yield Key(trigger, user, start.message_id), Expected(CANCELLED, client.a, True)
    if client.a - client.e <= DAY_MS:
        state.cancels.append((trigger, per, client.e))


def _start(
    user: str,
    state: _User,
    client: Client,
    trigger: str,
    per: str,
    wait_ms: int,
    *,
    restart: bool,
) -> Iterator[tuple[Key, Expected]]:
    if client.a - client.e > DAY_MS:
        return
    key = Key(trigger, user, client.message_id)
    current = next((s for s in state.pending if (s.trigger, s.per) == (trigger, per)), None)
    if current is not None and (not restart or client.e < current.e):
        if not restart:
            kept_out = state.kept_out.get((trigger, per), -1)
            state.kept_out[trigger, per] = max(client.e, kept_out)
        return
    if current is None and client.e <= state.ended.get((trigger, per), -1):
        return
    if (trigger, client.message_id) in state.started:
        return
    state.started.add((trigger, client.message_id))
    if current is not None:
        state.pending.remove(current)
    start = Start(trigger, per, client.message_id, client.e, client.e + wait_ms + GRACE_MS)
    died = any(
        name == trigger and which in (None, per) and e >= client.e
        for name, which, e in state.cancels
    )
    if died:
        _remember_end(state, start)
        yield key, Expected(CANCELLED, client.a, True)
    else:
        state.pending.append(start)


def _remember_end(state: _User, start: Start) -> None:
    name = (start.trigger, start.per)
    kept_out = state.kept_out.pop(name, -1)
    state.ended[name] = max(start.e, kept_out, state.ended.get(name, -1))
