"""Retention: what is forgotten, when, and that forgetting never changes a verdict."""

from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from schemas.reasons import Reason
from tests.reference.machines import World, row_of
from tests.reference.workloads import Case, case
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers import retention
from triggers.decide import apply_merge, apply_merged, fire_before, next_due
from triggers.effects import Effects
from triggers.state import Pending, UserState, is_blank

SEEDS = 60


def play(made: Case, forget_at: Random | None) -> list[Any]:
    """The rows of a history; between steps it prunes when the coin says so."""
    workspace, steps = made
    world = World(workspace)
    for step in steps:
        if step.kind not in ("restart", "forget"):
            getattr(world, step.kind)(**step.values)
        if forget_at is not None and forget_at.random() < 0.4:
            world.forget()
    world.drain()
    return sorted(row_of(decision) for decision in world.effects.decisions)


def test_pruning_at_random_times_decides_what_never_pruning_decides() -> None:
    for seed in range(SEEDS):
        made = case(Random(seed).choice, range(10, 50))
        # Never: the timer index then must not ask for it either.
        with (
            patch.object(retention, "prune", lambda *_: None),
            patch.object(retention, "due", lambda *_: 0),
        ):
            never = play(made, None)
        assert play(made, Random(seed)) == never
        assert play(made, None) == never


def test_the_next_deadline_is_always_the_earliest() -> None:
    for seed in range(SEEDS):
        workspace, steps = case(Random(seed).choice, range(10, 50))
        world = World(workspace)
        for step in steps:
            getattr(world, step.kind)(**step.values)
            for user, state in world.states.items():
                check_earliest(world, user, state)


def check_earliest(world: World, user: str, state: UserState) -> None:
    """Nothing fires up to the deadline, and something does right after it."""
    due = next_due(world.program, state)
    assert state.due == due
    if due == 0:
        assert not state.instances
        return
    assert not fire_before(world.program, user, state, due, world.effects)
    pending = [instance.fire_at for instance in state.instances]
    pending += [bundle.close_at for bundle in state.bundles]
    assert due <= min(pending, default=due)
    idle = [t.pattern.due(state) for t in world.program.watching if t.pattern.due(state)]
    assert due <= min(idle, default=due)
    forgets = retention.due(world.program, state)
    assert due in (*pending, *idle, forgets)
    # Whoever asks what comes first gets no more than that.
    assert not forgets or due <= forgets
    for before in (forgets - 1, forgets, forgets + 1):
        found = retention.due(world.program, state, max(before, 0))
        assert found == forgets or 0 < before <= found < forgets


def test_a_user_of_whom_nothing_counts_any_more_is_blank() -> None:
    program = program_of(
        {**CART, "cooldown": "2d"}, HELLO, spacing="1h", caps=[{"max": 2, "per": "3d"}]
    )
    user = User(program, reachable=False)
    user.event("0s", "Added", device="t")
    user.event("1h", "Opened")
    user.event("90m", "Ordered")
    user.event("2h", "Added")
    user.fire("20d")
    user.state.devices.clear()
    assert is_blank(user.state)
    assert user.state.due == 0


def test_one_wake_up_forgets_everything() -> None:
    user = User(program_of(HELLO, spacing="1h", cooldown="1d"))
    user.event("0s", "Opened")
    user.outcome("1m", Reason.ACCEPTED)
    due = retention.due(user.program, user.state)
    # The message is followed for 7 days, and what happened within them may come a day late.
    assert user.state.due == due == ms("8d1m1ms")
    user.fire("8d1m2ms")
    assert (user.state.sends, user.state.cooled, user.state.memory) == ([], [], {})
    assert user.state.touches == []
    assert user.state.decided_at == 0


def test_what_admission_reads_is_kept_for_a_start_of_24_hours_ago() -> None:
    user = User(program_of(HELLO, CART, spacing="3h"))
    user.event("0s", "Opened")
    user.event("24h30m", "Added", e="30m")
    user.fire("30h")
    assert user.lines == ["0s hello m0 ADMITTED", "2h30m cart m1 SPACING"]


def test_the_last_decision_is_not_forgotten_with_an_otherwise_blank_user() -> None:
    polled, unpolled = (User(program_of(HELLO, CART), reachable=False) for _ in range(2))
    for user in (polled, unpolled):
        user.event("24h", "Opened", e="0s")
        if user is polled:
            user.fire("25h")
            assert not is_blank(user.state)
        user.event("26h", "Added", e="3h")
        user.fire("27h")
    assert polled.lines == unpolled.lines == ["1d hello m0 NO_DEVICE", "1d cart m1 NO_DEVICE"]


def test_a_delivery_without_an_outcome_ends_unknown_a_day_after_it_expired() -> None:
    user = User(program_of({**HELLO, "expires": "1h"}))
    user.event("0s", "Opened")
    assert [pending.drop_at for pending in user.state.pending] == [ms("25h")]
    retention.prune(user.program, "u1", user.state, ms("25h") - 1, user.effects)
    assert user.effects.closed == []
    retention.prune(user.program, "u1", user.state, ms("25h"), user.effects)
    assert user.effects.closed == [user.effects.deliveries[0].delivery_id]
    assert user.state.pending == []
    ends = {key.stage: count for key, count in user.effects.funnel.items()}
    assert ends == {"MATCHED": 1, "ADMITTED": 1, "UNKNOWN": 1}
    assert user.effects.journal[-1].what == "UNKNOWN"


@pytest.mark.parametrize(
    "kept",
    [
        UserState(seen=1),
        UserState(decided_at=1),
        UserState(cooled_floor={"t": 1}),
        UserState(pending=[Pending(b"", "t", "", 0, False, 0)]),
    ],
    ids=["seen", "decided_at", "cooled_floor", "pending"],
)
def test_a_user_of_whom_something_counts_is_not_blank(kept: UserState) -> None:
    assert not is_blank(kept)


def test_a_new_user_is_blank() -> None:
    assert is_blank(UserState())


def test_what_is_told_days_late_is_not_decided_where_nobody_knows_what_was_sent() -> None:
    silence = {"id": "silence", "state": "live", "when": {"idle": "1d"}, "cooldown": "12h"}
    user = User(program_of(silence))
    user.event("0s", "Looked")
    user.event("3d", "Looked", e="10m")
    user.fire("4d")
    first, second = (decision.at_ms for decision in user.effects.decisions)
    # Its silence was over after 1d10m; that it was spoken of a little earlier is forgotten by then.
    assert first < ms("1d10m")
    assert second == ms("2d")
    assert [decision.reason for decision in user.effects.decisions] == [None, None]


def test_what_a_merge_brings_days_late_is_not_decided_where_nobody_knows_what_was_sent() -> None:
    program = program_of(CART, HELLO, spacing="12h")
    known, anonymous = User(program), User(program, name="a")
    anonymous.event("0s", "Added")
    out = Effects()
    apply_merge(program, "a", anonymous.state, "u", ms("1h"), out)
    [moved] = [merge.moved for merge in out.merges if merge.moved is not None]
    known.event("1h", "Opened")
    apply_merged(program, "u", known.state, moved, ms("3d"), known.effects)
    known.fire("4d")
    assert known.lines == ["1h hello m0 ADMITTED", "2d cart m0 ADMITTED"]
