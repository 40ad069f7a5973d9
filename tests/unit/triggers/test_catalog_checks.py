"""Definitions against the catalogue: each refusal at its place, and nothing refused without one."""

import json
from pathlib import Path
from typing import Any

import pytest

from triggers.catalog import parse_catalog
from triggers.catalog_checks import catalog_hints, catalog_problems
from triggers.ecommerce import ALIASES, ECOMMERCE
from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors

#: The spec as extracted from its page, used where it lies beside the checkout.
SPEC = Path(__file__).parents[4] / "shared" / "data" / "segment_ecommerce_v2.json"

CATALOG = """\
events:
  Product Added:
    paths:
      properties.price: {types: {number: 3, integer: 4, "null": 1}}
      properties.sku: string
      properties.gift: boolean
      properties.place: object
      properties.place.lat: number
      properties.tags: list
      properties.tags.*: string
      properties.mixed: [string, number]
      properties.never: "null"
      properties.custom: {types: object, open: true}
  Order Completed:
    paths:
      properties.revenue: number
      properties.products.*.sku: string
      properties.products.*.price: number
  Signed Up:
shared: {paths: {traits.city: string, traits.age: integer}}
"""
TRIGGER = """\
id: a
when:
  event: Product Added
  where:
    properties.price: {gte: 20}
unless:
  - event: Order Completed
    where: {properties.products.*.sku: $start.properties.sku}
wait: 2h
per: properties.sku
goal: {event: Order Completed, value: properties.revenue}
"""


def errors_of(trigger: str, catalog: str = CATALOG) -> list[str]:
    try:
        load_workspace({"triggers/a.yaml": trigger, "catalog.yaml": catalog})
    except DefinitionErrors as error:
        return [str(found).removeprefix("triggers/a.yaml:") for found in error.errors]
    return []


def hints_of(trigger: str, catalog: str | None = None) -> list[str]:
    files = {"triggers/a.yaml": trigger} | ({} if catalog is None else {"catalog.yaml": catalog})
    hints = load_workspace(files).hints
    return [str(found).removeprefix("triggers/a.yaml:") for found in hints]


def test_what_the_catalogue_has_is_accepted() -> None:
    assert errors_of(TRIGGER) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "event: Product Added",
            "event: Product Aded",
            "3:10: unknown event 'Product Aded' (did you mean 'Product Added'?)",
        ),
        (
            "event: Product Added",
            "event: [Signed Up, Zzz]",
            "3:22: unknown event 'Zzz': catalog.yaml does not have it",
        ),
        (
            "- event: Order Completed",
            "- event: Order Complete",
            "7:12: unknown event 'Order Complete' (did you mean 'Order Completed'?)",
        ),
        (
            "- event: Order Completed",
            "- event: Completed Order",
            "7:12: unknown event 'Completed Order' (did you mean 'Order Completed'?)",
        ),
        (
            "goal: {event: Order Completed",
            "goal: {event: Oder Completed",
            "11:15: unknown event 'Oder Completed' (did you mean 'Order Completed'?)",
        ),
        (
            "properties.price: {gte",
            "properties.prise: {gte",
            "5:5: unknown path 'properties.prise' of Product Added"
            " (did you mean 'properties.price'?)",
        ),
        (
            "properties.products.*.sku:",
            "properties.products.sku:",
            "8:13: unknown path 'properties.products.sku' of Order Completed"
            " (did you mean 'properties.products.*.sku'?)",
        ),
        (
            "$start.properties.sku",
            "$start.properties.sk",
            "8:40: unknown path 'properties.sk' of Product Added (did you mean 'properties.sku'?)",
        ),
        (
            "per: properties.sku",
            "per: properties.skuu",
            "10:6: unknown path 'properties.skuu' of Product Added"
            " (did you mean 'properties.sku'?)",
        ),
        (
            "value: properties.revenue",
            "value: properties.revenu",
            "11:39: unknown path 'properties.revenu' of Order Completed"
            " (did you mean 'properties.revenue'?)",
        ),
        (
            "properties.price: {gte: 20}",
            "traits.ciy: Almaty",
            "5:5: unknown path 'traits.ciy' (did you mean 'traits.city'?)",
        ),
        (
            "properties.price: {gte: 20}",
            "traits.sku: a",
            "5:5: unknown path 'traits.sku' (did you mean 'properties.sku'?)",
        ),
        (
            "properties.price: {gte: 20}",
            "properties.colour: red",
            "5:5: unknown path 'properties.colour' of Product Added: catalog.yaml does not have it",
        ),
    ],
)
def test_a_misspelt_name_is_an_error_at_its_place_with_the_nearest_name(
    old: str, new: str, expected: str
) -> None:
    assert TRIGGER.count(old) == 1
    assert errors_of(TRIGGER.replace(old, new)) == [expected]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('price: "34"', "23: never holds: properties.price is a number, not the text '34'"),
        ("price: {prefix: a}", "32: never holds: properties.price is a number, not the text 'a'"),
        ('price: {gt: "a"}', "28: never holds: properties.price is a number, not the text 'a'"),
        (
            'price: {in: [1, "2", "3"]}',
            "32: never holds: properties.price is a number, not the text '2'",
        ),
        (
            'price: {not_in: ["2"]}',
            "33: always holds: properties.price is a number, not the text '2'",
        ),
        ('price: {ne: "2"}', "28: always holds: properties.price is a number, not the text '2'"),
        (
            'price: {between: ["a", "b"]}',
            "34: never holds: properties.price is a number, not the text 'a'",
        ),
        (
            "price: {contains: a}",
            "34: never holds: properties.price is a number, not a text or a list",
        ),
        (
            "price: {within_km: {lat: 1, lon: 2, km: 3}}",
            "35: never holds: properties.price is a number, not an object",
        ),
        ("price: true", "23: never holds: properties.price is a number, not true or false"),
        ("sku: {gt: 5}", "26: never holds: properties.sku is a text, not the number 5"),
        ("sku: 34", "21: never holds: properties.sku is a text, not the number 34"),
        ("sku: {contains: 3}", "32: never holds: properties.sku is a text, not a list"),
        ('gift: "true"', "22: never holds: properties.gift is true or false, not the text 'true'"),
        ("gift: {gt: 0}", "27: never holds: properties.gift is true or false, not the number 0"),
        ("tags: sale", "22: never holds: properties.tags is a list, not the text 'sale'"),
        (
            "tags: {contains: 3}",
            "33: never holds: properties.tags is a list, not a list with the number 3",
        ),
        ("tags.*: 3", "24: never holds: properties.tags.* is a text, not the number 3"),
        (
            "mixed: true",
            "23: never holds: properties.mixed is a text or a number, not true or false",
        ),
    ],
)
def test_a_comparison_that_no_seen_type_can_pass_is_an_error(condition: str, expected: str) -> None:
    text = f"id: a\nwhen:\n  event: Product Added\n  where:\n    properties.{condition}\n"
    found = errors_of(text)
    assert found[:1] == [f"5:{expected}"]


@pytest.mark.parametrize(
    "condition",
    [
        "price: {gte: 20, in: [1, 2.5], between: [1, 2], ne: 3, exists: true}",
        "price: null",
        "price: {ne: null}",
        "sku: {gt: a, prefix: b, contains: c, in: [d]}",
        "gift: {in: [true, false]}",
        "place: {within_km: {lat: 1, lon: 2, km: 3}}",
        "place: {exists: true}",
        "tags: {contains: sale}",
        "tags.*: sale",
        "mixed: {in: [1, a]}",
        "never: 3",
        "custom.anything: 3",
        "custom.deep.er: abc",
    ],
)
def test_a_comparison_that_some_seen_type_can_pass_is_accepted(condition: str) -> None:
    text = f"id: a\nwhen:\n  event: Product Added\n  where:\n    properties.{condition}\n"
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (
            "revenue: $start.properties.sku",
            "properties.revenue is a number, not a text as $start.properties.sku is",
        ),
        (
            "revenue: {gt: $start.properties.gift}",
            "properties.revenue is a number, not true or false as $start.properties.gift is",
        ),
        (
            "products.*.sku: {in: $start.properties.sku}",
            "properties.products.*.sku is a text, not in a text as $start.properties.sku is",
        ),
        (
            "products.*.price: {in: $start.properties.tags}",
            "properties.products.*.price is a number, not in a list as $start.properties.tags is",
        ),
        ("revenue: $start.properties.price", None),
        ("products.*.sku: {in: $start.properties.tags}", None),
        ("products.*.sku: $start.properties.tags.*", None),
        ("products.*.sku: {in: [$start.properties.sku, a]}", None),
        ("revenue: $start.properties.custom.x", None),
    ],
)
def test_a_reference_is_compared_by_the_types_it_leads_to(
    condition: str, expected: str | None
) -> None:
    unless = f"  event: Order Completed\n  where:\n    properties.{condition}\n"
    text = f"id: a\nwait: 1h\nwhen: {{event: Product Added}}\nunless:\n{unless}"
    found = [error.partition("never holds: ")[2] for error in errors_of(text)]
    assert found == ([] if expected is None else [expected])


def test_a_path_of_any_of_several_events_is_known_with_the_types_of_all() -> None:
    when = "id: a\nwhen: {event: [Product Added, Order Completed], where: {%s}}\n"
    assert errors_of(when % "properties.revenue: 3") == []
    assert errors_of(when % "properties.sku: a") == []
    (error,) = errors_of(when % "properties.colour: a")
    assert "unknown path 'properties.colour' of Product Added or Order Completed" in error


def test_paths_are_not_checked_where_the_catalogue_does_not_list_them() -> None:
    assert errors_of("id: a\nwhen: {event: Signed Up, where: {properties.x: 1}}\n") == []
    assert errors_of("id: a\nwhen: {event: Signed Up, where: {context.x: 1}}\n") == []
    assert len(errors_of("id: a\nwhen: {event: Signed Up, where: {traits.x: 1}}\n")) == 1


def test_an_open_catalogue_knows_that_there_is_more() -> None:
    trigger = "id: a\nwhen: {event: Product Aded, where: {properties.x: 1}}\n"
    assert len(errors_of(trigger)) == 1
    assert errors_of(trigger, CATALOG + "open: true\n") == []
    added = trigger.replace("Aded", "Added")
    assert len(errors_of(added)) == 1
    assert errors_of(added, CATALOG.replace("Added:\n", "Added:\n    open: true\n")) == []


def test_without_a_catalogue_a_slip_in_a_built_in_name_is_a_hint_and_others_pass() -> None:
    slip = "id: a\nwhen: {event: Order Complted}\n"
    assert hints_of(slip) == [
        "2:15: 'Order Complted' is no name of the ecommerce spec (did you mean 'Order Completed'?)"
    ]
    for own in ("Order Delivered", "Form Started", "Product Rated", "Order", "Kettle Viewed"):
        assert hints_of(f"id: a\nwhen: {{event: {own}}}\n") == []
    where = "id: a\nwhen: {event: Product Added, where: {properties.%s}}\n"
    for own in ("own_thing", "size", "colour", "store_id"):
        assert hints_of(where % f"{own}: 3") == []
    assert hints_of(where % "pice: 3") == [
        "2:38: unknown path 'properties.pice' of Product Added (did you mean 'properties.price'?)"
    ]
    assert hints_of(where % 'price: "34"') == [
        "2:56: never holds by the ecommerce spec: properties.price is a number, not the text '34'"
    ]


def test_no_name_of_the_spec_is_taken_for_a_slip_of_another() -> None:
    for name in ECOMMERCE.events:
        assert catalog_hints({"when": {"event": name}}, None) == []


@pytest.mark.parametrize(("old", "new"), sorted(ALIASES.items()))
def test_a_version_1_name_without_a_catalogue_is_a_hint_to_its_version_2_name(
    old: str, new: str
) -> None:
    (hint,) = hints_of(f"id: a\nwhen: {{event: {old}}}\n")
    assert hint.endswith(f"'{old}' is the version 1 name of '{new}': name what is really sent")


@pytest.mark.parametrize(("old", "new"), sorted(ALIASES.items()))
def test_of_an_alias_only_the_name_that_is_sent_is_accepted(old: str, new: str) -> None:
    for sent, other in ((old, new), (new, old)):
        catalog = f"events: {{{sent}: , Zzz: }}\n"
        assert errors_of(f"id: a\nwhen: {{event: {sent}}}\n", catalog) == []
        (error,) = errors_of(f"id: a\nwhen: {{event: {other}}}\n", catalog)
        assert error == f"2:15: unknown event '{other}' (did you mean '{sent}'?)"


def test_where_both_names_of_an_event_are_sent_naming_one_of_them_is_a_hint() -> None:
    catalog = "events: {Product Added: , Order Completed: , Completed Order: }\n"
    text = "id: a\nwhen: {event: Product Added}\nwait: 1h\nunless: %s\n"
    assert hints_of(text % "{event: Order Completed}", catalog) == [
        "4:17: 'Completed Order' is sent too and means the same: [Order Completed, Completed Order]"
    ]
    assert hints_of(text % "{event: [Order Completed, Completed Order]}", catalog) == []
    assert hints_of(text % "[{event: Order Completed}, {event: Completed Order}]", catalog) == []


def test_counts_sequences_and_nths_are_checked_step_by_step() -> None:
    text = """\
id: a
when:
  sequence:
    - {event: Product Added}
    - {event: Order Completed, where: {properties.products.*.sku: $start.properties.skq}}
  within: 1h
---
id: b
when: {event: Product Added, count: 3, within: 24h, distinct: properties.sku, same: properties.gft}
---
id: c
when: {event: Product Aded, nth: 2}
"""
    assert [error.partition(" of ")[0] for error in errors_of(text)] == [
        "5:67: unknown path 'properties.skq'",
        "9:85: unknown path 'properties.gft'",
        "12:15: unknown event 'Product Aded' (did you mean 'Product Added'?)",
    ]


def problems(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    catalog, found = parse_catalog(json.loads(json.dumps(CATALOG_DOCUMENT)))
    assert catalog is not None, found
    return [problem.location for problem in catalog_problems(document, catalog)]


CATALOG_DOCUMENT = {
    "events": {
        "A": {"paths": {"properties.x": "number"}},
        "B": {"paths": {"properties.y": "string"}},
    },
    "shared": {"paths": {"traits.city": "string"}},
}


def test_every_pattern_with_events_is_checked_wherever_they_stand() -> None:
    steps = [{"event": "A"}, {"event": "C", "where": {"properties.y": "$start.properties.z"}}]
    assert problems({"when": {"sequence": steps, "within": "1h"}}) == [
        ("when", "sequence", 1, "event"),
        ("when", "sequence", 1, "where", "properties.y"),
    ]
    count = {"event": "B", "count": 3, "distinct": "properties.x", "same": "properties.y"}
    assert problems({"when": count}) == [("when", "distinct")]
    did = {"did": {"event": "C", "within": "30d"}, "traits.ciy": "a", "segment": "loyal"}
    assert problems({"when": {"idle": "7d"}, "audience": did}) == [
        ("audience", "did", "event"),
        ("audience", "traits.ciy"),
    ]
    assert problems({"when": {"trait": "ciy"}}) == [("when", "trait")]
    assert problems({"when": {"date": "traits.ciy"}}) == [("when", "date")]
    grouped = {"any": [{"not": {"properties.x": "a"}}, {"all": [{"properties.q": 1}]}]}
    assert problems({"when": {"event": "A", "where": grouped}}) == [
        ("when", "where", "any", 0, "not", "properties.x"),
        ("when", "where", "any", 1, "all", 0, "properties.q"),
    ]


@pytest.mark.skipif(not SPEC.exists(), reason="the spec's page does not lie beside the checkout")
def test_the_built_in_names_are_those_of_the_spec() -> None:
    spec = json.loads(SPEC.read_text())
    types = {"String": "string", "Number": "number", "Array": "list"}
    assert {alias["v1"]: alias["v2"] for alias in spec["aliases"]} == ALIASES
    assert {event["event"] for event in spec["events"]} == ECOMMERCE.events.keys()
    for event in spec["events"]:
        paths = ECOMMERCE.events[event["event"]].paths
        assert paths is not None
        for found in event["properties"]:
            path = f"properties.{found['name'].replace('$', '*')}"
            assert list(paths[path].types) == [types[found["type"]]], (event["event"], path)


SAYS = """\
id: a
when:
  sequence: [{event: Product Added}, {event: Order Completed}]
  within: 1h
message:
  link: "app://{{ LINK }}"
  push:
    title: {en: "{{ TITLE }}", ru: "Привет"}
    body: "{{ BODY }}"
"""


def said(link: str = "trigger.id", title: str = "trigger.id", body: str = "trigger.id") -> str:
    found = SAYS.replace("LINK", link).replace("TITLE", title)
    return found.replace("BODY", body)


@pytest.mark.parametrize(
    "text",
    [
        "start.properties.sku",
        "event.properties.revenue",
        "event.properties.products.size",
        "event.properties.products.first.sku",
        "start.properties.custom.anything",
        "event.context.locale",
        "start.traits.city",
        "start.properties.sku | default: 'x'",
    ],
)
def test_a_text_may_name_what_the_catalogue_has(text: str) -> None:
    assert errors_of(said(text, text, text)) == []


def test_a_path_in_a_text_that_its_event_does_not_have_is_an_error_at_the_text() -> None:
    unknown = "unknown path 'properties.prise' of Product Added (did you mean 'properties.price'?)"
    assert errors_of(said(link="start.properties.prise")) == [f"6:9: {unknown}"]
    assert errors_of(said(title="start.properties.prise | round")) == [f"8:17: {unknown}"]
    (other,) = errors_of(said(body="event.properties.sku"))
    assert other.startswith("9:11: unknown path 'properties.sku' of Order Completed")
    (trait,) = errors_of(said(body="start.traits.town"))
    assert trait.startswith("9:11: unknown path 'traits.town'")


def test_a_text_about_what_is_no_event_of_the_client_may_name_anything() -> None:
    signal = "id: a\nwhen: {signal: churn-risk}\n"
    says = 'message: {push: {title: t, body: "{{ start.properties.score }}"}}\n'
    assert errors_of(signal + says) == []


def test_texts_of_variants_and_series_are_checked_too_and_a_message_may_be_named_title() -> None:
    series = (
        "id: a\nwhen: {event: Product Added}\nseries: [{after: 1h, message: title}]\n"
        "messages:\n  title: {push: {title: '{{ start.properties.nome }}', body: b}}\n"
        "experiment: {variants: {v: {weight: 100%, set: {link: '{{ start.properties.nome }}'}}}}\n"
    )
    assert [error.split(":")[0] for error in errors_of(series)] == ["5", "6"]


SEGMENTS = """\
loyal: {did: {event: Order Completed, where: {properties.revenue: {gte: 5}}, within: 90d}}
local: {any: [{traits.city: Almaty}, {traits.age: {gte: 18}}]}
groups: {lifecycle: {exclusive: [loyal, local]}}
features:
  dear: {compute: top, of: properties.sku, event: Product Added, where: {properties.price: {gt: 9}}}
"""
RELATIONS = """\
cart:
  add: [Product Added, {event: Product Added, where: {properties.gift: true}}]
  remove: [Order Completed, {event: Signed Up, all: true}]
  item: properties.sku
"""


def shared_errors_of(segments: str = SEGMENTS, relations: str = RELATIONS) -> list[str]:
    files = {"triggers/a.yaml": TRIGGER, "catalog.yaml": CATALOG}
    try:
        load_workspace({**files, "segments.yaml": segments, "relations.yaml": relations})
    except DefinitionErrors as error:
        return [str(found) for found in error.errors]
    return []


def test_shared_definitions_may_name_what_the_catalogue_has() -> None:
    assert shared_errors_of() == []


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("Order Completed", "Order Complted", 1, "unknown event 'Order Complted' (did you"),
        ("properties.revenue", "properties.revenu", 1, "unknown path 'properties.revenu' of"),
        ("{gte: 5}", "high", 1, "never holds: properties.revenue is a number"),
        ("traits.city", "traits.cty", 2, "unknown path 'traits.cty' (did you mean"),
        ("of: properties.sku", "of: properties.sko", 5, "unknown path 'properties.sko' of"),
        ("event: Product Added", "event: Product Aded", 5, "unknown event 'Product Aded'"),
        ("properties.price", "properties.prise", 5, "unknown path 'properties.prise' of"),
    ],
)
def test_a_segment_or_feature_is_held_against_the_catalogue(
    old: str, new: str, line: int, expected: str
) -> None:
    assert SEGMENTS.count(old) == 1
    (error,) = shared_errors_of(segments=SEGMENTS.replace(old, new))
    assert error.startswith(f"segments.yaml:{line}:")
    assert expected in error


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("[Product Added, {", "[Product Aded, {", 2, "unknown event 'Product Aded' (did you"),
        ("{event: Product Added", "{event: Product Aded", 2, "unknown event 'Product Aded'"),
        ("properties.gift", "properties.gft", 2, "unknown path 'properties.gft' of"),
        ("Signed Up", "Signed Upp", 3, "unknown event 'Signed Upp' (did you"),
        ("properties.sku", "properties.sko", 4, "unknown path 'properties.sko' of Product"),
    ],
)
def test_a_relation_is_held_against_the_catalogue(
    old: str, new: str, line: int, expected: str
) -> None:
    errors = shared_errors_of(relations=RELATIONS.replace(old, new))
    assert all(error.startswith(f"relations.yaml:{line}:") for error in errors)
    assert any(expected in error for error in errors)


def test_an_error_in_shared_definitions_stands_at_its_column() -> None:
    misspelt = SEGMENTS.replace("Order Completed", "Order Complted")
    assert shared_errors_of(segments=misspelt)[0].startswith("segments.yaml:1:22: unknown event")
    misspelt = RELATIONS.replace("item: properties.sku", "item: properties.sko")
    assert shared_errors_of(relations=misspelt)[0].startswith("relations.yaml:4:9: unknown path")


def test_an_item_may_stand_in_the_products_of_an_event_and_everything_may_be_removed() -> None:
    listed = RELATIONS.replace("[Order Completed, ", "[").replace(
        "Product Added", "Order Completed"
    )
    listed = listed.replace("properties.gift: true", "properties.revenue: 1")
    assert shared_errors_of(relations=listed) == []


def test_without_a_catalogue_a_slip_in_shared_definitions_is_a_hint() -> None:
    files = {"triggers/a.yaml": "id: a\nwhen: {event: Product Added}\n"}
    relations = RELATIONS.replace("Order Completed", "Order Complted")
    found = load_workspace({**files, "relations.yaml": relations}).hints
    assert [str(hint) for hint in found] == [
        "relations.yaml:3:12: 'Order Complted' is no name of the ecommerce spec "
        "(did you mean 'Order Completed'?)"
    ]
