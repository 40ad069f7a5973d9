"""Compiled filters against a naive evaluator that was written from the language's text alone."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from triggers.conditions import compile_filter, index_key
from triggers.filters import BOTH
from triggers.paths import project

NAMES = ("a", "b", "list")
PATHS = (
    "properties.a",
    "properties.b",
    "context.a",
    "properties.b.a",
    "properties.list.*",
    "properties.list.*.a",
    "event",
)


# --- the naive evaluator: every value a path reaches, every rule spelt out ---


def same(left: Any, right: Any) -> bool | None:
    if isinstance(left, list | dict) and isinstance(right, list | dict):
        return None
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    number = isinstance(left, int | float) and isinstance(right, int | float)
    if not number and type(left) is not type(right):
        return False
    return bool(left == right)


def either(answers: list[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


def each(answers: list[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def opposite(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def reach(event: Event, path: str) -> list[Any]:
    """All values at the path; none when it is missing."""
    if path == "event":
        return [event.event]
    root, *names = path.split(".")
    values = [getattr(event, root)]
    for name in names:
        following: list[Any] = []
        for value in values:
            if name == "*" and isinstance(value, list):
                following += value
            elif name != "*" and isinstance(value, dict) and name in value:
                following.append(value[name])
        values = following
    return values


def ordered(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return False
    numbers = isinstance(value, int | float) and isinstance(operand, int | float)
    return numbers or (isinstance(value, str) and isinstance(operand, str))


def degrees_apart(value: Any, operand: Any) -> float | None:
    if not isinstance(value, dict):
        return None
    lat: Any = value.get("lat")
    lon: Any = value.get("lon")
    if not ordered(lat, 0) or not ordered(lon, 0) or abs(lat) > 90 or abs(lon) > 180:
        return None
    one = [math.radians(x) for x in (lat, lon)]
    two = [math.radians(operand[x]) for x in ("lat", "lon")]
    cosine = math.sin(one[0]) * math.sin(two[0]) + math.cos(one[0]) * math.cos(two[0]) * math.cos(
        one[1] - two[1]
    )
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def one_value(operator: str, value: Any, operand: Any) -> bool | None:
    if value is None:
        return operator == "eq" and operand is None
    match operator:
        case "eq":
            return same(value, operand)
        case "ne":
            return opposite(same(value, operand))
        case "in":
            return either([same(value, item) for item in operand])
        case "not_in":
            return opposite(either([same(value, item) for item in operand]))
        case "gt" | "gte" | "lt" | "lte":
            if not ordered(value, operand):
                return None
            signs = {"gt": [1], "gte": [1, 0], "lt": [-1], "lte": [-1, 0]}[operator]
            return ((value > operand) - (value < operand)) in signs
        case "between":
            if not ordered(value, operand[0]) or not ordered(value, operand[1]):
                return None
            return not value < operand[0] and not value > operand[1]
        case "prefix":
            return value[: len(operand)] == operand if isinstance(value, str) else None
        case "contains":
            if isinstance(value, list):
                return True in [same(item, operand) for item in value]
            if isinstance(value, str) and isinstance(operand, str):
                return value.find(operand) >= 0
            return None
        case "within_km":
            apart = degrees_apart(value, operand)
            return None if apart is None else apart * 111.195 <= operand["km"]
    raise AssertionError(operator)


def clause(event: Event, start: Event, path: str, operator: str, operand: Any) -> bool | None:
    values = reach(event, path)
    if operator == "exists":
        return any(value is not None for value in values) is operand
    if isinstance(operand, str) and operand.startswith("$start."):
        found = [item for item in reach(start, operand.removeprefix("$start.")) if item is not None]
        if not found:
            return False
        if "*" in operand:
            operand, operator = found, "in" if operator == "eq" else operator
        else:
            operand = found[0]
            if operator in ("in", "not_in") and not isinstance(operand, list):
                return either([False if value is None else None for value in values])
            if isinstance(operand, list):
                operand = [item for item in operand if item is not None]
    return either([one_value(operator, value, operand) for value in values])


def naive(event: Event, start: Event, where: dict[str, Any]) -> bool | None:
    answers: list[bool | None] = []
    for key, value in where.items():
        if key == "all":
            answers.append(each([naive(event, start, part) for part in value]))
        elif key == "any":
            answers.append(either([naive(event, start, part) for part in value]))
        elif key == "not":
            answers.append(opposite(naive(event, start, value)))
        elif isinstance(value, dict):
            answers += [clause(event, start, key, name, value[name]) for name in value]
        else:
            answers.append(clause(event, start, key, "eq", value))
    return each(answers)


# --- random filters and events, over few values so that they meet ---

numbers = st.sampled_from([0, 1, 2, 1.0, 1.5, -1])
texts = st.sampled_from(["", "a", "ab", "b", "1"])
scalars = st.one_of(numbers, texts, st.booleans())
places = st.fixed_dictionaries(
    {"lat": st.sampled_from([0, 40.5, 100, "0"]), "lon": st.sampled_from([0, 77.25, None])}
)
values = st.recursive(
    st.one_of(scalars, st.none(), places),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    ),
    max_leaves=5,
)
leaves = st.one_of(scalars, scalars, values)
#: Dense where the paths go: most clauses find something.
objects = st.fixed_dictionaries(
    {},
    optional={
        "a": leaves,
        "b": st.one_of(leaves, st.fixed_dictionaries({"a": leaves})),
        "list": st.lists(
            st.one_of(leaves, st.fixed_dictionaries({"a": leaves})), min_size=1, max_size=3
        ),
    },
)
events = st.builds(
    lambda name, properties, context: Event(
        type="track", event=name, properties=properties, context=context
    ),
    st.sampled_from(["a", "b"]),
    st.one_of(objects, objects, objects, st.none()),
    st.one_of(objects, st.none()),
)
operands: dict[str, st.SearchStrategy[Any]] = {
    "eq": st.one_of(scalars, st.none()),
    "ne": st.one_of(scalars, st.none()),
    "gt": st.one_of(numbers, texts),
    "gte": st.one_of(numbers, texts),
    "lt": st.one_of(numbers, texts),
    "lte": st.one_of(numbers, texts),
    "in": st.lists(scalars, min_size=1, max_size=3),
    "not_in": st.lists(scalars, min_size=1, max_size=3),
    "prefix": texts,
    "contains": scalars,
    "exists": st.booleans(),
    "between": st.one_of(
        st.tuples(numbers, numbers).map(sorted), st.tuples(texts, texts).map(sorted)
    ),
    "within_km": st.fixed_dictionaries(
        {"lat": st.just(0), "lon": st.sampled_from([0, 77]), "km": st.sampled_from([50, 5000])}
    ),
}
OF_SCALAR_REFERENCE = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains")


def conditions(references: bool) -> st.SearchStrategy[Any]:
    written = st.sampled_from(sorted(operands)).flatmap(
        lambda operator: operands[operator].map(lambda operand: {operator: operand})
    )
    found: list[st.SearchStrategy[Any]] = [scalars, st.none(), written]
    if references:
        plain = st.sampled_from([f"$start.{path}" for path in PATHS if "*" not in path])
        wild = st.sampled_from([f"$start.{path}" for path in PATHS if "*" in path])
        found += [
            st.one_of(plain, wild),
            st.tuples(st.sampled_from(OF_SCALAR_REFERENCE), plain).map(lambda p: {p[0]: p[1]}),
            st.tuples(st.sampled_from(["eq", "in", "not_in"]), wild).map(lambda p: {p[0]: p[1]}),
        ]
    return st.one_of(found)


def filters(references: bool) -> st.SearchStrategy[dict[str, Any]]:
    clauses = st.dictionaries(
        st.sampled_from(PATHS), conditions(references), min_size=1, max_size=2
    )
    return st.recursive(
        clauses,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
            inner.map(lambda part: {"not": part}),
            st.tuples(clauses, inner).map(lambda pair: {**pair[0], "not": pair[1]}),
        ),
        max_leaves=3,
    )


@settings(max_examples=500)
@given(filters(references=False), events)
def test_a_filter_of_the_event_alone_means_what_the_language_says(
    where: dict[str, Any], event: Event
) -> None:
    static = compile_filter(where).static
    assert static is not None
    assert static(event) is naive(event, event, where)


@settings(max_examples=500)
@given(filters(references=True), events, events)
def test_the_two_parts_of_a_filter_together_mean_what_the_language_says(
    where: dict[str, Any], event: Event, start: Event
) -> None:
    found = compile_filter(where, references=BOTH)
    fields, start_fields = project(event, found.event_paths), project(start, found.start_paths)
    alone = True if found.static is None else found.static(event)
    paired = True if found.dynamic is None else found.dynamic(fields, start_fields)
    assert each([alone, paired]) is naive(event, start, where)


@settings(max_examples=150)
@given(filters(references=True), events, events)
def test_explain_gives_each_clause_its_own_answer(
    where: dict[str, Any], event: Event, start: Event
) -> None:
    found = compile_filter(where, references=BOTH)
    results = found.explain(event, project(start, found.start_paths))
    assert results
    for result in results:
        operand = result.operand
        expected = clause(event, start, result.path, result.operator, operand)
        assert result.result is expected


@settings(max_examples=150)
@given(filters(references=False), events)
def test_an_event_that_passes_has_an_allowed_key_at_every_discriminator(
    where: dict[str, Any], event: Event
) -> None:
    found = compile_filter(where)
    if found.static is not None and found.static(event) is True:
        for path, allowed in found.discriminators:
            (value,) = reach(event, path)
            assert index_key(value) in {index_key(item) for item in allowed}
