"""From effects to what a commit carries: published records, ledger entries, journal, counters.

Pure: the same effects give the same bytes, so a replay rebuilds the same state.
"""

from collections.abc import Container, Mapping
from functools import lru_cache
from typing import NamedTuple, final

import msgspec

from engine.ports import Commit, LedgerEntry
from engine.stream.outbox import Entry, OutMessage
from schemas.decisions import decision_record
from schemas.deliveries import (
    CalendarCap,
    Delivery,
    DeviceRef,
    Limits,
    decode_delivery,
    encode_delivery,
)
from schemas.outcomes import outcome_record
from schemas.reasons import Reason
from schemas.topics import Topics
from triggers.effects import Admitted, Effects, counter_name
from triggers.policy import Cap
from triggers.program import CompiledTrigger, Program, Withdrawals
from triggers.state import DAY_MS, UserState, encode_state, is_blank
from triggers.windows import starts_until

#: Of each trigger a shard remembers so many withdrawals. One pushed out still happens, at the time
#: of the next.
WITHDRAWALS_MAX = 8
#: A month of history is played in minutes: its deliveries are sent long after they expired.
HISTORY_WITHIN_MS = 100 * 365 * DAY_MS
#: A record has at most 1 MiB; a larger one would stop the publisher of the shard for ever.
DELIVERY_BYTES_MAX = 900_000


class Origin(NamedTuple):
    """Where effects were decided."""

    shard: int
    registry: int
    topics: Topics


@final
class Touched(msgspec.Struct, gc=False):
    """A state that changed, and its score in the timer index before."""

    state: UserState
    due_before: int


def limits_of(admitted: Admitted) -> Limits:
    """What the gate asks of an admitted marketing message, in sending time.

    A cap of the push channel counts every message: it is the only channel of this version.
    """
    # The messages of one series do not block each other.
    limits = _rolling(admitted.trigger, admitted.category, bool(admitted.step))
    if admitted.zone is None:
        return limits
    calendars = [
        CalendarCap(
            cap.max_count,
            cap.category is not None,
            starts_until(
                cap.calendar, admitted.decided_at_ms, admitted.expires_at_ms, admitted.zone
            ),
        )
        for cap in _caps_of(admitted.trigger, admitted.category)
        if cap.calendar is not None
    ]
    return msgspec.structs.replace(limits, calendars=calendars) if calendars else limits


def _caps_of(trigger: CompiledTrigger, category: str) -> list[Cap]:
    return [cap for cap in trigger.policy.caps if cap.category in (None, category or None)]


@lru_cache(maxsize=1_024)
def _rolling(trigger: CompiledTrigger, category: str, free: bool) -> Limits:
    """The limits that are the same for every message of a trigger; `free` of its own cooldown."""
    caps = [cap for cap in _caps_of(trigger, category) if cap.calendar is None]
    return Limits(
        cooldown_ms=0 if free else trigger.cooldown_user_ms,
        spacing_ms=trigger.policy.spacing_ms,
        caps=[(cap.max_count, cap.per_ms) for cap in caps if cap.category is None],
        category=category,
        own_caps=[(cap.max_count, cap.per_ms) for cap in caps if cap.category],
    )


def delivery_of(admitted: Admitted, origin: Origin) -> Delivery:
    """The delivery record of an admitted candidate."""
    trigger = admitted.trigger
    limits = limits_of(admitted) if trigger.marketing else Limits()
    fields = {"start": admitted.start_fields, "event": admitted.event_fields}
    return Delivery(
        delivery_id=admitted.delivery_id,
        user=admitted.user,
        trigger=trigger.id,
        revision=trigger.revision,
        activation=admitted.activation,
        shard=origin.shard,
        registry=origin.registry,
        decided_at_ms=admitted.decided_at_ms,
        expires_at_ms=admitted.expires_at_ms,
        appended_at_ms=admitted.caused_at_ms,
        marketing=trigger.marketing,
        devices=[DeviceRef(token, platform) for token, platform in admitted.devices],
        fields={root: values for root, values in fields.items() if values},
        items=[{"start": start, "event": event} for start, event in admitted.items],
        text=admitted.text,
        variant=admitted.variant,
        ghost=admitted.ghost,
        limits=limits,
        closed=list(admitted.closed),
        lane=trigger.lane,
        zone=admitted.reader_zone,
    )


def delivery_messages(effects: Effects, origin: Origin) -> list[tuple[str, OutMessage]]:
    """(delivery id, record for its lane) of every admitted candidate."""
    return [
        (
            admitted.delivery_id,
            OutMessage(
                origin.topics.lane(admitted.trigger.lane),
                origin.shard,
                admitted.user.encode(),
                _fitting(delivery_of(admitted, origin)),
            ),
        )
        for admitted in effects.deliveries
    ]


def _fitting(delivery: Delivery) -> bytes:
    """The record of a delivery, with as many items of a bundle as it can hold, the first ones; one
    that is too large without any loses its fields, and its text fails at rendering."""
    value = encode_delivery(delivery)
    while len(value) > DELIVERY_BYTES_MAX and (delivery.items or delivery.fields):
        if not delivery.items:
            delivery.fields = {}
        delivery.items = delivery.items[: len(delivery.items) // 2]
        value = encode_delivery(delivery)
    return value


def decision_messages(effects: Effects, origin: Origin) -> list[OutMessage]:
    """One record per ended activation."""
    topic = origin.topics.decisions
    return [
        OutMessage(topic, origin.shard, decision.user.encode(), decision_record(decision))
        for decision in effects.decisions
    ]


def outcome_messages(effects: Effects, origin: Origin) -> list[OutMessage]:
    """One record for each thing that became of a delivery."""
    topic = origin.topics.outcomes
    return [
        OutMessage(topic, origin.shard, row.user.encode(), outcome_record(row))
        for row in effects.outcomes
    ]


def delay_claims(entry: Entry, lanes: Container[str], after: int) -> Entry:
    """The same entry, but its deliveries may be claimed only once the store has applied `after`."""
    messages: list[OutMessage | None] = []
    for message in entry.messages:
        if message is not None and message.topic in lanes:
            delivery = decode_delivery(message.value)
            delivery.after = max(delivery.after, after)
            message = msgspec.structs.replace(message, value=encode_delivery(delivery))
        messages.append(message)
    return Entry(entry.mark, messages)


def withdrawals_met(
    program: Program, known: Mapping[str, Withdrawals], a: int
) -> dict[str, Withdrawals]:
    """What a shard that activates `program` at append time `a` withdraws, with what it withdrew
    before."""
    met = {}
    for trigger, revision in program.cancelled_to.items():
        before = known.get(trigger, ())
        if not before or before[-1][0] < revision:
            met[trigger] = (*before, (revision, a))[-WITHDRAWALS_MAX:]
    return met


def as_shard_has_it(
    program: Program, withdrawn: Mapping[str, Withdrawals], *, log_clock: bool
) -> Program:
    """A program as a shard decides with it: after these withdrawals, and waiting for outcomes as
    long as its clock asks for. What is withdrawn later is none of its business: it still fires what
    was due before that."""
    within_ms = HISTORY_WITHIN_MS if log_clock else program.outcome_within_ms
    return program.of_shard(dict(withdrawn), within_ms)


def fill_states(commit: Commit, touched: dict[str, Touched]) -> None:
    """States to store (None where nothing is left to keep) and the scores that moved."""
    for user, one in touched.items():
        state = one.state
        commit.states[user] = None if is_blank(state) else encode_state(state)
        if state.due != one.due_before:
            commit.due[user] = state.due


def fill_effects(commit: Commit, effects: Effects) -> None:
    """Ledger, journal and funnel."""
    commit.opened = [
        LedgerEntry(admitted.delivery_id, admitted.user, admitted.expires_at_ms)
        for admitted in effects.deliveries
    ]
    for delivery_id, at_ms, reason in effects.cancelled:
        if reason is Reason.CONSENT:
            commit.refused.append((delivery_id, at_ms))
        elif reason is Reason.NO_LONGER_TRUE:
            commit.untrue.append((delivery_id, at_ms))
        else:
            commit.cancelled.append((delivery_id, at_ms))
    commit.closed = effects.closed
    commit.forgotten = list(effects.forgotten)
    for number, line in enumerate(effects.journal):
        if number < effects.forgotten.get(line.user, 0):
            continue
        blob = msgspec.json.encode([line.at_ms, line.trigger, line.what, line.by])
        commit.journal.setdefault(line.user, []).append(blob)
    commit.reached = effects.reached
    commit.given_back = effects.given_back
    for (trigger, revision), number in effects.pending.items():
        if number:
            commit.pending[f"{trigger}|{revision}"] = number
    for key, count in effects.funnel.items():
        commit.funnel[counter_name(key)] = count
