"""Whatever stands in a test that validates, running it gives a verdict, never a traceback."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.testing.cases import cases_of
from engine.testing.report import report_lines
from engine.testing.run import run_case
from triggers.source import read_source
from triggers.testcases import OUTCOMES
from triggers.workspace import DefinitionErrors, Place, Workspace, load_documents

CART: dict[str, Any] = {
    "id": "cart",
    "when": {"event": "Added", "where": {"properties.price": {"gte": 20}}},
    "unless": [{"event": "Removed", "where": {"properties.id": "$start.properties.id"}}],
    "wait": "2h",
    "per": "properties.id",
    "message": {"push": {"title": "T", "body": "{{ start.properties.name }}"}},
}
IDLE: dict[str, Any] = {"id": "quiet", "when": {"idle": "7d"}, "cooldown": "1d"}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below),
    max_leaves=6,
)
offsets = st.integers(0, 30 * 86_400).map(lambda seconds: f"{seconds}s")
fields = st.dictionaries(st.sampled_from(["id", "price", "name", "x"]), values, max_size=4)
said: dict[str, st.SearchStrategy[Any]] = {
    "properties": fields,
    "traits": fields,
    "context": fields,
    "user": st.sampled_from(["ann", "user"]),
    "anonymous": st.just("guest"),
    "id": st.sampled_from(["m1", "m2"]),
    "occurred_at": st.just("0s"),
}
named = st.sampled_from(["Added", "Removed", "Page: Home", "Screen: ", "Other"])
events = st.fixed_dictionaries({"at": offsets, "event": named}, optional=said) | (
    st.fixed_dictionaries({"at": offsets, "type": st.just("identify")}, optional=said)
)
expected = st.fixed_dictionaries(
    {"at": offsets, "outcome": st.sampled_from(OUTCOMES)},
    optional={"per": values, "user": st.just("ann")},
)


def by_offset(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: int(item["at"][:-1]))


tests = st.fixed_dictionaries(
    {
        "name": st.just("a"),
        "events": st.lists(events, max_size=6).map(by_offset),
        "expect": st.lists(expected, max_size=3).map(by_offset),
    },
    optional={"devices": st.just([]), "traits": fields, "zone": st.just("Asia/Almaty")},
)


@settings(max_examples=150)
@given(document=st.sampled_from([CART, IDLE]), test=tests)
def test_a_test_that_validates_has_a_verdict(
    document: dict[str, Any], test: dict[str, Any]
) -> None:
    try:
        loaded = load_documents([{**document, "tests": [test]}])
    except DefinitionErrors:
        return
    (source,) = read_source("id: a", is_json=False)
    places = {document["id"]: Place("triggers/a.yaml", source)}
    (case,) = cases_of(Workspace(loaded.triggers, loaded.policies, places=places))
    verdict = run_case(case)
    assert verdict.passed == (
        not verdict.problem and all(line.sign == " " for line in verdict.lines)
    )
    assert report_lines([verdict], verbose=True)
