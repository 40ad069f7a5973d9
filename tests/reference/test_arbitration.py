"""Who wins is a function of who competes: not of arrival, of batches, or of how it was written."""

from itertools import permutations
from random import Random
from typing import Any

import pytest

from tests.unit.triggers.user import User, program_of

NAMES = ("a", "b", "c", "d")
ORDERS = list(permutations(range(4)))
#: Two of the highest priority: of these the first id wins.
PRIORITIES = {"a": 10, "b": 90, "c": 90, "d": 50}
WINNER = "b"
RHYTHMS = 20


def triggers(order: tuple[int, ...], **fields: Any) -> list[dict[str, Any]]:
    """Each waits for an event of its own; registered in this order."""
    made = [
        {"id": name, "state": "live", "when": {"event": f"E{name}"}, "priority": PRIORITIES[name]}
        for name in NAMES
    ]
    return [{**made[number], **fields} for number in order]


def winner(user: User) -> str:
    """The only one that was sent; every other candidate lost against it."""
    [sent] = user.effects.deliveries
    lost = [one for one in user.effects.decisions if one.delivery_id is None]
    assert {(one.reason, one.by) for one in lost} == {("LOWER_PRIORITY", sent.delivery_id)}
    assert len(lost) == len(NAMES) - 1
    return sent.trigger.id


@pytest.mark.parametrize("order", ORDERS)
def test_whoever_comes_first_into_a_settle_window_the_same_one_wins(order: tuple[int, ...]) -> None:
    for at in ("0ms", "10s", "20s", "30s"), ("0ms", "0ms", "30s", "60s"):
        user = User(program_of(*triggers(order), settle="60s"))
        for moment, number in zip(at, order, strict=True):
            user.event(moment, f"E{NAMES[number]}")
        user.fire("1h")
        assert winner(user) == WINNER


@pytest.mark.parametrize("order", ORDERS)
def test_of_timers_of_one_moment_the_same_one_wins_whoever_was_armed_first(
    order: tuple[int, ...],
) -> None:
    user = User(program_of(*triggers(order, wait="1h")))
    for number in order:
        user.event("10m", f"E{NAMES[number]}", e="5m")
    user.fire("2h")
    assert winner(user) == WINNER


@pytest.mark.parametrize("order", ORDERS)
def test_of_triggers_of_one_event_the_same_one_wins_whatever_their_order_in_the_files(
    order: tuple[int, ...],
) -> None:
    user = User(program_of(*triggers(order, when={"event": "Opened"})))
    user.event("0ms", "Opened")
    assert winner(user) == WINNER


@pytest.mark.parametrize("order", ORDERS)
def test_of_what_is_held_for_one_moment_the_same_one_wins_whoever_was_held_first(
    order: tuple[int, ...],
) -> None:
    user = User(program_of(*triggers(order), quiet=["00:00", "09:00"]))
    for number in order:
        user.event("10m", f"E{NAMES[number]}")
    user.fire("1d")
    assert winner(user) == WINNER


@pytest.mark.parametrize("settle", ["0s", "60s"])
def test_however_the_records_are_cut_into_batches_the_same_one_wins(settle: str) -> None:
    for seed in range(RHYTHMS):
        random = Random(seed)
        user = User(program_of(*triggers(ORDERS[seed], wait="1h"), settle=settle))
        for number in ORDERS[-1 - seed]:
            user.event("10m", f"E{NAMES[number]}")
            if random.random() < 0.5:
                user.fire(random.choice(("10m", "30m")))
        for moment in sorted(random.sample(range(60, 90), 5)):
            user.fire(f"{moment}m")
        user.fire("2h")
        assert winner(user) == WINNER
