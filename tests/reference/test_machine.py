"""The core decides exactly what the interpreter says, whatever happens between the records."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.reference.interpreter import FOREVER, interpret
from tests.reference.machines import World, backtest_rows
from tests.reference.workloads import (
    Case,
    Step,
    Workspace,
    case,
    cases,
    event,
    outcome,
    picker,
    repeat,
    workspace,
)

FAST = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: Histories of the seeded test: dense ones, and made ten times faster than Hypothesis makes them.
SEEDS = 300
SOAK_S = float(os.environ.get("TRIPLINE_SOAK_S", "600"))


def play(made: Workspace, steps: list[Step]) -> World:
    world = World(made)
    for step in steps:
        getattr(world, step.kind)(**step.values)
    return world


def agree(made: Workspace, steps: list[Step]) -> None:
    world = play(made, steps)
    world.poll()
    assert world.rows == world.expected(world.now)
    world.drain()
    assert world.rows == world.expected(FOREVER)


def agree_in_backtest(made: Workspace, steps: list[Step], cut: int) -> None:
    log = [record for record in play(made, steps).log if "message" in record]
    expected = interpret(made.triggers, made.policies, log, until=FOREVER, always_reachable=True)
    assert backtest_rows(made, log, cut) == expected


def shortest(made: Workspace, steps: list[Step], fails: Callable[[Case], bool]) -> Case:
    """Leave out steps and triggers while it still fails."""
    for number in reversed(range(len(steps))):
        fewer = steps[:number] + steps[number + 1 :]
        if fails((made, fewer)):
            steps = fewer
    for number in reversed(range(len(made.triggers))):
        rest = made.triggers[:number] + made.triggers[number + 1 :]
        smaller = replace(made, triggers=rest)
        if rest and fails((smaller, steps)):
            made = smaller
    return made, steps


def agree_for_seed(seed: int) -> None:
    """Raise with the shortest history that disagrees."""

    def fails(candidate: Case) -> bool:
        try:
            agree(*candidate)
            agree_in_backtest(*candidate, 1 + seed % 5)
        except AssertionError:
            return True
        return False

    made = case(Random(seed).choice, range(5, 60))
    if not fails(made):
        return
    shrunk = shortest(*made, fails)
    lines = [str(part) for part in (*shrunk[0].triggers, shrunk[0].policies, *shrunk[1])]
    print(f"seed {seed}:", *lines, sep="\n  ")
    agree(*shrunk)
    agree_in_backtest(*shrunk, 1 + seed % 5)


@FAST
@given(cases())
def test_the_core_decides_what_the_interpreter_says(made: Case) -> None:
    agree(*made)


@FAST
@given(cases(), st.sampled_from((1, 2, 3, 100)))
def test_a_backtest_decides_what_the_interpreter_says(made: Case, cut: int) -> None:
    agree_in_backtest(*made, cut)


def test_core_backtest_and_interpreter_agree_on_dense_histories() -> None:
    for seed in range(SEEDS):
        agree_for_seed(seed)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_core_backtest_and_interpreter_agree_for_long() -> None:
    until = monotonic() + SOAK_S
    for seed in count(SEEDS):
        agree_for_seed(seed)
        if monotonic() > until:
            break


class CoreMachine(RuleBasedStateMachine):
    """Hypothesis chooses what happens next; every poll compares everything so far."""

    world: World

    @initialize(data=st.data())
    def register(self, data: st.DataObject) -> None:
        self.world = World(workspace(picker(data.draw)))

    @rule(data=st.data())
    def event(self, data: st.DataObject) -> None:
        self.world.event(**event(picker(data.draw), self.world.workspace.lags).values)

    @precondition(lambda self: self.world.log)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.world.repeat(**repeat(picker(data.draw)).values)

    @precondition(lambda self: self.world.log)
    @rule(data=st.data())
    def outcome(self, data: st.DataObject) -> None:
        self.world.outcome(**outcome(picker(data.draw)).values)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule()
    def forget(self) -> None:
        self.world.forget()

    @rule()
    def poll(self) -> None:
        self.world.poll()
        assert self.world.rows == self.world.expected(self.world.now)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain()
            assert self.world.rows == self.world.expected(FOREVER)


class CoreMachineForLong(CoreMachine):
    """The same, often."""


CoreMachine.TestCase.settings = settings(FAST, max_examples=50, stateful_step_count=30)
CoreMachineForLong.TestCase.settings = settings(FAST, max_examples=3_000, stateful_step_count=80)

TestCoreMachine = CoreMachine.TestCase
TestCoreMachineForLong = pytest.mark.timeout(7200)(pytest.mark.soak(CoreMachineForLong.TestCase))
