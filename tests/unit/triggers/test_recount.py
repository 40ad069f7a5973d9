"""The counters are a recount of what is published, to the unit, whatever happens."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decisions import decision_record
from schemas.outcomes import outcome_record
from schemas.reasons import Reason
from tests.recount import recount, whole
from tests.unit.triggers.user import User, program_of
from triggers.durations import format_duration
from triggers.effects import counter_name

SAID = {"push": {"title": "t", "body": "b"}}
GOAL = {"event": "Ordered", "within": "3d", "value": "properties.revenue"}
#: Every way to end, and something to follow each.
WORKSPACE: tuple[dict[str, Any], ...] = (
    {
        "id": "measured",
        "state": "live",
        "when": {"event": "A"},
        "goal": GOAL,
        "experiment": {"control": "30%", "variants": {"a": "40%", "b": "30%"}},
        "message": SAID,
    },
    {
        "id": "cart",
        "state": "live",
        "when": {"event": "B"},
        "unless": {"event": "Ordered"},
        "wait": "2h",
        "goal": {**GOAL, "where": {"properties.revenue": {"gte": 10}}},
        "cooldown": "4h",
    },
    {
        "id": "bundled",
        "state": "live",
        "when": {"event": "A"},
        "per": "event",
        "bundle": {"window": "1h", "max": 3},
        "cooldown": "1h",
    },
    {"id": "after", "state": "live", "when": {"outcome": "clicked", "trigger": "measured"}},
    {"id": "quiet", "state": "shadow", "when": {"event": "B"}},
    {"id": "paused", "state": "paused", "when": {"event": "B"}},
    {"id": "plain", "state": "live", "class": "transactional", "when": {"event": "A"}},
)
NAMES = ("A", "B", "Ordered", "Push Clicked", "Push Notification Tapped", "Unsubscribed")
REASONS = (Reason.ACCEPTED, Reason.ACCEPTED, Reason.REJECTED, Reason.UNKNOWN, Reason.EXPIRED)
Step = tuple[int, str, int, Any]
STEPS: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from((0, 1, 20, 70, 300, 1500)),
    st.sampled_from((*NAMES, "outcome", "outcome", "fire")),
    st.integers(0, 3),
    st.sampled_from((None, 3, 19.99, 10**11, "12", -4)),
)


def play(name: str, revisions: Sequence[int], steps: Sequence[Step]) -> User:
    """The steps, minutes apart; half-way the next revision decides."""
    user = User(program_of(*WORKSPACE, revision=revisions[0], spacing="10m"), name=name)
    minute = 0
    for number, (later, what, which, value) in enumerate(steps):
        if number == len(steps) // 2:
            user.program = program_of(*WORKSPACE, revision=revisions[1], spacing="10m")
        minute += later
        at = format_duration(minute * 60_000) if minute else "0s"
        sent = user.effects.deliveries
        if what == "fire":
            user.fire(at)
        elif what != "outcome":
            delivery = sent[-1 - which % len(sent)].delivery_id if sent else "none"
            user.event(at, what, delivery_id=delivery, revenue=value)
        elif sent:
            chosen = sent[-1 - which % len(sent)]
            reason = Reason(chosen.ghost) if chosen.ghost else REASONS[which]
            user.outcome(at, reason, delivery=sent.index(chosen))
    return user


@settings(max_examples=60)
@given(
    st.sampled_from([f"user-{number}" for number in range(12)]),
    st.sampled_from([(1, 1), (1, 2)]),
    st.lists(STEPS, min_size=5, max_size=40),
)
def test_the_funnel_is_a_recount_of_decisions_and_outcomes(
    name: str, revisions: tuple[int, int], steps: list[Step]
) -> None:
    effects = play(name, revisions, steps).effects
    decisions = [msgspec.json.decode(decision_record(one)) for one in effects.decisions]
    outcomes = [msgspec.json.decode(outcome_record(one)) for one in effects.outcomes]
    counters = {counter_name(key): number for key, number in effects.funnel.items()}
    assert whole(counters) == whole(recount(decisions, outcomes))


def test_histories_reach_every_stage() -> None:
    """What the property above is worth: the stages its histories count."""
    seen: set[str] = set()
    for number in range(12):
        steps: list[Step] = [
            (0, "A", 0, None),
            (1, "outcome", 1, None),
            (1, "Push Notification Tapped", 1, None),
            (1, "Ordered", 0, 19.99),
            (1, "B", 0, None),
            (300, "fire", 0, None),
            (1, "outcome", number % 4, None),
            (1, "B", 0, None),
            (1, "Ordered", 0, 10**11),
            (1, "A", 0, None),
            (1, "A", 0, None),
            (70, "fire", 0, None),
            (1, "Unsubscribed", 0, None),
        ]
        seen |= {key.stage for key in play(f"user-{number}", (1, 2), steps).effects.funnel}
    assert seen >= {
        *("MATCHED", "ADMITTED", "CONTROL", "GHOST", "BUNDLED", "SHADOW", "CANCELLED", "SPACING"),
        *("PAUSED", "ACCEPTED", "WITHHELD", "OPENED", "CLICKED", "CONVERTED", "VALUE"),
        *("UNSUBSCRIBED", "USERS", "CONVERTERS", "GOALS", "GOALS2", "WORTH", "WORTH2"),
        *("WORTH2_HIGH", "UNSUBSCRIBERS"),
    }
