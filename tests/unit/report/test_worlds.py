"""The readout over simulated experiments that are looked at every day for 28 days.

Seeded: every run gives the same. Rates of the long version are in docs/experiments.md.
"""

import pytest

from tests.unit.report.worlds import WORLDS, World, buckets, rates
from triggers.buckets import bucket

ALIKE = [world for world in WORLDS if not world.lifts]
LIFTED = [world for world in WORLDS if world.lifts]
#: Enough to see a plain test, which is wrong in more than a quarter of such experiments.
SHORT = range(1, 41)
LONG = range(1, 2_001)


def wrong(found: dict[str, float]) -> float:
    """The worst of the intervals."""
    return max(found.get(f"{name} wrong", 0.0) for name in ("conversion", "goals", "value"))


def names(worlds: list[World]) -> list[str]:
    return [world.name for world in worlds]


@pytest.mark.parametrize("seed", ["aa-1", "global_control", "experiment:abandoned-cart:"])
def test_the_simulation_shares_users_out_as_the_engine_does(seed: str) -> None:
    drawn = buckets(seed, 2_000)
    assert drawn.tolist() == [bucket(seed, f"u{number:07}") for number in range(2_000)]


@pytest.fixture(scope="module")
def short() -> dict[str, dict[str, float]]:
    return {world.name: rates(world, SHORT) for world in WORLDS}


def test_equal_arms_rarely_get_a_verdict(short: dict[str, dict[str, float]]) -> None:
    for world in ALIKE:
        assert short[world.name]["verdict"] <= 0.05
        assert wrong(short[world.name]) <= 0.05


def test_a_planted_lift_is_found_inside_its_interval(short: dict[str, dict[str, float]]) -> None:
    for world in LIFTED:
        assert short[world.name]["verdict"] >= 0.8
        assert wrong(short[world.name]) <= 0.05


def test_users_shared_out_as_planned_are_rarely_a_mismatch(
    short: dict[str, dict[str, float]],
) -> None:
    assert sum(found["mismatch"] for found in short.values()) / len(short) <= 0.01


def test_users_shared_out_otherwise_than_planned_are_a_mismatch() -> None:
    planned, real = {"a": 5_000, "b": 5_000}, {"a": 4_700, "b": 5_300}
    world = World("53 to 47", 10_000, planned, 0.05, {})
    found = rates(world, SHORT, shared_out=real)
    assert found["mismatch"] >= 0.95
    assert found["verdict"] <= 0.05


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("world", WORLDS, ids=names(list(WORLDS)))
def test_the_readout_keeps_its_promises_over_many_experiments(world: World) -> None:
    found = rates(world, LONG)
    assert wrong(found) <= 0.05
    assert found["mismatch"] <= 0.01
    if world.lifts:
        assert found["verdict"] >= 0.8
    else:
        assert found["verdict"] <= 0.05
