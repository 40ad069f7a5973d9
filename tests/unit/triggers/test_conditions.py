"""Conditions: each operator's meaning, the split by `$start`, the index keys, the refusals."""

from typing import Any

import pytest

from schemas.events import Event
from triggers.conditions import ClauseResult, FilterError, compile_filter, index_key
from triggers.filters import BOTH, CLAUSES_MAX, DEPTH_MAX, LIST_MAX, START
from triggers.paths import MISSING, Many, project

ALMATY = {"lat": 43.2380, "lon": 76.9450}
ASTANA = {"latitude": 51.1694, "longitude": 71.4491}
ABSENT = object()


def track(**properties: Any) -> Event:
    return Event(type="track", event="X", properties=properties)


def judge(condition: Any, value: Any) -> bool | None:
    """How `properties.x: condition` judges an event with that value (ABSENT: without)."""
    event = track() if value is ABSENT else track(x=value)
    static = compile_filter({"properties.x": condition}).static
    assert static is not None
    return static(event)


@pytest.mark.parametrize(
    ("condition", "value", "result"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (34, 34.0, True),
        (34.0, 34, True),
        (34, "34", False),
        ("34", 34, False),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        (False, 0, False),
        (0, False, False),
        (5, [5], False),
        (5, {"a": 5}, False),
        ({"eq": "a"}, "a", True),
        ({"ne": "a"}, "b", True),
        ({"ne": "a"}, "a", False),
        ({"ne": 1}, True, True),
        ({"ne": "34"}, 34, True),
        ({"ne": 1}, [1], True),
        ({"in": [1, "a", True]}, 1.0, True),
        ({"in": [1, "a"]}, True, False),
        ({"in": [True]}, 1, False),
        ({"in": [True]}, True, True),
        ({"in": ["a"]}, ["a"], False),
        ({"not_in": [1, "a"]}, "b", True),
        ({"not_in": [1, "a"]}, True, True),
        ({"not_in": [1, "a"]}, "a", False),
        ({"not_in": ["a"]}, ["a"], True),
    ],
)
def test_equality_never_coerces_and_never_fails(condition: Any, value: Any, result: bool) -> None:
    assert judge(condition, value) is result


@pytest.mark.parametrize(
    ("condition", "value", "result"),
    [
        ({"gt": 20}, 20, False),
        ({"gt": 20}, 20.5, True),
        ({"gte": 20}, 20, True),
        ({"lt": 20}, 20, False),
        ({"lt": 20}, 19, True),
        ({"lte": 20}, 20.0, True),
        ({"gte": 20}, "21", None),
        ({"gte": 20}, True, None),
        ({"gte": 20}, [21], None),
        ({"gte": "2026-01-01"}, "2026-03-01T00:00:00Z", True),
        ({"gte": "2026-01-01"}, "2025-12-31", False),
        ({"lt": "b"}, 1, None),
        ({"between": [10, 20]}, 10, True),
        ({"between": [10, 20]}, 20, True),
        ({"between": [10, 20]}, 20.1, False),
        ({"between": [10, 20]}, "15", None),
        ({"between": ["a", "c"]}, "b", True),
        ({"prefix": "ab"}, "abc", True),
        ({"prefix": "ab"}, "Abc", False),
        ({"prefix": "1"}, 12, None),
        ({"contains": "b"}, "abc", True),
        ({"contains": "d"}, "abc", False),
        ({"contains": 1}, "1", None),
        ({"contains": 1}, 1, None),
        ({"contains": 1}, [True, 1.0], True),
        ({"contains": 1}, [True, "1", None], False),
        ({"contains": "a"}, {"a": 1}, None),
    ],
)
def test_a_wrong_type_for_an_order_or_a_text_operator_cannot_be_evaluated(
    condition: Any, value: Any, result: bool | None
) -> None:
    assert judge(condition, value) is result


@pytest.mark.parametrize(
    ("condition", "absent", "null"),
    [
        ("a", False, False),
        ({"eq": None}, False, True),
        (None, False, True),
        ({"ne": None}, False, False),
        ({"ne": "a"}, False, False),
        ({"gt": 1}, False, False),
        ({"in": ["a"]}, False, False),
        ({"not_in": ["a"]}, False, False),
        ({"prefix": "a"}, False, False),
        ({"contains": "a"}, False, False),
        ({"between": [1, 2]}, False, False),
        ({"within_km": {**ALMATY, "km": 1}}, False, False),
        ({"exists": True}, False, False),
        ({"exists": False}, True, True),
    ],
)
def test_missing_is_false_and_null_is_like_missing_but_for_eq_null(
    condition: Any, absent: bool, null: bool
) -> None:
    assert judge(condition, ABSENT) is absent
    assert judge(condition, None) is null


def test_ne_null_holds_for_every_value_that_is_there() -> None:
    present: list[Any] = [0, "", False, [], {}]
    for value in present:
        assert judge({"ne": None}, value) is True
        assert judge({"exists": True}, value) is True
        assert judge({"exists": False}, value) is False


@pytest.mark.parametrize(
    ("km", "value", "result"),
    [
        (1, ALMATY, True),
        (1, {"lat": 43.2380, "lng": 76.9450}, True),
        (970, ASTANA, False),
        (975, ASTANA, True),
        (1, "43.2,76.9", None),
        (1, {"lat": 43.2}, None),
        (1, {"lat": "43.2", "lon": 76.9}, None),
        (1, {"lat": 143.2, "lon": 76.9}, None),
        (1, {"lat": 10**400, "lon": 0}, None),
        (1, {"lat": None, "lon": 76.9}, None),
    ],
)
def test_within_km_measures_along_the_great_circle(km: int, value: Any, result: Any) -> None:
    assert judge({"within_km": {**ALMATY, "km": km}}, value) is result


def test_within_km_reaches_across_the_date_line() -> None:
    near = {"within_km": {"lat": 0, "lon": 179.99, "km": 3}}
    assert judge(near, {"lat": 0, "lon": -179.99}) is True


PRODUCTS = track(products=[{"id": "p1", "n": 1}, {"id": "p2", "n": "two"}, {"id": None}])


@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ({"properties.products.*.id": "p2"}, True),
        ({"properties.products.*.id": "p3"}, False),
        ({"properties.products.*.id": None}, True),
        ({"properties.products.*.id": {"ne": "p1"}}, True),
        ({"properties.products.*.id": {"in": ["p2", "p3"]}}, True),
        ({"properties.products.*.n": {"gt": 0}}, True),
        ({"properties.products.*.n": {"gt": 1}}, None),
        ({"properties.products.*.id": {"exists": True}}, True),
        ({"properties.products.*.id": {"exists": False}}, False),
        ({"properties.products.*.sku": {"exists": False}}, True),
        ({"not": {"properties.products.*.id": "p3"}}, True),
    ],
)
def test_a_wildcard_holds_when_any_element_does(condition: Any, result: bool | None) -> None:
    static = compile_filter(condition).static
    assert static is not None
    assert static(PRODUCTS) is result


T, F, N = {"properties.t": 1}, {"properties.t": 2}, {"properties.s": {"gt": 1}}


@pytest.mark.parametrize(
    ("where", "result"),
    [
        (T, True),
        (F, False),
        (N, None),
        ({"all": [T, N]}, None),
        ({"all": [N, F]}, False),
        ({"all": [F, N]}, False),
        ({"all": [T, N, F]}, False),
        ({"all": [T, N, T]}, None),
        ({"any": [T, N]}, True),
        ({"any": [N, T]}, True),
        ({"any": [N, F]}, None),
        ({"any": [F, F]}, False),
        ({"not": T}, False),
        ({"not": F}, True),
        ({"not": N}, None),
        ({"not": {"any": [F, N]}}, None),
        ({**T, "not": F}, True),
        ({**T, **N}, None),
        ({**N, **T}, None),
        ({**F, **N}, False),
    ],
)
def test_groups_follow_kleene(where: Any, result: bool | None) -> None:
    static = compile_filter(where).static
    assert static is not None
    assert static(track(t=1, s="text")) is result


def test_no_filter_has_nothing_to_judge() -> None:
    empty = compile_filter(None)
    assert (empty.static, empty.dynamic, empty.discriminators) == (None, None, ())
    assert empty.explain(track(), {}) == []


def test_conjuncts_with_start_are_split_from_those_without() -> None:
    found = compile_filter(
        {
            "properties.price": {"gte": 20},
            "properties.product_id": "$start.properties.product_id",
            "any": [
                {"properties.size": "XL"},
                {"properties.city": {"ne": "$start.context.city"}},
            ],
        },
        references=BOTH,
    )
    assert found.static is not None
    assert found.static(track(price=20)) is True
    assert found.event_paths == ("properties.product_id", "properties.size", "properties.city")
    assert found.start_paths == ("properties.product_id", "context.city")
    assert found.dynamic is not None
    start = {"properties.product_id": "p1", "context.city": "Almaty"}
    event = {"properties.product_id": "p1", "properties.size": "XL"}
    assert found.dynamic(event, start) is True
    assert found.dynamic({**event, "properties.product_id": "p2"}, start) is False
    assert found.dynamic({**event, "properties.size": "S"}, start) is False
    other_city = {**event, "properties.size": "S", "properties.city": "Astana"}
    assert found.dynamic(other_city, start) is True


def test_a_filter_without_start_has_no_dynamic_part() -> None:
    found = compile_filter({"properties.price": 1}, references=BOTH)
    assert found.dynamic is None
    assert found.event_paths == found.start_paths == ()


NEAR_START = {"within_km": {"lat": "$start.properties.y", "lon": 0, "km": 1}}


@pytest.mark.parametrize(
    ("condition", "value", "start", "result"),
    [
        ("$start.properties.y", 34, 34.0, True),
        ("$start.properties.y", 1, True, False),
        ("$start.properties.y", [1], [1], None),
        ("$start.properties.y", [1], 1, False),
        ("$start.properties.y", "a", ABSENT, False),
        ("$start.properties.y", "a", None, False),
        ("$start.properties.y", None, None, False),
        ({"ne": "$start.properties.y"}, "a", "b", True),
        ({"ne": "$start.properties.y"}, "a", ABSENT, False),
        ({"ne": "$start.properties.y"}, "a", None, False),
        ({"not_in": "$start.properties.y"}, [1], ["a"], True),
        ({"not_in": "$start.properties.y"}, [1], [[1]], None),
        ({"ne": "$start.properties.y"}, {}, [], None),
        ({"gt": "$start.properties.y"}, 5, 4, True),
        ({"gt": "$start.properties.y"}, 5, "4", None),
        ({"gt": "$start.properties.y"}, 5, True, None),
        ({"gt": "$start.properties.y"}, ABSENT, [4], False),
        ({"in": "$start.properties.y"}, "a", ["b", "a"], True),
        ({"in": "$start.properties.y"}, "a", "abc", None),
        ({"in": ["z", "$start.properties.y"]}, "a", "a", True),
        ({"in": ["a", "$start.properties.y"]}, "a", ABSENT, True),
        ({"not_in": ["z", "$start.properties.y"]}, "a", "b", True),
        ({"not_in": ["z", "$start.properties.y"]}, "a", ABSENT, False),
        ({"prefix": "$start.properties.y"}, "abc", "ab", True),
        ({"prefix": "$start.properties.y"}, "abc", 1, None),
        ({"contains": "$start.properties.y"}, ["a"], "a", True),
        ({"contains": "$start.properties.y"}, ["a"], ["a"], None),
        ({"between": ["$start.properties.y", 10]}, 5, 4, True),
        ({"between": ["$start.properties.y", 10]}, 5, 6, False),
        ({"between": ["$start.properties.y", 10]}, 5, "4", None),
        ({"between": ["$start.properties.y", 10]}, 5, ABSENT, False),
        (NEAR_START, {"lat": 1, "lon": 0}, 1, True),
        (NEAR_START, {"lat": 1, "lon": 0}, "1", None),
        (NEAR_START, {"lat": 1, "lon": 0}, ABSENT, False),
    ],
)
def test_a_reference_is_an_operand_and_a_missing_one_is_false(
    condition: Any, value: Any, start: Any, result: bool | None
) -> None:
    found = compile_filter({"properties.x": condition}, references=BOTH)
    event = track() if value is ABSENT else track(x=value)
    started = track() if start is ABSENT else track(y=start)
    assert found.dynamic is not None
    fields = project(event, found.event_paths)
    assert found.dynamic(fields, project(started, found.start_paths)) is result


def test_wildcards_on_both_sides_meet_in_any_common_element() -> None:
    path = "properties.products.*.id"
    found = compile_filter({path: f"$start.{path}"}, references=BOTH)
    assert found.dynamic is not None
    cart = {path: ["p1", "p2", None]}
    assert found.dynamic({path: ["p9", "p2"]}, cart) is True
    assert found.dynamic({path: ["p9", None]}, cart) is False
    assert found.dynamic({}, cart) is False
    assert found.dynamic({path: ["p1"]}, {}) is False


def test_discriminators_are_the_top_level_equalities() -> None:
    found = compile_filter(
        {
            "properties.category": {"in": ["shoes", "bags"]},
            "all": [{"properties.size": 42}, {"properties.price": {"gt": 1}}],
            "any": [{"properties.colour": "red"}],
            "not": {"properties.brand": "x"},
            "properties.products.*.id": "p1",
            "properties.gone": None,
            "properties.vendor": "$start.properties.vendor",
        },
        references=BOTH,
    )
    assert found.discriminators == (
        ("properties.category", ("shoes", "bags")),
        ("properties.size", (42,)),
    )


def test_index_keys_meet_exactly_where_eq_holds() -> None:
    values: list[Any] = ["1", 1, 1.0, True, 0, 0.0, -0.0, False, "", "a", None, [1], {}, MISSING]
    for operand in values[:10]:
        for value in values:
            keys_meet = index_key(value) == index_key(operand)
            assert keys_meet is judge(operand, ABSENT if value is MISSING else value)
    assert index_key(None) is None
    assert index_key([1]) is None
    assert index_key(float("nan")) is None


def test_explain_tells_of_every_clause_what_it_saw() -> None:
    found = compile_filter(
        {
            "properties.price": {"gte": 20, "lt": 30},
            "any": [{"properties.id": "$start.properties.id"}, {"properties.gone": 1}],
            "properties.lines.*.n": {"gt": 1},
        },
        references=BOTH,
    )
    event = track(price="25", id="p1", lines=[{"n": 1}, {"n": 2}])
    assert found.explain(event, {"properties.id": "p2"}) == [
        ClauseResult("properties.price", "gte", 20, "25", None, 20),
        ClauseResult("properties.price", "lt", 30, "25", None, 30),
        ClauseResult("properties.id", "eq", "$start.properties.id", "p1", False, "p2"),
        ClauseResult("properties.gone", "eq", 1, MISSING, False, 1),
        ClauseResult("properties.lines.*.n", "gt", 1, Many([1, 2]), True, 1),
    ]


def nested(depth: int) -> dict[str, Any]:
    where: dict[str, Any] = {"properties.x": 1}
    for _ in range(depth - 1):
        where = {"not": where}
    return where


@pytest.mark.parametrize(
    ("where", "location", "message"),
    [
        ({}, (), "empty filter"),
        ([], (), "maps paths to conditions"),
        ({"price": 1}, ("price",), "did you mean 'properties.price'"),
        ({1: 1}, (1,), "a path is text"),
        ({"properties.x": [1]}, ("properties.x",), "a list needs an operator"),
        ({"properties.x": {}}, ("properties.x",), "needs an operator"),
        ({"properties.x": {"gtt": 1}}, ("properties.x", "gtt"), "did you mean 'gt'"),
        ({"properties.x": {"any": []}}, ("properties.x", "any"), "goes around paths"),
        ({"properties.x": {"gt": True}}, ("properties.x", "gt"), "a number or a text"),
        ({"properties.x": {"gt": float("nan")}}, ("properties.x", "gt"), "a number or a text"),
        ({"properties.x": float("inf")}, ("properties.x",), "finite"),
        ({"properties.x": {"eq": [1]}}, ("properties.x", "eq"), "takes one text"),
        ({"properties.x": {"in": []}}, ("properties.x", "in"), "takes a list"),
        ({"properties.x": {"in": "a"}}, ("properties.x", "in"), "takes a list"),
        ({"properties.x": {"in": [None]}}, ("properties.x", "in"), "does not take null"),
        ({"properties.x": {"in": [[1]]}}, ("properties.x", "in"), "takes one text"),
        ({"properties.x": {"exists": 1}}, ("properties.x", "exists"), "true or false"),
        ({"properties.x": {"prefix": 1}}, ("properties.x", "prefix"), "takes a text"),
        ({"properties.x": {"contains": None}}, ("properties.x", "contains"), "not take null"),
        ({"properties.x": {"between": [1]}}, ("properties.x", "between"), "two ends"),
        ({"properties.x": {"between": [1, "a"]}}, ("properties.x", "between"), "two numbers"),
        ({"properties.x": {"between": [2, 1]}}, ("properties.x", "between"), "never holds"),
        ({"properties.x": {"within_km": {"lat": 1}}}, ("properties.x", "within_km"), "takes {lat"),
        (
            {"properties.x": {"within_km": {"lat": 91, "lon": 0, "km": 1}}},
            ("properties.x", "within_km"),
            "from -90 to 90",
        ),
        (
            {"properties.x": {"within_km": {"lat": 1, "lon": 0, "km": 0}}},
            ("properties.x", "within_km"),
            "above 0",
        ),
        ({"any": []}, ("any",), "is a list of filters"),
        ({"all": {"properties.x": 1}}, ("all",), "is a list of filters"),
        ({"any": [{}]}, ("any", 0), "empty filter"),
        ({"not": {}}, ("not",), "empty filter"),
        (nested(DEPTH_MAX + 1), ("not",) * DEPTH_MAX, f"at most {DEPTH_MAX} deep"),
        (
            {"properties.x": {"in": list(range(LIST_MAX + 1))}},
            ("properties.x", "in"),
            f"at most {LIST_MAX}",
        ),
        (
            {f"properties.x{n}": 1 for n in range(CLAUSES_MAX + 1)},
            (),
            f"at most {CLAUSES_MAX} clauses",
        ),
        ({"properties.x": "a" * 5000}, ("properties.x",), "at most 4096 characters"),
    ],
)
def test_what_could_not_mean_anything_is_refused_at_its_place(
    where: Any, location: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(where)
    problem = caught.value.problems[0]
    assert problem.location == location
    assert message in problem.message


def test_all_problems_of_a_filter_are_reported() -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter({"x.y": {"gtt": 1, "in": []}, "any": [{"properties.x": {"lt": None}}]})
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("operand", "references", "message"),
    [
        ("$start.properties.x", (), "not known yet here"),
        ("$event.properties.x", (), "is the event itself"),
        ("$event.properties.x", (START,), "use `$start`"),
        ("$strat.properties.x", BOTH, "did you mean '$start.properties.x'"),
        ("$start", BOTH, "names a path"),
        ("$start.product_id", BOTH, "did you mean 'properties.product_id'"),
        ({"gt": "$start.properties.a.*.b"}, BOTH, "goes with eq, in or not_in"),
        ({"in": ["$start.properties.a.*.b"]}, BOTH, "stands alone"),
        ({"between": ["$start.properties.a.*.b", 1]}, BOTH, "two numbers or two texts"),
        ({"exists": "$start.properties.a"}, BOTH, "true or false"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(
    operand: Any, references: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FilterError, match=r".") as caught:
        compile_filter({"properties.x": operand}, references=references)
    assert message in caught.value.problems[0].message


@pytest.mark.parametrize("text", ["$5", "$USD", "5$", "$ start", "$$start.x", "$"])
def test_a_text_with_a_dollar_is_a_text(text: str) -> None:
    assert judge(text, text) is True


def test_limits_themselves_are_accepted() -> None:
    compile_filter(nested(DEPTH_MAX))
    compile_filter({f"properties.x{n}": 1 for n in range(CLAUSES_MAX)})
    compile_filter({"properties.x": {"in": list(range(LIST_MAX))}})
