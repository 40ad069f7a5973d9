"""Whatever stands in a definition of these patterns, the answer is a located error or a trigger."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.compile import RegisteredTrigger, compile_program
from triggers.shared import FILES, parse_shared
from triggers.workspace import parse_trigger, pattern_problems

FIELDS = (
    *("trait", "from", "to", "date", "repeat", "offset", "at", "missed", "session", "gap", "place"),
    *("radius_km", "edge", "signal", "where", "outcome", "trigger", "item", "relation", "by"),
    *("since", "below", "release", "schedule", "days", "zone", "event", "idle"),
)
WORDS = st.sampled_from(
    [
        *("plan", "traits.birthday", "yearly", "-3d", "10:00", "24:00", "skip", "start", "end"),
        *("30m", "stores", "enter", "score", "clicked", "welcome", "price_drop", "favourite"),
        *("10%", "followed", "3 per unit", "mon", "user", "UTC", "\x1fany", "", "x" * 300),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5),
    st.sampled_from(["draft", "live"]),
)
def test_any_pattern_is_a_trigger_that_compiles_or_located_problems(when: Any, state: str) -> None:
    trigger, problems = parse_trigger({"id": "a", "state": state, "when": when})
    if trigger is None:
        assert problems
        assert all(problem.message for problem in problems)
        assert all(problem.location[0] == "when" for problem in problems)
        return
    again, _ = parse_trigger(trigger.to_document())
    assert again == trigger
    if not pattern_problems(trigger, ["a", "welcome"], parse_shared({})):
        compile_program(1, [RegisteredTrigger(trigger, 1, "live", 0)], {})


@settings(max_examples=200)
@given(VALUES)
def test_any_places_are_places_or_located_problems(document: Any) -> None:
    for file in FILES:
        found, problems = file.parse(document)
        assert all(problem.message for problem in problems)
        parse_shared(found)
