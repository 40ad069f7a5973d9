from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ports import Position
from engine.store.digest import digest_of
from engine.store.memory import MemoryStore
from engine.stream.outbox import Entry
from engine.stream.shard import LostPosition, PartitionCountChanged, ShardSettings
from schemas.deliveries import decode_delivery
from schemas.kinds import KIND_HEADER, header
from schemas.reasons import Reason
from schemas.topics import DAY_MS, Topics
from tests.unit.stream.builders import (
    SECRET,
    T0,
    FixedPrograms,
    Log,
    Outlet,
    Record,
    make_shard,
    user_of,
)
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import TriggerDefinition
from triggers.program import canary_bucket

CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Product Added"},
    "unless": {"event": "Order Completed"},
    "wait": "10s",
    "message": {"push": {"title": "t", "body": "{{ start.properties.name }}"}},
}
THANKS: dict[str, Any] = {
    "id": "thanks",
    "state": "live",
    "class": "transactional",
    "lane": "critical",
    "when": {"event": "Order Completed"},
}
USER = user_of(0)
OTHER = user_of(0, 1)


def _rows(outlet: Outlet) -> list[tuple[str, str, str]]:
    rows = [msgspec.json.decode(message.value) for message in outlet.on("decisions")]
    return [(row["trigger"], row["user"], row["reason"] or row["outcome"]) for row in rows]


def _opening() -> Log:
    log = Log()
    log.activate(1)
    log.event(USER, "App Opened", 1, device="token-1")
    log.event(OTHER, "App Opened", 2, device="token-2")
    return log


async def test_an_event_becomes_a_delivery_on_its_lane_and_a_decision() -> None:
    log = _opening()
    log.event(USER, "Order Completed", 5, message_id="order-1")
    shard, outlet = make_shard(FixedPrograms([THANKS]))
    await shard.open()
    await shard.apply(log.records)
    (message,) = outlet.on("deliveries.critical")
    delivery = decode_delivery(message.value)
    assert (delivery.user, delivery.trigger, delivery.activation) == (USER, "thanks", "order-1")
    assert (delivery.decided_at_ms, delivery.devices[0].token) == (T0 + 5, "token-1")
    assert _rows(outlet) == [("thanks", USER, "ADMITTED")]
    assert shard.position == Position(3, 0)


async def test_a_ghost_becomes_a_delivery_that_says_how_it_ends_and_a_suppressed_decision() -> None:
    withheld = {
        "id": "hello",
        "state": "live",
        "when": {"event": "Order Completed"},
        "experiment": {"control": "99.99%", "variants": {"a": "0.01%"}},
    }
    log = _opening()
    log.event(USER, "Order Completed", 5)
    shard, outlet = make_shard(FixedPrograms([withheld]))
    await shard.open()
    await shard.apply(log.records)
    (message,) = outlet.on("deliveries.normal")
    delivery = decode_delivery(message.value)
    assert (delivery.ghost, delivery.variant) == ("CONTROL", "control")
    (row,) = [msgspec.json.decode(message.value) for message in outlet.on("decisions")]
    assert (row["outcome"], row["reason"], row["variant"]) == ("SUPPRESSED", "CONTROL", "control")
    assert row["delivery_id"] == delivery.delivery_id


async def test_a_canarys_user_is_decided_by_what_only_the_canary_asks() -> None:
    live = {"id": "hello", "state": "live", "when": {"event": "Nobody Sends This"}}
    asks = {"event": "Order Completed", "where": {"properties.total": {"gt": 5}}}
    users = [user_of(0, number) for number in range(40)]
    inside = next(user for user in users if canary_bucket(user) < 1_000)
    outside = next(user for user in users if canary_bucket(user) >= 1_000)
    first, beside = (
        RegisteredTrigger(TriggerDefinition.model_validate(one), revision, "live", 0)
        for revision, one in enumerate((live, {**live, "when": asks}), 1)
    )
    programs = FixedPrograms([live])
    programs.programs[1] = compile_program(
        1, [first._replace(canary=beside, canary_share=1_000)], {}
    )
    log = Log()
    log.activate(1)
    for number, user in enumerate((inside, outside)):
        log.event(user, "App Opened", number, device=f"token-{number}")
        log.event(user, "Order Completed", 5 + number, properties={"total": 9})
    shard, outlet = make_shard(programs)
    await shard.open()
    await shard.apply(log.records)
    assert _rows(outlet) == [("hello", inside, "ADMITTED")]


async def test_a_timer_fires_when_the_log_has_passed_it_and_not_before() -> None:
    log = _opening()
    log.event(USER, "Product Added", 100, properties={"name": "Shoe"})
    log.tick(10_100)
    shard, outlet = make_shard(FixedPrograms([CART]))
    await shard.open()
    await shard.apply(log.records)
    await shard.drain_due()
    assert _rows(outlet) == []
    await shard.apply([log.tick(10_101)])
    await shard.drain_due()
    assert _rows(outlet) == [("cart", USER, "ADMITTED")]
    assert shard.position == Position(5, 1)


async def test_a_cancel_read_late_from_a_backlog_still_cancels() -> None:
    log = _opening()
    log.event(USER, "Product Added", 100)
    log.event(USER, "Order Completed", 9_000)
    log.tick(3_600_000)
    shard, outlet = make_shard(FixedPrograms([CART]))
    await shard.open()
    await shard.apply(log.records)
    await shard.drain_due()
    assert _rows(outlet) == [("cart", USER, "CANCELLED")]


async def test_timers_below_an_activation_fire_under_the_version_before_it() -> None:
    paused = {**CART, "state": "paused"}
    log = _opening()
    log.event(USER, "Product Added", 100)
    log.event(OTHER, "Product Added", 5_000)
    log.activate(2, 10_200)
    log.tick(20_000)
    shard, outlet = make_shard(FixedPrograms([CART], [paused]))
    await shard.open()
    await shard.apply(log.records)
    await shard.drain_due()
    assert _rows(outlet) == [("cart", USER, "ADMITTED"), ("cart", OTHER, "PAUSED")]
    assert shard.registry == 2


async def test_an_older_activation_is_ignored() -> None:
    log = Log()
    log.activate(2)
    log.activate(1)
    shard, _ = make_shard(FixedPrograms([CART], [THANKS]))
    await shard.open()
    await shard.apply(log.records)
    assert shard.registry == 2


async def test_bad_records_become_dead_letters_with_reason_and_position_and_nothing_stops() -> None:
    log = _opening()
    log.raw(b"{not json", 10)
    log.raw(b'{"type":"track","event":"X","messageId":"m"}', 11)
    log.raw(b'{"type":"track","properties":{"a":' + b"[" * 10_000, 12)
    log.raw(b"{}", 13, headers=[(KIND_HEADER, b"outcome")])
    log.raw(b"{}", 14, headers=[(KIND_HEADER, b"nonsense")])
    log.raw(b'{"a":"' + b"x" * 1_000_000 + b'"}', 15)
    log.event(USER, "Order Completed", 20)
    shard, outlet = make_shard(FixedPrograms([THANKS]))
    await shard.open()
    await shard.apply(log.records)
    letters = [msgspec.json.decode(message.value) for message in outlet.on("dead-letters")]
    assert [(letter["offset"], letter["reason"]) for letter in letters] == [
        (3, "MALFORMED_JSON"),
        (4, "MISSING_ID"),
        (5, "TOO_DEEP"),
        (6, "FORGED"),
        (7, "UNKNOWN_KIND"),
        (8, "TOO_LARGE"),
    ]
    assert _rows(outlet) == [("thanks", USER, "ADMITTED")]


async def test_a_record_of_another_partition_is_forwarded_once_and_applied_once() -> None:
    programs = FixedPrograms([THANKS])
    stranger = user_of(3)
    log = _opening()
    log.event(stranger, "Order Completed", 5)
    shard, outlet = make_shard(programs)
    await shard.open()
    await shard.apply(log.records)
    (moved,) = outlet.on("events")
    assert (moved.partition, header(moved.headers, "origin")) == (3, b"0:3")
    home = Log(3)
    home.activate(1)
    home.event(stranger, "App Opened", 1, device="token-9")
    for _ in range(2):  # the outbox may publish it twice
        home.raw(moved.value, 50, stranger, moved.headers)
    there, arrived = make_shard(programs, number=3)
    await there.open()
    await there.apply(home.records)
    assert _rows(arrived) == [("thanks", stranger, "ADMITTED")]


async def test_a_record_forwarded_to_the_wrong_place_is_a_dead_letter() -> None:
    programs = FixedPrograms([THANKS])
    stranger = user_of(3)
    shard, outlet = make_shard(programs)
    await shard.open()
    log = Log()
    log.activate(1)
    log.event(stranger, "Order Completed", 5)
    await shard.apply(log.records)
    (moved,) = outlet.on("events")
    wrong = Record(0, T0, moved.value, moved.key, moved.headers, "events", 3)
    there, refused = make_shard(FixedPrograms([THANKS]), number=3, store=MemoryStore())
    there._settings = ShardSettings(16, Topics(), SECRET)
    await there.open()
    second = Log(3)
    second.activate(1)
    wrong.offset = 1
    await there.apply([*second.records, wrong])
    (letter,) = refused.on("dead-letters")
    assert msgspec.json.decode(letter.value)["reason"] == "WRONG_PARTITION"


async def test_a_zombies_commit_is_refused_and_changes_nothing() -> None:
    store, programs = MemoryStore(), FixedPrograms([CART])
    log = _opening()
    log.event(USER, "Product Added", 100)
    zombie, _ = make_shard(programs, store)
    owner, _ = make_shard(programs, store)
    await zombie.open()
    await zombie.apply(log.records[:2])
    await owner.open()
    await owner.apply(log.records)
    before = await digest_of(store, 0)
    with pytest.raises(LostPosition) as lost:
        await zombie.apply(log.records)
    assert lost.value.stored == owner.position
    assert await digest_of(store, 0) == before


async def test_a_log_with_another_partition_count_is_refused() -> None:
    store, programs = MemoryStore(), FixedPrograms([CART])
    shard, _ = make_shard(programs, store)
    await shard.open()
    await shard.apply(_opening().records)
    other, _ = make_shard(programs, store)
    other._settings = ShardSettings(16, Topics(), SECRET)
    with pytest.raises(PartitionCountChanged, match="8 partitions, the log has 16"):
        await other.open()


async def test_a_new_owner_gets_the_outbox_that_was_not_trimmed() -> None:
    store, programs = MemoryStore(), FixedPrograms([THANKS])
    log = _opening()
    log.event(USER, "Order Completed", 5)
    first, outlet = make_shard(programs, store)
    await first.open()
    await first.apply(log.records)
    second, _ = make_shard(programs, store)
    assert await second.open() == outlet.entries
    outlet.acked = outlet.entries[-1][0]
    await first.apply([log.tick(50)])
    third, _ = make_shard(programs, store)
    assert await third.open() == []


async def test_after_a_rollback_deliveries_wait_for_the_head_and_known_outcomes_drop_them() -> None:
    programs = FixedPrograms([THANKS])
    log = _opening()
    log.event(USER, "Order Completed", 5)
    log.event(OTHER, "Order Completed", 6)
    probe, seen = make_shard(programs)
    await probe.open()
    await probe.apply(log.records)
    sent = decode_delivery(seen.on("deliveries.critical")[0].value)
    log.outcome(sent.delivery_id, USER, "thanks", Reason.ACCEPTED, 30)
    log.tick(40)

    shard, outlet = make_shard(programs)
    await shard.open()
    await shard.take_over(6, [], went_back=True)
    await shard.apply(log.records[:5])
    assert outlet.on("deliveries.critical") == []
    await shard.apply(log.records[5:])
    (released,) = outlet.on("deliveries.critical")
    assert decode_delivery(released.value).user == OTHER
    assert shard.withhold_until == 0


async def test_after_a_rollback_a_delivery_that_ends_in_the_same_batch_is_dropped() -> None:
    programs = FixedPrograms([THANKS])
    log = _opening()
    log.event(USER, "Order Completed", 5)
    probe, seen = make_shard(programs)
    await probe.open()
    await probe.apply(log.records)
    sent = decode_delivery(seen.on("deliveries.critical")[0].value)
    log.outcome(sent.delivery_id, USER, "thanks", Reason.ACCEPTED, 30)
    shard, outlet = make_shard(programs)
    await shard.open()
    await shard.take_over(5, [], went_back=True)
    await shard.apply(log.records)
    assert shard.withhold_until == 0
    assert outlet.on("deliveries.critical") == []


async def test_after_a_rollback_deliveries_left_in_the_outbox_are_kept_back_too() -> None:
    programs, store = FixedPrograms([THANKS]), MemoryStore()
    log = _opening()
    log.event(USER, "Order Completed", 5)
    before, _ = make_shard(programs, store)
    await before.open()
    await before.apply(log.records)
    shard, outlet = make_shard(programs, store)
    pending = await shard.open()
    left = await shard.take_over(10, pending, went_back=True)
    assert [m.topic for _, entry in left for m in entry.messages if m] == ["decisions"]
    assert [entry.mark for _, entry in left] == [entry.mark for _, entry in pending]
    for at in range(50, 60):
        log.tick(at)
    await shard.apply(log.records)
    (released,) = outlet.on("deliveries.critical")
    assert decode_delivery(released.value).user == USER


async def test_without_a_rollback_what_an_owner_left_is_published_to_be_claimed_at_the_head() -> (
    None
):
    programs, store = FixedPrograms([THANKS]), MemoryStore()
    log = _opening()
    log.event(USER, "Order Completed", 5)
    before, outlet = make_shard(programs, store)
    await before.open()
    await before.apply(log.records)
    shard, _ = make_shard(programs, store)
    pending: list[tuple[int, Entry]] = await shard.open()
    left = await shard.take_over(9, pending, went_back=False)
    assert shard.withhold_until == 0
    messages = [m for _, entry in left for m in entry.messages if m is not None]
    assert [m.topic for m in messages] == ["decisions", "deliveries.critical"]
    assert decode_delivery(messages[1].value).after == 8
    assert decode_delivery(outlet.on("deliveries.critical")[0].value).after == -1
    assert [entry.mark for _, entry in left] == [entry.mark for _, entry in pending]


def _busy_log() -> Log:
    log = _opening()
    for number in range(40):
        user = (USER, OTHER)[number % 2]
        name = ("Product Added", "Order Completed", "Search")[number % 3]
        log.event(user, name, 1_000 * number, occurred=1_000 * number - 700 * (number % 5))
    log.tick(200_000)
    return log


async def _digest(log: Log, cuts: Sequence[int]) -> tuple[str, list[tuple[str, str, str]]]:
    store = MemoryStore()
    shard, outlet = make_shard(FixedPrograms([CART, THANKS]), store)
    await shard.open()
    edges = [0, *sorted(cuts), len(log.records)]
    for start, end in pairwise(edges):
        await shard.apply(log.records[start:end])
        await shard.drain_due()
    return await digest_of(store, 0), sorted(_rows(outlet))


@given(st.sets(st.integers(min_value=1, max_value=42), max_size=10))
async def test_batching_changes_neither_state_nor_decisions(cuts: set[int]) -> None:
    log = _busy_log()
    assert await _digest(log, sorted(cuts)) == await _digest(log, [])


@pytest.mark.parametrize("cut", range(1, 7))
async def test_what_is_forgotten_of_a_user_does_not_depend_on_batches(cut: int) -> None:
    log = Log()
    log.activate(1)
    stranger = user_of(0, 2)
    log.event(stranger, "Product Added", 100)
    log.tick(20_000)
    log.event(stranger, "Product Added", 3 * DAY_MS)
    log.event(stranger, "Order Completed", 3 * DAY_MS + 10)
    log.event(stranger, "Product Added", 6 * DAY_MS)
    log.tick(9 * DAY_MS)
    assert await _digest(log, [cut]) == await _digest(log, [])


@pytest.mark.parametrize("cut", range(1, 5))
async def test_a_claim_is_entered_again_also_in_the_commit_that_forgets_what_was_before(
    cut: int,
) -> None:
    hello = {**CART, "id": "hello", "when": {"event": "App Opened"}}
    del hello["unless"], hello["wait"], hello["message"]
    programs, log = FixedPrograms([CART, hello]), Log()
    log.activate(1)
    log.event(USER, "Product Added", 100)
    log.event(USER, "App Opened", 3 * DAY_MS, device="token-1")
    shard, outlet = make_shard(programs)
    await shard.open()
    await shard.apply(log.records)
    (message,) = outlet.on("deliveries.normal")
    sent = decode_delivery(message.value).delivery_id
    log.outcome(sent, USER, "hello", Reason.ACCEPTED, 3 * DAY_MS + 10)
    store = MemoryStore()
    shard, _ = make_shard(programs, store)
    await shard.open()
    for records in (log.records[:cut], log.records[cut:]):
        await shard.apply(records)
        await shard.drain_due()
    claims = await store.claims(0, USER)
    assert [(claim.delivery_id, claim.claimed_at_ms - T0) for claim in claims] == [
        (sent, 3 * DAY_MS + 10)
    ]


async def test_a_restart_between_batches_changes_neither_state_nor_decisions() -> None:
    log, store = _busy_log(), MemoryStore()
    for start in range(0, len(log.records), 7):
        shard, _ = make_shard(FixedPrograms([CART, THANKS]), store)
        await shard.open()
        await shard.apply(log.records[start : start + 7])
        await shard.drain_due()
    assert await digest_of(store, 0) == (await _digest(log, []))[0]
