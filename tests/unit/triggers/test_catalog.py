"""catalog.yaml: what it may say, and every mistake with its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.catalog import EVENTS_MAX, PATHS_MAX, parse_catalog
from triggers.loader import load_catalog, load_workspace
from triggers.workspace import DefinitionErrors

CATALOG = """\
events:
  Product Added:
    description: from the apps
    count: 12
    first: "2026-01-05T10:00:00.000Z"
    paths:
      properties.price: {types: {number: 10, string: 2}, examples: [20, "34"]}
      properties.at: {types: string, format: date-time}
      properties.sku: string
      properties.note:
  Order Completed:
shared:
  paths:
    traits.city: [string, "null"]
"""


def test_counts_short_forms_and_bare_names_are_read() -> None:
    catalog = load_catalog("catalog.yaml", CATALOG)
    paths = catalog.events["Product Added"].paths
    assert paths is not None
    assert paths["properties.price"].types == {"string": 2, "number": 10}
    assert paths["properties.price"].examples == (20, "34")
    assert paths["properties.sku"].types == {"string": 0}
    assert paths["properties.note"].types == {}
    assert catalog.events["Order Completed"].paths is None
    assert catalog.shared.paths["traits.city"].types == {"string": 0, "null": 0}
    assert parse_catalog(catalog.to_document()) == (catalog, [])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("count: 12", "cuont: 12", "4:5: unknown field 'cuont' (did you mean 'count'?)"),
        ("count: 12", "count: many", "4:12: `count` must be a whole number"),
        ("number: 10", "numbr: 10", "7:34: unknown type 'numbr' (did you mean 'number'?)"),
        ("number: 10", "number: -1", "7:42: a count is a whole number from 0"),
        ("sku: string", "sku: text", "9:23: unknown type 'text'"),
        ("properties.sku", "sku", "9:7: unknown path 'sku' (did you mean 'properties.sku'?)"),
        ("properties.sku", "event", "9:7: `event` is always known: leave it out"),
        ('[20, "34"]', "{}", "7:68: `examples` is a list of at most 20 values"),
        ('[20, "34"]', "[[1]]", "7:68: an example is a text, a number, true or false"),
        ("format: date-time", "format: date", "8:46: `format` is one of date-time, not 'date'"),
        ("types: string, f", "types: number, f", "8:38: the format date-time is one of strings"),
        ('"2026-01-05T10:00:00.000Z"', "yesterday", "5:12: `first`"),
        ("traits.city", "properties.city", "14:5: properties stand under their event"),
        ("shared:", "sharde:", "12:1: unknown field 'sharde' (did you mean 'shared'?)"),
        ("shared:", "---\nshared:", "13:1: a catalogue is one document"),
        ("  Order Completed:", "  Order Completed: *a", "11:20: anchors"),
    ],
)
def test_an_error_stands_at_its_line_and_column(old: str, new: str, expected: str) -> None:
    assert CATALOG.count(old) == 1
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace({"catalog.yaml": CATALOG.replace(old, new)})
    errors = [str(error) for error in caught.value.errors]
    assert any(error.startswith(f"catalog.yaml:{expected}") for error in errors), errors


def test_a_catalogue_that_cannot_be_read_refuses_no_trigger_for_its_names() -> None:
    files = {"catalog.yaml": "evnts: {}\n", "triggers/a.yaml": "id: a\nwhen: {event: Aded}\n"}
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace(files)
    assert [error.file for error in caught.value.errors] == ["catalog.yaml"]


def test_a_misspelt_catalogue_file_is_an_error() -> None:
    with pytest.raises(DefinitionErrors, match=r"catalg.yaml:1:1: .*did you mean 'catalog.yaml'"):
        load_workspace({"catalg.yaml": CATALOG})


def test_a_catalogue_is_bounded() -> None:
    many = {f"E{number}": None for number in range(EVENTS_MAX + 1)}
    (problem,) = parse_catalog({"events": many})[1]
    assert problem.location == ("events",)
    wide = {f"properties.p{number}": None for number in range(PATHS_MAX)}
    assert parse_catalog({"events": {"A": {"paths": wide}}})[1] == []
    (problem,) = parse_catalog({"events": {"A": {"paths": {**wide, "properties.q": None}}}})[1]
    assert problem.location == ("events", "A", "paths")
    full = {f"E{number}": {"paths": wide} for number in range(51)}
    (problem,) = parse_catalog({"events": full})[1]
    assert "at most 10000 paths, this has 10200" in problem.message


def test_the_catalogue_is_not_a_part_of_what_is_registered() -> None:
    trigger = "id: a\nwhen: {event: Product Added}\n"
    with_it = load_workspace({"triggers/a.yaml": trigger, "catalog.yaml": CATALOG})
    assert with_it == load_workspace({"triggers/a.yaml": trigger})


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(CATALOG) - 1),
            st.sampled_from('{}[]:,"\n \t-#&*!%0a~|>?') | st.just(""),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_catalogue_is_read_or_refused_with_places(edits: list[tuple[int, str]]) -> None:
    text = list(CATALOG)
    for at, mark in edits:
        text[at] = mark
    try:
        load_catalog("catalog.yaml", "".join(text))
    except DefinitionErrors as error:
        errors = error.errors
    else:
        return
    assert errors
    assert all(found.line > 0 and found.column > 0 for found in errors)
