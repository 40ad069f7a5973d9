"""What must have been decided, worked out from the log alone and without the engine.

A second implementation of the crash triggers, written from the specification of the language
and kept as plain as possible: no batches, no timers index, no store, one user at a time. It says
for each activation whether it ended CANCELLED or FIRED and at which moment of the log; whether
something that fired was also admitted is a matter of limits, which the checker proves elsewhere.
As limits decide whether LATER is held at all, `expect` is told that, and says when it is released.

Of people with several profiles it says nothing: `Meaning.kin` has them, and they are left to the
run without faults and to the limits.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    HOLD_MS,
    LATER_ID,
    LEFT_ID,
    LEFT_WAIT_MS,
    NEWS_ID,
    OFFER_ID,
    OFFER_PRICE,
    OPEN_MS,
    ORDER,
    PROMO,
    REMOVED,
    SEARCHED,
    SETTLE_MS,
    SETTLING,
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
    """How an activation must end, and when in log time. `reachable`: a device was known then.
    `closed`: outside its hours; `over`: held for as long as may be; `released`: no longer held,
    because its hours have opened."""

    outcome: str
    at_ms: int
    reachable: bool
    closed: bool = False
    over: bool = False
    released: bool = False


WasHeld = Callable[[Key, int], bool]
"""Whether what could be held from that moment on was: a limit that refuses it comes first."""


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


class Merged(NamedTuple):
    """From this record on, `user` has what the profile `guest` had."""

    guest: str
    user: str
    a: int
    order: tuple[int, int]


@dataclass(slots=True)
class Meaning:
    """A log, taken apart. `clients` by user in the order in which they count; `end_ms` by
    partition: the append time of its last record. `merged` by user; `kin`: all profiles that were
    merged or that something was passed on to; `frozen`: those that are a part of another one."""

    clients: dict[str, list[Client]] = field(default_factory=lambda: defaultdict(list))
    bad: list[BadRecord] = field(default_factory=list)
    ends_ms: dict[int, int] = field(default_factory=dict)
    records: int = 0
    merged: dict[str, list[Merged]] = field(default_factory=lambda: defaultdict(list))
    kin: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)

    def kin_of(self, user: str) -> list[str]:
        """The user's profiles: their own, and those that were merged into it."""
        return list({user: None, **{merge.guest: None for merge in self.merged.get(user, ())}})


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
            if kind in (b"forward", b"merged"):
                source, _, offset = headers["origin"].partition(b":")
                if int(offset) <= applied.get(source, -1):
                    continue
                applied[source] = int(offset)
            elif kind != b"merge":
                meaning.records += 1
            if kind in (b"merge", b"merged"):
                _note_merge(meaning, record, a, moved=kind == b"merged")
                continue
            client = None if kind == b"outcome" else _client(record, a)
            if client is not None and kind == b"forward":
                client = client._replace(user=record.key.decode())
            if client is None:
                meaning.bad.append(BadRecord(partition, record.offset))
            elif client.user in meaning.frozen:
                continue  # it is passed on, and counts where it arrives
            elif _murmur2_partition(client.user.encode(), partitions, partitions) == partition:
                meaning.clients[client.user].append(client)
        meaning.ends_ms[partition] = a
    return meaning


def _note_merge(meaning: Meaning, record: ConsumerRecord, a: int, *, moved: bool) -> None:
    said = orjson.loads(record.value)
    guest, user = said["anonymous"], said["known"]
    meaning.kin |= {guest, user}
    if moved:
        place = (record.partition, record.offset)
        meaning.merged[user].append(Merged(guest, user, a, place))
    else:
        meaning.frozen.add(guest)


def is_outcome(headers: Mapping[str, bytes]) -> bool:
    """An outcome that is not one of those the load forges."""
    return headers.get("kind") == b"outcome" and headers["seal"] != FORGED_SEAL


def _client(record: ConsumerRecord, a: int) -> Client | None:
    try:
        message = orjson.loads(record.value)
        user = message.get("userId") or message["anonymousId"]
        message_id, kind = message["messageId"], message["type"]
        name = message["event"] if kind == "track" else None
        e = a
        if "timestamp" in message:
            e = min(round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000), a)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
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


class Waiting(NamedTuple):
    """What competes until `until_ms`, or is held until then, since `since_ms`."""

    trigger: str
    message_id: str
    since_ms: int
    until_ms: int


@dataclass(slots=True)
class _User:
    """One user's story so far. `cancels`: (trigger, per value or None for all, client time).
    `ended`: (trigger, per value) -> client time of the start that ended last. `started`:
    (trigger, messageId) of what was begun: no message counts twice, whatever its client time.
    `kept_out`: (trigger, per value) -> client time of the last start a pending one kept out."""

    name: str
    opens_ms: int
    was_held: WasHeld
    reachable: bool = False
    decided_ms: int = 0
    pending: list[Start] = field(default_factory=list)
    cancels: list[tuple[str, str | None, int]] = field(default_factory=list)
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    started: set[tuple[str, str]] = field(default_factory=set)
    kept_out: dict[tuple[str, str], int] = field(default_factory=dict)
    settling: list[Waiting] = field(default_factory=list)
    held: list[Waiting] = field(default_factory=list)


def expect(meaning: Meaning, opens_ms: int, was_held: WasHeld) -> dict[Key, list[Expected]]:
    """Every activation that must have ended by the end of the log; each list should hold one. The
    hours of LATER open at `opens_ms`."""
    expected: dict[Key, list[Expected]] = defaultdict(list)
    for user, clients in meaning.clients.items():
        if user in meaning.kin:
            continue
        state = _User(user, opens_ms, was_held)
        for key, ending in _story(state, clients, meaning.ends_ms[clients[0].partition]):
            expected[key].append(ending)
    return dict(expected)


def _story(state: _User, clients: Sequence[Client], end_ms: int) -> Iterator[tuple[Key, Expected]]:
    user = state.name
    for client in clients:
        yield from _fire(state, client.a)
        state.reachable |= client.has_device
        if client.name == ORDER:
            yield from _cancel(user, state, client, STOPPED_ID, None)
            yield from _cancel(user, state, client, LEFT_ID, None)
            yield from _immediate(state, client, THANKS_ID)
        elif client.name == REMOVED:
            yield from _cancel(user, state, client, LEFT_ID, client.properties["product_id"])
        elif client.name == CHECKOUT:
            yield from _start(user, state, client, STOPPED_ID, "", STOPPED_WAIT_MS, restart=True)
        elif client.name == ADDED:
            per = client.properties["product_id"]
            yield from _start(user, state, client, LEFT_ID, per, LEFT_WAIT_MS, restart=False)
        elif client.name == VIEWED and client.properties["price"] >= OFFER_PRICE:
            yield from _immediate(state, client, OFFER_ID)
        elif client.name == SEARCHED:
            yield from _immediate(state, client, NEWS_ID)
        elif client.name == PROMO:
            yield from _immediate(state, client, LATER_ID)
    yield from _fire(state, end_ms)


def _fire(state: _User, before_ms: int) -> Iterator[tuple[Key, Expected]]:
    """A timer fires when the log has passed it; a record at that very moment comes first."""
    while True:
        closes = [one.until_ms for one in state.settling[:1]]
        dues = [s.fires_ms for s in state.pending] + [one.until_ms for one in state.held] + closes
        due_ms = min(dues, default=before_ms)
        if due_ms >= before_ms:
            return
        yield from _fire_at(state, due_ms)


def _fire_at(state: _User, due_ms: int) -> Iterator[tuple[Key, Expected]]:
    """All that is due at a moment is decided at the same moment, settled or not."""
    at_ms = max(due_ms, state.decided_ms)
    for start in [s for s in state.pending if s.fires_ms <= due_ms]:
        state.pending.remove(start)
        _remember_end(state, start)
        state.decided_ms = at_ms
        key = Key(start.trigger, state.name, start.message_id)
        yield key, Expected(FIRED, at_ms, state.reachable)
    for held in [one for one in state.held if one.until_ms <= due_ms]:
        state.held.remove(held)
        state.decided_ms = at_ms
        closed = _is_closed(state, at_ms)
        over = closed and at_ms >= held.since_ms + HOLD_MS
        key = Key(held.trigger, state.name, held.message_id)
        yield key, Expected(FIRED, at_ms, state.reachable, closed, over, not closed)
    if state.settling and state.settling[0].until_ms <= due_ms:
        settled, state.settling = state.settling, []
        for one in settled:
            yield from _settled(state, one, at_ms)


def _settled(state: _User, one: Waiting, at_ms: int) -> Iterator[tuple[Key, Expected]]:
    """Its window has closed: it is decided, or held until its hours open."""
    state.decided_ms = at_ms
    key = Key(one.trigger, state.name, one.message_id)
    closed = one.trigger == LATER_ID and _is_closed(state, at_ms)
    if closed and state.reachable and state.was_held(key, at_ms):
        opens_ms = state.opens_ms + -(-(at_ms - state.opens_ms) // (2 * OPEN_MS)) * 2 * OPEN_MS
        until_ms = max(min(opens_ms, at_ms + HOLD_MS), at_ms + 1)
        state.held.append(Waiting(one.trigger, one.message_id, at_ms, until_ms))
    else:
        yield key, Expected(FIRED, at_ms, state.reachable, closed)


def _is_closed(state: _User, at_ms: int) -> bool:
    """They open once a day, for half of it."""
    return (at_ms - state.opens_ms) % (2 * OPEN_MS) >= OPEN_MS


def _immediate(state: _User, client: Client, trigger: str) -> Iterator[tuple[Key, Expected]]:
    key = Key(trigger, state.name, client.message_id)
    if client.a - client.e > DAY_MS or (trigger, client.message_id) in state.started:
        return
    state.started.add((trigger, client.message_id))
    at_ms = max(client.a, state.decided_ms)
    if trigger in SETTLING:
        # The first one opens the window.
        until_ms = state.settling[0].until_ms if state.settling else at_ms + SETTLE_MS
        state.settling.append(Waiting(trigger, client.message_id, at_ms, until_ms))
        return
    state.decided_ms = at_ms
    yield key, Expected(FIRED, at_ms, state.reachable)


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
