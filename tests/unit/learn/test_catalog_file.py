"""catalog.yaml as a file: learned into, with everything people wrote left where it was."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.files import FileEvent
from engine.learn import Learned, learn, read_catalog, render_catalog, write_catalog
from schemas.events import Event
from triggers.catalog import Catalog
from triggers.loader import load_catalog
from triggers.workspace import DefinitionErrors

HAND_MADE = """\
# Ours.
events:
  # Nobody sends this one yet.
  Gift Wrapped:
  Product Added:   # by the apps
    description: 'from the "apps"'
    paths:
      # VAT included
      properties.price: {types: {number: 3}, description: in USD}  # asked
      properties.sku: string
      properties.colour:
        types: [string]
        examples: [red, 0x10, NO]
      properties.at: {types: string, format: date-time}
shared:
  paths:
    context.locale: {types: string, examples: []}
"""


def event(name: str, properties: dict[str, Any], user: str = "u1") -> FileEvent:
    made = Event("track", "m1", name, user, properties=properties, context={"locale": "ru-KZ"})
    return FileEvent(1_000, made, None)


def learned_into(text: str, *events: FileEvent) -> Learned:
    return learn(events, (load_catalog("catalog.yaml", text), text))


def test_a_hand_made_file_keeps_every_line_that_learning_does_not_change() -> None:
    properties = {"price": 3, "sku": "A1", "at": "soon", "new": True}
    result = learned_into(HAND_MADE, *(event("Product Added", properties, f"u{n}") for n in "123"))
    assert (
        result.text
        == """\
# Ours.
events:
  # Nobody sends this one yet.
  Gift Wrapped:
  Product Added:   # by the apps
    description: 'from the "apps"'
    paths:
      # VAT included
      properties.price: {types: {number: 3, integer: 3}, description: in USD, examples: [3]} # asked
      properties.sku: {types: {string: 3}, examples: ["A1"]}
      properties.colour:
        types: [string]
        examples: [red, 0x10, NO]
      properties.at: {types: {string: 3}, examples: ["soon"]}
      properties.new: {types: {boolean: 3}, examples: [true]}
    count: 3
    first: "1970-01-01T00:00:01.000Z"
    last: "1970-01-01T00:00:01.000Z"
shared:
  paths:
    context.locale: {types: {string: 3}, examples: []}
"""
    )
    assert load_catalog("catalog.yaml", result.text) == result.catalog


def test_learning_nothing_changes_nothing() -> None:
    assert learned_into(HAND_MADE).text == HAND_MADE


def test_the_same_events_give_the_same_bytes() -> None:
    events = [event(name, {"b": 1, "a": {"c": [1, "x"]}}) for name in ("B", "A", "B")]
    first = learn(events)
    assert learn(events) == first
    assert list(first.catalog.events) == ["A", "B"]
    again = learned_into(first.text, *events)
    assert again == learned_into(first.text, *events)
    assert again.catalog.events["B"].count == 4


#: Names and texts that YAML could take for something else.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
AWKWARD = st.sampled_from(
    [
        *("true", "null", "~", "1e3", "NaN", ".inf", "0x10", "2026-01-05", "'", '"', "*a", "&a"),
        *("!t", "%x", "@", "|", ">", "[", "{", ",", "?", "🛒", "=", "<<", "- a", "a: b", "a #b"),
        *(" a ", "\u2028"),
    ]
)


@settings(max_examples=80)
@given(
    st.lists(
        st.builds(
            lambda name, key, value, users: [
                event(name, {key: value}, f"u{u}") for u in range(users)
            ],
            TEXTS | AWKWARD,
            TEXTS | AWKWARD,
            TEXTS | AWKWARD | st.integers() | st.booleans() | st.floats(allow_nan=False),
            st.integers(1, 3),
        ),
        max_size=6,
    )
)
def test_whatever_was_learned_is_read_back_and_learned_into_again(
    batches: list[list[FileEvent]],
) -> None:
    events = [found for batch in batches for found in batch]
    once = learn(events)
    assert load_catalog("catalog.yaml", once.text) == once.catalog
    twice = learned_into(once.text, *events)
    assert load_catalog("catalog.yaml", twice.text) == twice.catalog
    counts = {name: entry.count for name, entry in once.catalog.events.items()}
    assert {n: entry.count for n, entry in twice.catalog.events.items()} == {
        name: 2 * count for name, count in counts.items()
    }


def test_a_file_is_replaced_only_by_a_text_that_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    assert read_catalog(path) is None
    first = learn([event("A", {"x": 1})])
    write_catalog(path, first)
    assert read_catalog(path) == (first.catalog, first.text)
    other = Learned(Catalog(), first.text, 0, 0)
    with pytest.raises(RuntimeError, match="nothing is written"):
        write_catalog(path, other)
    assert path.read_text() == first.text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_catalogue_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("evnts: {}\n")
    with pytest.raises(DefinitionErrors, match=r"catalog.yaml:1:1: unknown field 'evnts'"):
        read_catalog(path)
    path.write_bytes(b"\xff")
    with pytest.raises(DefinitionErrors, match="not UTF-8"):
        read_catalog(path)


def test_an_empty_catalogue_is_a_text_that_can_be_read() -> None:
    assert load_catalog("catalog.yaml", render_catalog(Catalog())) == Catalog()
