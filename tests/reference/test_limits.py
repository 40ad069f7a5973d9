"""No sequence of what may happen exceeds a limit; the scan (`limits`) knows nothing of the core."""

import ast
import os
import sys
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.reasons import REFUNDED
from tests.reference import limits
from tests.reference.admitting import GIVEN_BACK
from tests.reference.limits import Merged, Rules, Sent, bucket, violations
from tests.reference.setups import CAPS, DAY, HOUR, Case, case, dense_case
from tests.reference.workloads import picker
from tests.reference.worlds import World, lines, replayed
from triggers import admission

#: Histories of the seeded test: denser than Hypothesis makes them.
DENSE = 150
SOAK_S = float(os.environ.get("TRIPLINE_SOAK_S", "600"))
#: A Monday, noon, UTC.
NOON = 1_736_164_800_000


def play(made: Case) -> World:
    """Everything that happens, and what is due in the days after."""
    setup, steps = made
    world = World(setup)
    for step in steps:
        getattr(world, step.kind)(**step.values)
    world.wait(4 * DAY)
    return world


def found(made: Case) -> list[str]:
    world = play(made)
    return list(violations(list(world.went()), world.merges, world.rules))


def shortest(made: Case, seed: int) -> list[str]:
    """Print the fewest steps that still break a rule."""
    setup, steps = made
    for number in reversed(range(len(steps))):
        fewer = steps[:number] + steps[number + 1 :]
        if found((setup, fewer)):
            steps = fewer
    print(f"seed {seed}:", setup, *steps, sep="\n  ")
    return found((setup, steps))


def check_seed(seed: int) -> World:
    """One history without a violation, and the same of it in another rhythm of work."""
    made = dense_case(Random(seed).choice)
    world = play(made)
    assert not list(violations(list(world.went()), world.merges, world.rules)), shortest(made, seed)
    rhythm = Random(seed)
    again = replayed(
        world, polls=lambda: rhythm.random() < 0.2, restarts=lambda: rhythm.random() < 0.2
    )
    assert again == lines([delivered.admitted for delivered in world.deliveries]), f"seed {seed}"
    return world


def test_no_dense_history_exceeds_a_limit_and_none_depends_on_when_timers_are_asked_for() -> None:
    sent: Counter[str] = Counter()
    for seed in range(DENSE):
        sent.update(one.trigger for one in check_seed(seed).went())
    # Nothing is proven of a trigger that never speaks.
    assert min(sent[name] for name in TRIGGERS) > 5, sent
    assert len(sent) == len(TRIGGERS)


TRIGGERS = (
    *("quick", "first", "cart", "bundled", "welcome", "lunch", "habit", "thanks", "some"),
    *("receipt", "bill", "silence", "left"),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return case(picker(draw), range(1, 40))


@given(cases())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_no_sequence_of_candidates_outcomes_merges_holds_and_restarts_exceeds_a_limit(
    made: Case,
) -> None:
    assert found(made) == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_history_exceeds_a_limit_for_long() -> None:
    until = monotonic() + SOAK_S
    for seed in count(DENSE):
        check_seed(seed)
        if monotonic() > until:
            break


@pytest.mark.parametrize(
    ("check", "what"),
    [
        ("check_state", "silent"),
        ("check_state", "not active"),
        ("check_rollout", "rollout"),
        ("check_consent", "consent"),
        ("check_device", "no device"),
        ("check_cooldown", "cooldown"),
        ("check_spacing", "spacing"),
        ("check_caps", "cap"),
        ("check_quiet", "quiet hours"),
        ("check_quiet", "send_at"),
        ("check_priority", "two of one moment"),
        ("check_text", "text"),
        ("check_global_control", "global control"),
        ("check_control", "control"),
    ],
)
def test_the_scan_of_the_same_histories_finds_each_check_that_is_left_out(
    monkeypatch: pytest.MonkeyPatch, check: str, what: str
) -> None:
    left = tuple(one for one in admission.CHECKS if one.__name__ != check)
    assert len(left) == len(admission.CHECKS) - 1
    monkeypatch.setattr(admission, "CHECKS", left)
    for seed in range(DENSE):
        if any(line.startswith(what) for line in found(dense_case(Random(seed).choice))):
            return
    pytest.fail(f"nothing of {what} found without {check}")


# --- the scan itself ---

BASE = Sent(NOON, 5, "ann", "t", activation="m1", begun=NOON, ready=NOON)
#: Buckets of `ann` decide what is planted below.
DRAWN = bucket("experiment:t", "ann")

PLANTED: dict[str, tuple[Rules, list[Sent]]] = {
    "cooldown": (Rules(cooldown=DAY), [replace(BASE, at=NOON - DAY + 1, activation="m0"), BASE]),
    "cooldown per value": (
        Rules(per=DAY),
        [
            replace(BASE, at=NOON - HOUR, activation="m0", pers=("1", "2")),
            replace(BASE, pers=("2", "3")),
        ],
    ),
    "spacing": (Rules(spacing=HOUR), [replace(BASE, at=NOON - HOUR + 1, trigger="u"), BASE]),
    "two of one moment": (Rules(), [replace(BASE, trigger="u"), BASE]),
    "text": (
        Rules(no_repeat=DAY),
        [replace(BASE, at=NOON - HOUR, text="a"), replace(BASE, text="a")],
    ),
    "cap": (Rules(caps=[CAPS[0]]), [replace(BASE, at=NOON - 3 * HOUR + 1, trigger="u"), BASE]),
    "calendar cap": (Rules(caps=[CAPS[2]]), [replace(BASE, at=NOON - 12 * HOUR), BASE]),
    "category cap": (
        Rules(caps=[CAPS[5]], category="news"),
        [replace(BASE, at=NOON - 2 * DAY + 1), BASE],
    ),
    "quiet hours": (Rules(quiet=[("22:00", "12:01")]), [BASE]),
    "send_at": (Rules(send_at={"": ("12:01", "20:00")}, marketing=False), [BASE]),
    "held too long": (Rules(at_most=HOUR), [replace(BASE, ready=NOON - HOUR - 1)]),
    "silent": (Rules(silent=True), [BASE]),
    "no device": (Rules(marketing=False), [replace(BASE, reachable=False)]),
    "consent": (Rules(), [replace(BASE, refused=True)]),
    "rollout": (Rules(rollout=bucket("rollout:t", "ann")), [BASE]),
    "not active": (
        Rules(days=("", "2025-01-06"), zone="Asia/Tokyo"),
        [replace(BASE, at=NOON + 3 * HOUR, ready=NOON + 3 * HOUR)],
    ),
    "canary": (Rules(below=bucket("canary", "ann") + 1), [BASE]),
    "control": (Rules(arms=[("control", DRAWN + 1)]), [BASE]),
    "variant": (Rules(arms=[("control", DRAWN), ("a", 1)]), [replace(BASE, variant="b")]),
    "global control": (Rules(size=10_000), [BASE]),
}


@pytest.mark.parametrize("what", PLANTED)
def test_the_scan_finds_a_planted_violation_of_each_rule_alone(what: str) -> None:
    rule, sends = PLANTED[what]
    seen = list(violations(sends, [], {("t", 1): rule, ("u", 1): rule}))
    named = "cap {" if what.endswith("cap") else f"{what}: "
    assert len(seen) == 1
    assert seen[0].startswith(named)


ALLOWED: list[tuple[Rules, list[Sent]]] = [
    (Rules(cooldown=DAY, spacing=DAY), [replace(BASE, at=NOON - DAY, activation="m0"), BASE]),
    (Rules(cooldown=DAY), [replace(BASE, at=NOON - HOUR), BASE]),
    (Rules(cooldown=DAY), [replace(BASE, at=NOON - HOUR, profile="bob"), BASE]),
    (Rules(marketing=False, spacing=DAY, quiet=[("00:00", "23:00")]), [BASE, BASE]),
    (Rules(caps=[CAPS[0]]), [replace(BASE, at=NOON - 3 * HOUR), BASE]),
    (Rules(caps=[CAPS[2]]), [replace(BASE, at=NOON - 12 * HOUR - 1), BASE]),
    (Rules(caps=[CAPS[2]]), [replace(BASE, at=NOON - HOUR), replace(BASE, zone="Etc/GMT-12")]),
    (Rules(caps=[CAPS[5]], category="offers"), [replace(BASE, at=NOON - HOUR), BASE]),
    (Rules(quiet=[("22:00", "12:00")], send_at={"": ("12:00", "12:01")}), [BASE]),
    (Rules(at_most=HOUR), [replace(BASE, ready=NOON - HOUR)]),
    (Rules(days=("2025-01-06", "2025-01-06"), zone="Asia/Tokyo"), [BASE]),
    (Rules(arms=[("control", 10_000)], until=NOON), [BASE]),
    (Rules(arms=[("control", DRAWN), ("a", 1)]), [replace(BASE, variant="a")]),
]


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_the_scan_finds_nothing_at_the_very_edge_of_a_rule(number: int) -> None:
    rule, sends = ALLOWED[number]
    assert list(violations(sends, [], {("t", 1): rule})) == []


def test_messages_of_a_merged_profile_count_from_the_record_of_the_merge_on() -> None:
    rules = {("t", 1): Rules(spacing=DAY)}
    first = replace(BASE, at=NOON - HOUR, after=1, profile="tab", activation="m0")
    merges = [Merged(NOON, 3, "tab", "guest"), Merged(NOON, 5, "guest", "ann")]
    assert len(list(violations([first, BASE], merges, rules))) == 1
    assert list(violations([first, replace(BASE, after=4)], merges, rules)) == []


def test_what_reaches_nobody_for_certain_is_what_the_core_gives_back() -> None:
    assert frozenset(GIVEN_BACK) == {reason.value for reason in REFUNDED}


def test_the_scan_imports_nothing_of_ours() -> None:
    imported = set()
    for node in ast.walk(ast.parse(Path(limits.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert imported <= sys.stdlib_module_names | {"collections.abc"}
