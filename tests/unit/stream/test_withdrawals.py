"""An apply that cancels pending instances: the log alone says which, and when."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store.digest import digest_of
from engine.store.memory import MemoryStore
from engine.stream.building import (
    HISTORY_WITHIN_MS,
    WITHDRAWALS_MAX,
    as_shard_has_it,
    withdrawals_met,
)
from tests.unit.stream.builders import T0, FixedPrograms, Log, Outlet, make_shard, user_of
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.program import Program, Withdrawals
from triggers.state import DAY_MS

USERS = [user_of(0, number) for number in range(3)]
ADDED, ORDERED = "Product Added", "Order Completed"
Row = tuple[str, str, int]


def _version(number: int, revision: int, cancelled_to: dict[str, int]) -> Program:
    """Version `number` with revision `revision` of the only trigger, 0 for without it."""
    document: dict[str, Any] = {
        "id": "cart",
        "state": "live",
        "when": {"event": ADDED},
        "unless": {"event": ORDERED},
        "wait": "10s",
        "message": {"push": {"title": "t", "body": "b"}},
    }
    made = TriggerDefinition.model_validate(document)
    triggers = [RegisteredTrigger(made, revision, "live", 0)] if revision else []
    policies = {"default": Policy.model_validate({"grace": "0s"})}
    return replace(compile_program(number, triggers, policies), cancelled_to=cancelled_to)


class Versions(FixedPrograms):
    """1: as first applied. 2: edited, cancel. 3: edited, keep. 4: removed, cancel. 5: as removed
    without cancelling."""

    def __init__(self) -> None:
        versions = [
            _version(0, 0, {}),
            _version(1, 1, {}),
            _version(2, 2, {"cart": 1}),
            _version(3, 3, {"cart": 1}),
            _version(4, 0, {"cart": 3}),
            _version(5, 0, {"cart": 1}),
        ]
        self.programs = {version.number: version for version in versions}


def _rows(outlet: Outlet) -> list[Row]:
    """(activation, reason or outcome, ms after T0) of every decision, in order."""
    rows = [msgspec.json.decode(message.value) for message in outlet.on("decisions")]
    return [(row["activation"], row["reason"] or row["outcome"], _ms(row["at"])) for row in rows]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000) - T0


async def _run(log: Log, cuts: Sequence[int] = ()) -> tuple[str, list[Row], dict[str, int]]:
    """Digest, decisions and pending counts; another owner takes over at each cut."""
    store, outlet = MemoryStore(), Outlet()
    edges = [0, *sorted(cuts), len(log.records)]
    for start, end in pairwise(edges):
        shard, _ = make_shard(Versions(), store, outlet)
        await shard.open()
        await shard.apply(log.records[start:end])
        await shard.drain_due()
    return await digest_of(store, 0), sorted(_rows(outlet)), await store.pending(0)


async def test_what_was_armed_before_the_activation_is_cancelled_at_its_time() -> None:
    log = Log()
    log.activate(1)
    log.event(USERS[0], "App Opened", 1, device="token")
    log.event(USERS[0], ADDED, 1_000, message_id="before")
    log.activate(2, 2_000)
    log.event(USERS[0], ADDED, 3_000, message_id="after")
    log.tick(20_000)
    _, rows, pending = await _run(log)
    assert rows == [("after", "ADMITTED", 13_000), ("before", "CANCELLED", 2_000)]
    assert pending == {}


async def test_it_is_cancelled_at_that_time_also_when_only_its_timer_touches_the_user() -> None:
    log = Log()
    log.activate(1)
    log.event(USERS[0], ADDED, 1_000, message_id="quiet")
    log.activate(2, 2_000)
    log.tick(10_900)
    _, rows, pending = await _run(log)
    assert (rows, pending) == ([], {"cart|1": 1})
    log.tick(11_001)
    _, rows, pending = await _run(log)
    assert (rows, pending) == ([("quiet", "CANCELLED", 2_000)], {})


async def test_a_timer_that_was_due_before_the_activation_fires() -> None:
    log = Log()
    log.activate(1)
    log.event(USERS[0], "App Opened", 1, device="token")
    log.event(USERS[0], ADDED, 1_000, message_id="due")
    log.activate(2, 11_001)
    log.tick(12_000)
    assert (await _run(log))[1] == [("due", "ADMITTED", 11_000)]


async def test_kept_instances_are_decided_by_the_current_revision() -> None:
    log = Log()
    log.activate(2)
    log.event(USERS[0], "App Opened", 1, device="token")
    log.event(USERS[0], ADDED, 1_000, message_id="kept")
    log.activate(3, 2_000)
    log.tick(20_000)
    assert (await _run(log))[1] == [("kept", "ADMITTED", 11_000)]


async def test_instances_of_a_removed_trigger_are_cancelled_or_end_as_paused() -> None:
    ended = {}
    for version in (4, 5):
        log = Log()
        log.activate(3)
        log.event(USERS[0], ADDED, 1_000, message_id="left")
        log.activate(version, 2_000)
        log.tick(20_000)
        ended[version] = (await _run(log))[1]
    assert ended == {4: [("left", "CANCELLED", 2_000)], 5: [("left", "PAUSED", 11_000)]}


async def test_an_overtaken_activation_cancels_with_the_one_that_overtook_it() -> None:
    log = Log()
    log.activate(1)
    log.event(USERS[0], ADDED, 1_000, message_id="before")
    log.activate(3, 2_000)
    log.activate(2, 3_000)
    log.tick(20_000)
    assert (await _run(log))[1] == [("before", "CANCELLED", 2_000)]


async def test_each_withdrawal_has_its_own_time() -> None:
    log = Log()
    log.activate(1)
    log.event(USERS[0], ADDED, 1_000, message_id="first")
    log.activate(2, 2_000)
    log.event(USERS[1], ADDED, 3_000, message_id="second")
    log.activate(4, 4_000)
    log.tick(20_000)
    assert (await _run(log))[1] == [
        ("first", "CANCELLED", 2_000),
        ("second", "CANCELLED", 4_000),
    ]


def test_withdrawals_of_a_trigger_are_bounded_and_the_oldest_go() -> None:
    known: dict[str, tuple[tuple[int, int], ...]] = {}
    for revision in range(1, WITHDRAWALS_MAX + 3):
        known |= withdrawals_met(_version(9, 0, {"cart": revision}), known, 100 * revision)
    assert known["cart"][0] == (3, 300)
    assert len(known["cart"]) == WITHDRAWALS_MAX
    assert withdrawals_met(_version(9, 0, {"cart": 5}), known, 9_999) == {}


def _busy_log() -> Log:
    log = Log()
    log.activate(1)
    for user in USERS:
        log.event(user, "App Opened", 1, device=user)
    for number in range(36):
        at = 1_500 * (number + 1)
        if number in (9, 18, 27):
            log.activate(number // 9 + 1, at)
        log.event(USERS[number % 3], (ADDED, ADDED, ORDERED, "Search")[number % 4], at)
    log.tick(90_000)
    return log


@given(st.sets(st.integers(min_value=1, max_value=43), max_size=10))
async def test_batches_and_owners_change_nothing(cuts: set[int]) -> None:
    log = _busy_log()
    whole = await _run(log)
    assert [row[1] for row in whole[1]].count("CANCELLED") > 3
    assert await _run(log, sorted(cuts)) == whole


def test_what_is_withdrawn_later_is_not_withdrawn_by_the_version_before() -> None:
    withdrawn: dict[str, Withdrawals] = {}
    before = as_shard_has_it(_version(1, 1, {}), withdrawn, log_clock=False)
    withdrawn |= withdrawals_met(_version(2, 2, {"cart": 1}), withdrawn, T0)
    after = as_shard_has_it(_version(2, 2, {"cart": 1}), withdrawn, log_clock=False)
    assert (before.withdrawn, after.withdrawn) == ({}, {"cart": ((1, T0),)})


@pytest.mark.parametrize(("log_clock", "within_ms"), [(True, HISTORY_WITHIN_MS), (False, DAY_MS)])
def test_a_shard_waits_for_outcomes_as_long_as_its_clock_asks_for(
    log_clock: bool, within_ms: int
) -> None:
    program = as_shard_has_it(_version(9, 0, {}), {}, log_clock=log_clock)
    assert program.outcome_within_ms == within_ms
