"""What must not matter does not: the cut of the input, its neighbours, and other users.

Random workspaces over every pattern of `workloads`; histories without outcomes, in a backtest.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.reference.admitting import Row
from tests.reference.machines import World, backtest_rows
from tests.reference.workloads import NAMES, Workspace, case

SEEDS = 40

Log = list[dict[str, Any]]


def made(seed: int) -> tuple[Workspace, Log]:
    """A workspace without idle triggers, which every event matters to, and a log of its events."""
    random = Random(seed)
    while True:
        workspace, steps = case(random.choice, range(20, 60))
        if not any("idle" in trigger["when"] for trigger in workspace.triggers):
            break
    world = World(workspace)
    for step in steps:
        if step.kind in ("event", "repeat"):
            getattr(world, step.kind)(**step.values)
    return workspace, world.log


def cut_small(log: Log, random: Random) -> Log:
    return log


def with_irrelevant_events(log: Log, random: Random) -> Log:
    """Events that no trigger names, of the same users, between the others."""
    found: Log = []
    for number, record in enumerate(log):
        found.append(record)
        if random.random() < 0.5:
            message = {**record["message"], "type": "track", "event": "Nobody Asked"}
            found.append({**record, "message": {**message, "messageId": f"x{number}"}})
    return found


def with_more_users(log: Log, random: Random) -> Log:
    """Each event again by another user, some of them more often."""
    found: Log = []
    for record in log:
        found.append(record)
        for user in random.sample(("zoe", "yan", "xi"), random.randrange(3)):
            message = {**record["message"], "userId": user, "event": random.choice(NAMES)}
            found.append({**record, "message": {**message, "type": "track"}})
    return found


def rows_of(rows: list[Row], users: set[str]) -> list[Row]:
    return [row for row in rows if row[1] in users]


@pytest.mark.parametrize("change", [cut_small, with_irrelevant_events, with_more_users])
def test_what_is_none_of_its_business_changes_no_decision(
    change: Callable[[Log, Random], Log],
) -> None:
    decided = 0
    for seed in range(SEEDS):
        workspace, log = made(seed)
        users = {record["message"]["userId"] for record in log}
        plain = backtest_rows(workspace, log, len(log))
        random = Random(seed)
        for cut in (1, 7):
            changed = backtest_rows(workspace, change(log, random), cut)
            assert rows_of(changed, users) == plain, f"seed {seed}"
        decided += len(plain)
    assert decided > 3 * SEEDS


def test_a_user_left_out_changes_no_decision_about_the_others() -> None:
    left = 0
    for seed in range(SEEDS):
        workspace, log = made(seed)
        plain = backtest_rows(workspace, log, len(log))
        rest = [record for record in log if record["message"]["userId"] != "ann"]
        assert backtest_rows(workspace, rest, 3) == rows_of(plain, {"bob"}), f"seed {seed}"
        left += bool(rest)
    assert left > SEEDS // 2
