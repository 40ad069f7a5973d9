"""Preference records: sealed, applied in log order, obeyed by the gate, passed on."""

from typing import Any

import msgspec
import pytest

from engine.ports import Claim, GateAnswer
from engine.store.memory import MemoryStore
from engine.stream.intake import EventInput, read_record
from schemas.deliveries import Limits, decode_delivery
from schemas.events import BadRecord, decode_event
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.reasons import DeadLetterReason
from schemas.records import PreferenceRecord, encode, preference_event, preference_record
from tests.unit.stream.builders import (
    PARTITIONS,
    SECRET,
    T0,
    FixedPrograms,
    Log,
    Record,
    make_shard,
    user_of,
)
from tests.unit.stream.test_merging import HELLO, PHONE, Town
from tests.unit.triggers.user import program_of

USER = user_of(0)
OUT = PreferenceRecord("u", "p1", T0, all="out")


def record_of(record: PreferenceRecord, *, sealed: bool = True) -> Record:
    value = encode(record)
    secret = SECRET if sealed else b"wrong"
    return Record(0, T0, value, b"u", sealed_headers(secret, Kind.PREFERENCE, 0, b"u", value))


def test_a_sealed_preference_is_an_input_of_its_user() -> None:
    found = read_record(record_of(OUT), T0, program_of(HELLO), SECRET)
    assert isinstance(found, EventInput)
    assert (found.user, found.event.properties) == ("u", {"all": "out"})


@pytest.mark.parametrize(
    ("record", "sealed", "reason"),
    [
        (OUT, False, DeadLetterReason.FORGED),
        (PreferenceRecord("", "p", T0), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (PreferenceRecord("u", "p" * 300, T0), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (PreferenceRecord("u", "p", 1 << 60), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (
            PreferenceRecord("u", "p", T0, channels={"push": "maybe"}),  # type: ignore[dict-item]
            True,
            DeadLetterReason.BAD_ENGINE_RECORD,
        ),
    ],
)
def test_a_forged_or_broken_preference_is_a_dead_letter(
    record: PreferenceRecord, sealed: bool, reason: DeadLetterReason
) -> None:
    with pytest.raises(BadRecord) as caught:
        read_record(record_of(record, sealed=sealed), T0, program_of(HELLO), SECRET)
    assert caught.value.reason is reason


def test_an_emitter_can_send_no_preference() -> None:
    value = b'{"type":"preference","messageId":"a","userId":"u","properties":{"all":"in"}}'
    with pytest.raises(BadRecord) as caught:
        decode_event(value)
    assert caught.value.reason is DeadLetterReason.WRONG_TYPE
    assert decode_event(value, signals=True).type == "preference"


def test_a_preference_of_a_file_becomes_the_record_of_the_log() -> None:
    record = PreferenceRecord(
        "u", "p", T0, "out", "in", {"push": "out"}, {"offers": "in", "news": "out"}
    )
    assert preference_record(preference_event(record), T0) == record
    event = preference_event(record)
    event.properties = {"all": 5, "channels": ["push"], "categories": {"a": "in", "b": "x"}}
    made = preference_record(event, T0)
    assert (made.all, made.channels, made.categories) == (None, {}, {"a": "in"})


def claim(delivery_id: str, now_ms: int) -> Claim:
    return Claim(0, delivery_id, USER, "hello", now_ms, 1_000, Limits())


@pytest.mark.parametrize("how", ["preference", "event", "device"])
async def test_nothing_is_sent_after_the_refusal_is_in_the_log(how: str) -> None:
    store = MemoryStore()
    shard, outlet = make_shard(FixedPrograms([HELLO]), store)
    await shard.open()
    log = Log()
    log.activate(1)
    log.event(USER, "Opened", 1, device="token")
    await shard.apply(log.records)
    (message,) = outlet.on("deliveries.normal")
    delivery = decode_delivery(message.value)
    if how == "preference":
        value = encode(PreferenceRecord(USER, "p", T0 + 5, channels={"push": "out"}))
        log.engine(Kind.PREFERENCE, value, 10, USER.encode())
    else:
        name = {"event": "Unsubscribed", "device": "Push Disabled"}[how]
        log.event(USER, name, 10, device="token")
    await shard.apply(log.records)
    verdicts = await store.claim([claim(delivery.delivery_id, T0 + 10)])
    assert verdicts[0].answer is GateAnswer.CONSENT


async def test_a_preference_for_a_merged_profile_reaches_the_one_it_is_a_part_of() -> None:
    town = Town(HELLO)
    await town.say(1, "track", anonymousId="anon", event="Noise", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="ann", **PHONE)
    log = town.logs[partition_of("anon", PARTITIONS)]
    log.engine(Kind.PREFERENCE, encode(PreferenceRecord("anon", "p", T0 + 3, "out")), 3, b"anon")
    await town.settle(4)
    await town.say(5, "track", userId="ann", event="Opened")
    assert town.rows == [("hello", "ann", "CONSENT")]


async def test_the_journal_names_what_changed_and_nobody() -> None:
    store = MemoryStore()
    shard, _ = make_shard(FixedPrograms([HELLO]), store)
    await shard.open()
    log = Log()
    log.activate(1)
    log.event(USER, "Push Disabled", 1, device="secret-token")
    log.event(USER, "Unsubscribed", 2, properties={"category": "offers", "email": "a@b.c"})
    await shard.apply(log.records)
    lines: list[list[Any]] = [msgspec.json.decode(x) for x in await store.journal(0, USER)]
    assert [line[1:] for line in lines] == [
        ["", "CONSENT", "Push Disabled"],
        ["", "CONSENT", "category offers: out"],
    ]
