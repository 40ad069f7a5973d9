"""A catalogue learned from events: what is counted, what is shown, and what it then refuses."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from triggers.catalog import ALL_PATHS_MAX, EVENTS_MAX, EXAMPLES_MAX, PATHS_MAX, Catalog, PathEntry
from triggers.catalog_checks import catalog_problems
from triggers.catalog_merge import merge_catalogs
from triggers.learning import CHILDREN_MAX, DISTINCT_MAX, Learner
from triggers.problems import Location
from triggers.workspace import parse_trigger


def track(name: str, properties: dict[str, Any] | None = None, user: str = "u1") -> Event:
    return Event("track", "m1", name, user, properties=properties)


def learned(events: Iterable[Event], from_ms: int = 0) -> Catalog:
    learner = Learner()
    for number, event in enumerate(events):
        learner.add(from_ms + number, event)
    return learner.catalog()


def paths_of(*properties: dict[str, Any], users: int = 1) -> dict[str, PathEntry]:
    """The paths of one event, each of its properties sent by so many users."""
    events = [track("A", each, f"u{user}") for each in properties for user in range(users)]
    return learned(events).events["A"].paths or {}


def examples_of(*values: Any, name: str = "x", users: int = 3) -> tuple[Any, ...] | None:
    found = paths_of(*({name: value} for value in values), users=users)
    return found[f"properties.{name}"].examples


def types_of(paths: dict[str, PathEntry]) -> dict[str, dict[str, int]]:
    return {
        path.removeprefix("properties."): {str(name): count for name, count in entry.types.items()}
        for path, entry in paths.items()
    }


def test_types_are_counted_for_every_path_down_into_lists() -> None:
    product = {"price": 1.5, "tags": ["a", "b"]}
    found = paths_of(
        {"price": 2, "gift": True, "products": [product, {"price": None}]},
        {"price": "2", "deep": {"er": {"x": 1}}, "products": []},
    )
    assert types_of(found) == {
        "price": {"string": 1, "integer": 1},
        "gift": {"boolean": 1},
        "products": {"list": 2},
        "products.*": {"object": 2},
        "products.*.price": {"number": 1, "null": 1},
        "products.*.tags": {"list": 1},
        "products.*.tags.*": {"string": 2},
        "deep": {"object": 1},
        "deep.er": {"object": 1},
        "deep.er.x": {"integer": 1},
    }


def test_events_are_counted_with_the_first_and_the_last_time_whatever_their_order() -> None:
    learner = Learner()
    for a_ms in (2000, 500, 3000):
        learner.add(a_ms, track("A"))
    entry = learner.catalog().events["A"]
    assert (entry.count, entry.first, entry.last) == (
        3,
        "1970-01-01T00:00:00.500Z",
        "1970-01-01T00:00:03.000Z",
    )


def test_pages_have_their_trigger_names_and_identify_teaches_traits() -> None:
    context = {"device": {"type": "ios"}}
    found = learned(
        [
            Event("page", "m1", None, "u1", properties={"name": "Cart"}, context=context),
            Event("identify", "m2", None, "u1", traits={"plan": "pro"}),
        ]
    )
    assert list(found.events) == ["Page: Cart"]
    assert list(found.shared.paths) == ["context.device", "context.device.type", "traits.plan"]


def test_a_text_is_a_date_time_when_all_its_values_are() -> None:
    assert paths_of({"at": "2026-01-05T10:00:00Z"}, {"at": "2026-01-05T10:00:00.5+05:00"})[
        "properties.at"
    ].format == ("date-time")
    assert paths_of({"at": "2026-01-05T10:00:00Z"}, {"at": "soon"})["properties.at"].format is None
    assert paths_of({"at": "2026-01-05"})["properties.at"].format is None


def test_a_value_is_an_example_when_three_users_sent_it() -> None:
    assert examples_of("shoes", users=2) is None
    assert examples_of("shoes", users=3) == ("shoes",)
    assert paths_of(*[{"x": "shoes"}] * 9, users=1)["properties.x"].examples is None


def test_examples_keep_their_types_and_are_bounded() -> None:
    assert examples_of(1, True, 1.5, "1") == (1, True, 1.5, "1")
    assert examples_of(*range(EXAMPLES_MAX + 3)) == tuple(range(EXAMPLES_MAX))


def test_a_path_with_many_different_values_has_no_examples() -> None:
    assert examples_of(*(f"v{n}" for n in range(DISTINCT_MAX))) is not None
    assert examples_of(*(f"v{n}" for n in range(DISTINCT_MAX + 1))) == ()


@pytest.mark.parametrize(
    "value",
    [
        "anna@shop.example",
        "+7 (701) 555-01-23",
        "87015550123",
        "4111 1111 1111 1111",
        "10.1.2.3",
        "fe80::1ff:fe23:4567:890a",
        "00:1B:44:11:3A:B7",
        "f2116ae310ad80cdbb091e",
        "APA91be7189ef5a80d92815e235",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
        "9f8b1c2e-0d3a-4c5b-8e7f-112233445566",
        "abcdefghijklmnopqrstuvwxyz",
        "https://shop.example/reset?code=1",
        "a text of more than forty characters, such as a review",
        "two\nlines",
        77015550123,
        1_767_225_600_000,
    ],
)
def test_one_value_that_looks_personal_leaves_its_path_without_examples(value: Any) -> None:
    assert examples_of("shoes", value, "bags") == ()


@pytest.mark.parametrize(
    "name",
    [
        *("email", "userEmail", "phone_number", "firstName", "last_name", "ip", "deviceToken"),
        *("lat", "recipient", "userId", "IPAddress", "session_id", "search_query", "birthday"),
    ],
)
def test_a_name_that_tells_of_a_person_or_a_secret_has_no_examples(name: str) -> None:
    assert examples_of("a", "b", name=name) is None
    nested = paths_of({name: {"x": "a", "y": ["b"]}}, users=3)
    assert [entry.examples for entry in nested.values()] == [None] * 4


@pytest.mark.parametrize("name", ["category", "price", "description", "shipping", "platform"])
def test_a_name_of_a_thing_has_examples(name: str) -> None:
    assert examples_of("a", "b", name=name) == ("a", "b")


def test_traits_have_no_examples() -> None:
    events = [
        Event("identify", "m", None, f"u{n}", traits={"plan": "pro"}, context={"traits": {"a": 1}})
        for n in range(5)
    ]
    shared = learned(events).shared.paths
    assert set(shared) == {"traits.plan", "context.traits", "context.traits.a"}
    assert [entry.examples for entry in shared.values()] == [None] * 3


def test_names_that_look_personal_or_cannot_be_reached_are_not_learned() -> None:
    learner = Learner()
    learner.add(0, track("Page of anna@shop.example"))
    learner.add(0, track("A", {"anna@shop.example": 1, "8 701 555 01 23": 1, "a.b": 1, "*": 2}))
    learner.add(0, track("product_viewed_v2_beta", {"": 1, "\x00": 1, "x_123": 1}))
    catalog = learner.catalog()
    assert learner.unnamed == 1
    assert {name: list(entry.paths or ()) for name, entry in catalog.events.items()} == {
        "A": [],
        "product_viewed_v2_beta": ["properties.x_123"],
    }


def test_an_object_with_ids_for_names_is_open_and_its_ids_are_forgotten() -> None:
    found = paths_of({"by_id": {f"p{number}": 1 for number in range(CHILDREN_MAX + 1)}, "x": 1})
    assert list(found) == ["properties.by_id", "properties.x"]
    assert found["properties.by_id"].open


def test_what_has_no_room_leaves_its_event_and_the_catalogue_open() -> None:
    wide = {f"p{number}": 1 for number in range(PATHS_MAX + 1)}
    entry = learned([track("A", wide)]).events["A"]
    assert (len(entry.paths or ()), entry.open) == (PATHS_MAX, True)
    many = learned(track(f"E{number}") for number in range(EVENTS_MAX + 1))
    assert (len(many.events), many.open) == (EVENTS_MAX, True)
    full = learned(track(f"E{number}", wide) for number in range(60))
    counts = [len(entry.paths or ()) for entry in full.events.values()]
    assert sum(counts) == ALL_PATHS_MAX
    assert all(entry.open for entry in full.events.values())


def test_an_empty_list_of_examples_stays_empty_and_hand_made_notes_stay() -> None:
    entry = {"types": "string", "examples": [], "description": "by hand"}
    old = Catalog.model_validate(
        {"events": {"A": {"owner": "me", "paths": {"properties.x": entry}}}}
    )
    merged = merge_catalogs(old, learned(track("A", {"x": "a"}, f"u{n}") for n in range(3)))
    path = (merged.events["A"].paths or {})["properties.x"]
    assert (path.examples, path.description, merged.events["A"].owner) == ((), "by hand", "me")
    assert path.types == {"string": 3}


def test_below_a_path_that_is_open_nothing_is_added() -> None:
    entry = {"types": "object", "open": True}
    old = Catalog.model_validate({"events": {"A": {"paths": {"properties.x": entry}}}})
    merged = merge_catalogs(old, learned([track("A", {"x": {"y": 1}, "z": 1})]))
    assert list(merged.events["A"].paths or ()) == ["properties.x", "properties.z"]


NAMES = st.sampled_from(["price", "sku", "tags", "kind", "Größe", "при", "a b", "x-1", "email"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.sampled_from(["red", "2026-01-05T10:00:00Z", "anna@shop.example", "x" * 50]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.lists(
    st.builds(
        track,
        st.sampled_from(["Product Added", "Order Completed", "Seen", "Größer"]),
        st.none() | st.dictionaries(NAMES, VALUES, max_size=4),
        st.sampled_from(["u1", "u2", "u3", "u4"]),
    ),
    min_size=1,
    max_size=12,
)
#: What holds for some value of a type, and what for none of the kind.
RIGHT: dict[str, list[Any]] = {
    "string": ["a", {"prefix": "a"}, {"gt": "a"}, {"in": ["a", "b"]}, {"contains": "a"}],
    "number": [1, {"gte": 1.5}, {"between": [1, 2]}, {"not_in": [3]}],
    "integer": [1, {"lt": 1.5}, {"in": [1, 2]}, {"ne": 3}],
    "boolean": [True, {"in": [True]}, {"ne": False}],
    "list": [{"exists": True}],
    "object": [{"within_km": {"lat": 1, "lon": 2, "km": 3}}],
    "null": [None, {"exists": False}],
}
WRONG: dict[str, Any] = {"string": {"gt": 5}, "number": "1", "integer": {"prefix": "1"}}
WRONG |= {"boolean": "true", "list": 1, "object": "a"}


def locations_of(catalog: Catalog, event: str, path: str, condition: Any) -> list[Location]:
    document = {"id": "a", "when": {"event": event, "where": {path: condition}}}
    trigger, problems = parse_trigger(document)
    assert trigger is not None, problems
    return [problem.location for problem in catalog_problems(document, catalog)]


@settings(max_examples=60)
@given(EVENTS, st.data())
def test_what_was_learned_is_accepted_and_any_misspelt_name_is_refused_at_its_place(
    events: list[Event], data: st.DataObject
) -> None:
    catalog = learned(events)
    for event, entry in catalog.events.items():
        for path, found in (entry.paths or {}).items():
            condition = data.draw(
                st.sampled_from(RIGHT[data.draw(st.sampled_from([*found.types]))])
            )
            assert locations_of(catalog, event, path, condition) == []
            at = data.draw(st.integers(0, len(event)))
            slip = event[:at] + "q" + event[at:]
            assert locations_of(catalog, slip, path, condition) == [("when", "event")]
            slip = path + "q"
            assert locations_of(catalog, event, slip, condition) == [("when", "where", slip)]
            if len(found.types) == 1 and "null" not in found.types:
                wrong = WRONG[next(iter(found.types))]
                (location,) = locations_of(catalog, event, path, wrong)
                assert location[:3] == ("when", "where", path)


@settings(max_examples=60)
@given(EVENTS, EVENTS)
def test_learning_in_two_runs_gives_the_counts_types_and_times_of_one(
    first: list[Event], second: list[Event]
) -> None:
    once = learned(first + second)
    twice = merge_catalogs(learned(first), learned(second, from_ms=len(first)))
    assert twice.events.keys() == once.events.keys()
    for name, entry in once.events.items():
        other = twice.events[name]
        assert (other.count, other.first, other.last) == (entry.count, entry.first, entry.last)
        paths, others = entry.paths or {}, other.paths or {}
        assert paths.keys() == others.keys()
        for path, found in paths.items():
            assert (others[path].types, others[path].format) == (found.types, found.format)
