"""Simulated experiments: users shared out by the project's hash, looked at after every day.

`python -m tests.unit.report.worlds` prints the table of docs/experiments.md.
"""

import sys
from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.report.plans import Plan
from engine.report.readout import Comparison, Effect, Verdict, compare
from triggers.buckets import BUCKETS

DAYS: Final = 28
#: A goal comes within so many days of the exposure.
_GOAL_DAYS: Final = 7
_OFFSET: Final = np.uint32(0x811C9DC5)
_PRIME: Final = np.uint32(0x01000193)

Ints = NDArray[np.int64]


class World(NamedTuple):
    """`shares` in buckets, the baseline first. `rate`: of users who convert, in every arm but those
    of `lifts`, where it is so much higher."""

    name: str
    users: int
    shares: dict[str, int]
    rate: float
    lifts: dict[str, float]


class Found(NamedTuple):
    """What one run said over all its looks. `wrong`: a comparison excluded the truth, by what it
    is about. `verdict`: one was ever given. `mismatch` at 1 %, by the project and by a chi-square
    test."""

    wrong: frozenset[str]
    verdict: bool
    mismatch: bool
    chi_square: bool


WORLDS: Final = (
    World("halves, 5 % convert", 6_000, {"a": 5_000, "b": 5_000}, 0.05, {}),
    World("halves, 1 % convert", 20_000, {"a": 5_000, "b": 5_000}, 0.01, {}),
    World(
        "control 10 %, two variants, 3 % convert",
        20_000,
        {"control": 1_000, "a": 4_500, "b": 4_500},
        0.03,
        {},
    ),
    World("halves, 10 % convert, lift 25 %", 20_000, {"a": 5_000, "b": 5_000}, 0.1, {"b": 0.25}),
    World(
        "control 10 %, 3 % convert, lift 50 %",
        40_000,
        {"control": 1_000, "a": 9_000},
        0.03,
        {"a": 0.5},
    ),
)


def buckets(seed: str, users: int) -> Ints:
    """`triggers.buckets.bucket` of the users `u0000000` to `u<users - 1>`, all at once."""
    first = np.full(users, _OFFSET, np.uint32)
    for character in f"{seed}u":
        first = (first ^ np.uint32(ord(character))) * _PRIME
    numbers = np.arange(users)
    for power in range(6, -1, -1):
        digit = (numbers // 10**power % 10 + ord("0")).astype(np.uint32)
        first = (first ^ digit) * _PRIME
    # The second hash is of the first one's decimal digits, of which there are one to ten.
    second = np.full(users, _OFFSET, np.uint32)
    drawn = first.astype(np.int64)
    for power in range(9, -1, -1):
        digit = (drawn // 10**power % 10 + ord("0")).astype(np.uint32)
        shown = (drawn >= 10**power) | (power == 0)
        second = np.where(shown, (second ^ digit) * _PRIME, second)
    return second.astype(np.int64) % BUCKETS


def run(world: World, seed: int, shared_out: dict[str, int] | None = None) -> Found:
    """One experiment of 28 days, looked at after each. `shared_out`: how users really were."""
    wrong: set[str] = set()
    verdict = mismatch = False
    counters = daily(world._replace(shares=shared_out or world.shares), seed)
    plan = Plan(world.shares)
    for day in range(DAYS):
        counts = {
            arm: {stage: int(days[day]) for stage, days in found.items()}
            for arm, found in counters.items()
        }
        readout = compare(counts, plan)
        mismatch |= readout.balance.mismatch
        for name, comparison in readout.comparisons.items():
            verdict |= comparison.verdict in (Verdict.BETTER, Verdict.WORSE)
            wrong |= _wrong(comparison, world.lifts.get(name, 0.0))
    users = np.array([found["USERS"] for found in counters.values()])
    expected = users.sum(0) * np.array([list(world.shares.values())]).T / BUCKETS
    chi_square = bool((stats.chisquare(users, expected, axis=0).pvalue <= 0.01).any())
    return Found(frozenset(wrong), verdict, mismatch, chi_square)


def daily(world: World, seed: int) -> dict[str, dict[str, Ints]]:
    """The experiment's counters of each arm as they stand after each day, kept as the engine keeps
    them: squares grow by (y + v)^2 - y^2 with each goal of a user."""
    random = np.random.default_rng(seed)
    arms = np.searchsorted(
        np.cumsum(list(world.shares.values())), buckets(f"aa-{seed}", world.users), side="right"
    )
    exposed = random.integers(0, DAYS, world.users)
    rates = np.array([world.rate * (1 + world.lifts.get(name, 0.0)) for name in world.shares])
    goals = (random.random(world.users) < rates[arms]) * (1 + random.poisson(0.3, world.users))
    buyers = np.repeat(np.arange(world.users), goals)
    days = exposed[buyers] + random.integers(0, _GOAL_DAYS, len(buyers))
    order = np.lexsort((days, buyers))
    buyers, days = buyers[order], days[order]
    cents = np.rint(random.lognormal(3.0, 1.0, len(buyers)) * 100).astype(np.int64)
    begins = np.cumsum(goals) - goals
    nth = np.arange(len(buyers)) - begins[buyers]
    spent = np.cumsum(cents)
    before = spent - cents - np.concatenate(([0], spent))[begins[buyers]]
    made = {
        "CONVERTERS": nth == 0,
        "GOALS": np.ones_like(nth),
        "GOALS2": 2 * nth + 1,
        "WORTH": cents * 10_000,
        "WORTH2": (before + cents) ** 2 - before**2,
    }
    counters: dict[str, dict[str, Ints]] = {}
    for at, name in enumerate(world.shares):
        mine = arms[buyers] == at
        counters[name] = {
            stage: _summed(days[mine], values[mine]) for stage, values in made.items()
        }
        counters[name]["USERS"] = _summed(exposed[arms == at], np.ones(int((arms == at).sum())))
    return counters


def _summed(days: Ints, values: NDArray[Any]) -> Ints:
    """Sums up to each day."""
    summed = np.zeros(DAYS + _GOAL_DAYS, np.int64)
    np.add.at(summed, days, values.astype(np.int64))
    return np.cumsum(summed)[:DAYS]


def rates(world: World, seeds: range, shared_out: dict[str, int] | None = None) -> dict[str, float]:
    """Shares of the runs, by what happened in them."""
    happened: Counter[str] = Counter()
    for seed in seeds:
        found = run(world, seed, shared_out)
        happened.update(f"{name} wrong" for name in found.wrong)
        happened["verdict"] += found.verdict
        happened["mismatch"] += found.mismatch
        happened["chi-square"] += found.chi_square
    return {name: count / len(seeds) for name, count in happened.items()}


def _wrong(comparison: Comparison, lift: float) -> set[str]:
    """Goals and value are proportional to the users who convert, so is their lift."""
    effects = {
        "conversion": comparison.conversion,
        "goals": comparison.goals,
        "value": comparison.value,
    }
    return {name for name, effect in effects.items() if effect and _excludes(effect, lift)}


def _excludes(effect: Effect, lift: float) -> bool:
    if effect.lift is not None and not effect.lift.low <= lift <= effect.lift.high:
        return True
    return not lift and not effect.difference.low <= 0 <= effect.difference.high


_COLUMNS: Final = (
    "verdict",
    "conversion wrong",
    "goals wrong",
    "value wrong",
    "mismatch",
    "chi-square",
)


def _main(runs: int) -> None:
    print(f"| {runs:,} runs | " + " | ".join(_COLUMNS) + " |")
    print("|---" * (len(_COLUMNS) + 1) + "|")
    for world in WORLDS:
        found = rates(world, range(1, runs + 1))
        cells = " | ".join(f"{found.get(name, 0.0):.2%}" for name in _COLUMNS)
        print(f"| {world.name} | {cells} |", flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
