import json
from pathlib import Path
from typing import Any

from tests.unit.files.reading import mapping, read, write

RULES = """
user: actor.id
time: {column: at, unit: iso}
event: action
properties:
  item.sku: product_id
  item.price: {name: price, type: float}
  n: {type: int}
  gift: {type: bool}
"""
AT = "2026-01-05T10:00:00Z"


def events(tmp_path: Path, *rows: Any) -> tuple[list[Any], dict[str, int]]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    found, counts, _ = read(path, mapping(tmp_path, RULES))
    return [(e.event.user_id, e.event.event, e.event.properties) for e in found], counts


def test_columns_are_dotted_names_of_fields(tmp_path: Path) -> None:
    row = {"actor": {"id": "u1"}, "at": AT, "action": "Buy", "n": 3, "gift": False}
    row["item"] = {"sku": "p1", "price": 5}
    expected = {"product_id": "p1", "price": 5.0, "n": 3, "gift": False}
    assert events(tmp_path, row) == ([("u1", "Buy", expected)], {})


def test_absent_and_null_fields_are_left_out_and_a_numeric_user_is_a_text(tmp_path: Path) -> None:
    row = {"actor": {"id": 42}, "at": AT, "action": "Buy", "n": None, "item": "none"}
    assert events(tmp_path, row) == ([("42", "Buy", {})], {})


def test_types_are_not_made_up(tmp_path: Path) -> None:
    row = {"actor": {"id": "u1"}, "at": AT, "action": "Buy", "n": 1.5, "gift": 1}
    row["item"] = {"sku": 7, "price": True}
    assert events(tmp_path, row) == ([("u1", "Buy", {})], {"BAD_VALUE": 4})
    text = {"actor": {"id": "u1"}, "at": AT, "action": "Buy", "n": "12", "gift": "True"}
    assert events(tmp_path, text) == ([("u1", "Buy", {"n": 12, "gift": True})], {})
    nested = {"actor": {"id": "u1"}, "at": AT, "action": "Buy", "n": [1], "gift": {}}
    assert events(tmp_path, nested) == ([("u1", "Buy", {})], {"BAD_VALUE": 2})


def test_an_id_or_a_group_that_is_no_text_and_no_integer_counts_as_blank_and_is_said(
    tmp_path: Path,
) -> None:
    rules = RULES + "id: nr\ngroup_by: {columns: order, products: [product_id]}\n"
    good = {"actor": {"id": "u1"}, "at": AT, "action": "Buy", "item": {"sku": "p"}}
    rows = [
        {**good, "nr": 7, "order": 9},
        {**good, "nr": 7.5, "order": 9.5},
        {**good, "nr": True, "order": {"no": 9}},
        {**good, "nr": None, "order": None},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    found, counts, said = read(path, mapping(tmp_path, rules))
    assert [event.event.message_id for event in found] == ["7", "2", "3", "4"]
    assert counts == {"BAD_VALUE": 4}
    assert said[1:] == [
        f"  {path}:2: nr: 7.5",
        f"  {path}:2: order: 9.5",
        f"  {path}:3: nr: True",
        f"  {path}:3: order: an object",
    ]


def test_a_user_or_an_event_of_another_type_is_not_called_blank(tmp_path: Path) -> None:
    rows = [{"actor": {"id": 7.5}, "at": AT, "action": "Buy"}]
    rows.append({"actor": {"id": "u1"}, "at": AT, "action": ["Buy"]})
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    _, _, said = read(path, mapping(tmp_path, RULES))
    assert said[1] == f"  {path}:1: the user is 7.5, no text and no integer"
    assert said[3] == f"  {path}:2: the event is a list, no text and no integer"


def test_rows_that_are_no_event_are_counted(tmp_path: Path) -> None:
    good = {"actor": {"id": "u1"}, "at": AT, "action": "Buy"}
    found, counts = events(
        tmp_path,
        good,
        "[1]",
        "{oops",
        '{"a":' + "[" * 100_000,
        {**good, "actor": "u1"},
        {**good, "actor": {"id": {"deep": 1}}},
        {**good, "actor": {"id": True}},
        {**good, "at": 5},
        {**good, "at": [AT]},
        {**good, "at": None},
        {**good, "action": ["Buy"]},
        "",
        good,
    )
    assert len(found) == 2
    assert counts == {
        "WRONG_TYPE": 1,
        "MALFORMED_JSON": 1,
        "TOO_DEEP": 1,
        "MISSING_ID": 3,
        "BAD_TIMESTAMP": 2,
        "MISSING_TIME": 1,
        "MISSING_EVENT": 1,
    }
