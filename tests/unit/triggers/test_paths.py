"""Paths: what they reach in an event, and which are refused."""

import re
from typing import Any

import msgspec
import pytest

from schemas.events import Event
from triggers.paths import (
    MISSING,
    Many,
    check_path,
    compile_path,
    compile_projection,
    is_wild,
    key_of,
    project,
)

EVENT = Event(
    type="track",
    event="Order Completed",
    message_id="m1",
    properties={
        "price": 20,
        "note": None,
        "tags": ["a", "b"],
        "shipping": {"city": {"name": "Almaty"}},
        "products": [
            {"product_id": "p1", "price": 5, "tags": ["x"]},
            {"product_id": "p2", "tags": ["y", "z"]},
            "not a product",
            {"product_id": None},
        ],
    },
    context={"locale": "ru", "device": {"type": "ios"}},
    traits={"plan": "pro"},
)
BARE = Event(type="identify", message_id="m2")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties.price", 20),
        ("properties.note", None),
        ("properties.tags", ["a", "b"]),
        ("properties.shipping.city.name", "Almaty"),
        ("context.locale", "ru"),
        ("context.device.type", "ios"),
        ("traits.plan", "pro"),
        ("event", "Order Completed"),
        ("type", "track"),
        ("properties.products.*.product_id", Many(["p1", "p2", None])),
        ("properties.products.*.price", Many([5])),
        ("properties.products.*.tags.*", Many(["x", "y", "z"])),
        ("properties.tags.*", Many(["a", "b"])),
    ],
)
def test_a_path_reaches_its_value(path: str, value: Any) -> None:
    found = compile_path(path)(EVENT)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "path",
    [
        "properties.absent",
        "properties.price.amount",
        "properties.note.text",
        "properties.tags.a",
        "properties.tags.0",
        "properties.shipping.town.name",
        "properties.shipping.*",
        "properties.price.*",
        "properties.products.*.absent",
        "context.absent",
        "context.device.os.name",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(path: str) -> None:
    assert compile_path(path)(EVENT) is MISSING


@pytest.mark.parametrize(
    "path",
    ["properties.price", "context.locale", "traits.a.b", "properties.a.*.b", "properties.a.b"],
)
def test_every_path_is_missing_in_an_event_without_its_root(path: str) -> None:
    assert compile_path(path)(BARE) is MISSING


def test_the_name_of_a_page_is_the_one_triggers_use() -> None:
    page = Event(type="page", properties={"name": "Cart"})
    assert compile_path("event")(page) == "Page: Cart"
    assert compile_path("event")(BARE) is MISSING


def test_an_empty_list_under_a_wildcard_is_missing() -> None:
    event = Event(type="track", properties={"products": []})
    assert compile_path("properties.products.*.id")(event) is MISSING


def test_a_projection_is_flat_leaves_out_the_missing_and_survives_json() -> None:
    paths = ["properties.price", "properties.absent", "properties.products.*.price", "event"]
    fields = project(EVENT, paths)
    assert fields == {
        "properties.price": 20,
        "properties.products.*.price": [5],
        "event": "Order Completed",
    }
    assert type(fields["properties.products.*.price"]) is list
    assert msgspec.json.decode(msgspec.json.encode(fields)) == fields
    assert compile_projection(paths)(EVENT) == fields


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "unknown path ''"),
        ("price", "did you mean 'properties.price'"),
        ("propertis.price.x", "did you mean 'properties.price.x'"),
        ("evnt", "did you mean 'event'"),
        ("event.name", "unknown path 'event.name'"),
        ("properties", "needs a name below it"),
        ("properties.", "empty name"),
        ("properties.a..b", "empty name"),
        ("properties.*", "reaches into a list"),
        ("properties." + "a" * 300, "at most 256 characters"),
        ("properties" + ".a" * 16, "16 names"),
    ],
)
def test_a_refused_path_says_why(path: str, problem: str) -> None:
    found = check_path(path)
    assert found is not None
    assert problem in found
    with pytest.raises(ValueError, match=re.escape(found)):
        compile_path(path)


def test_a_wildcard_is_refused_where_one_value_is_needed() -> None:
    assert "must lead to one value" in (check_path("properties.a.*.b", wild=False) or "")
    assert check_path("properties.a.b", wild=False) is None
    assert is_wild("properties.a.*")
    assert not is_wild("properties.a*")


def test_a_number_of_more_digits_than_an_id_has_characters_is_no_key() -> None:
    assert key_of(10**200) is not None
    assert key_of(10**4000) is None
