"""Texts to data: YAML 1.2 and JSON, positions, and what is refused."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from triggers.source import DEPTH_MAX, FILE_BYTES_MAX, SourceError, read_source


def data_of(text: str, *, is_json: bool = False) -> Any:
    (source,) = read_source(text, is_json=is_json)
    assert source.problems == []
    return source.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("22:00", "22:00"),
        ("2026-11-01", "2026-11-01"),
        ("1_000", "1_000"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("Null", None),
        ("'null'", "null"),
        ('"12"', "12"),
        ("12", 12),
        ("-012", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ('"\\ud83d\\ude00"', "😀"),
        ("[1, a, {b: c}]", [1, "a", {"b": "c"}]),
        ("{NO: 1, 5: 2, null: 3}", {"NO": 1, "5": 2, "null": 3}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
def test_yaml_is_read_by_the_core_schema_of_1_2(text: str, value: Any) -> None:
    found = data_of(text)
    assert found == value
    assert type(found) is type(value)


def test_json_and_yaml_of_the_same_data_agree_with_an_ordinary_yaml_reader() -> None:
    text = """
a: {b: [1, 2.5, true, null, text, "quoted"], 'c d': ''}
e:
  - f: g
    h: >-
      folded
      text
  - - nested
"""
    assert data_of(text) == YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, -2.5, 1E3]}', {"a": [1, -2.5, 1000.0]}),
        ('[true, false, null, "x"]', [True, False, None, "x"]),
        ('{\n\t"a"\n:\t"\\u00e9\\ud83d\\ude00\\/\\n"}', {"a": "é😀/\n"}),
        ('{"null": "null", "{": "}", "": [[], {}]}', {"null": "null", "{": "}", "": [[], {}]}),
        ('"text"', "text"),
        ("12", 12),
    ],
)
def test_json_is_read_strictly(text: str, value: Any) -> None:
    assert data_of(text, is_json=True) == value


@pytest.mark.parametrize("is_json", [False, True])
def test_every_name_and_value_has_its_position(is_json: bool) -> None:
    text = '{"a": 1,\n  "b": [10,\n     {"c": "d"}]}'
    (source,) = read_source(text, is_json=is_json)
    assert source.keys == {("a",): (1, 2), ("b",): (2, 3), ("b", 1, "c"): (3, 7)}
    assert source.values == {
        (): (1, 1),
        ("a",): (1, 7),
        ("b",): (2, 8),
        ("b", 0): (2, 9),
        ("b", 1): (3, 6),
        ("b", 1, "c"): (3, 12),
    }


def test_the_position_of_something_absent_is_that_of_what_should_hold_it() -> None:
    (source,) = read_source("a:\n  b: {event: X}\nc: 1\n", is_json=False)
    assert source.position(("a", "missing"), at_key=False) == (2, 3)
    assert source.position(("a", "b", 0, "event", 0), at_key=False) == (2, 14)
    assert source.position(("a", "b", 0, "event"), at_key=True) == (2, 7)
    assert source.position(("c",), at_key=True) == (3, 1)
    assert source.position((), at_key=True) == (1, 1)


def test_a_file_may_hold_several_documents() -> None:
    sources = read_source("# one\na: 1\n---\n# nothing\n---\nb: 2\n", is_json=False)
    assert [source.data for source in sources] == [{"a": 1}, None, {"b": 2}]
    assert sources[2].keys == {("b",): (6, 1)}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a: &x 1", (1, 4), "anchors"),
        ("a: *x", (1, 4), "anchors"),
        ("- &a [1]\n- *a", (1, 3), "anchors"),
        ("a: !!str 1", (1, 4), "tags"),
        ("a: !thing {b: 1}", (1, 4), "tags"),
        ("? [a]\n: 1", (1, 3), "a name is text"),
        ("{[a]: 1}", (1, 2), "a name is text"),
        ("a: b: c", (1, 5), "not valid YAML: mapping values"),
        ("a: [1", (1, 6), "not valid YAML"),
        ("a:\n\t- b", (2, 1), "not valid YAML"),
        ("a: \x07", (1, 4), "not a valid character"),
        ("a: 1\nb: \ud800", (2, 4), "not a valid character"),
        ('"\\U99999999"', (1, 1), "not valid YAML"),
        ("%YAML 3.0\n---\na", (1, 1), "not valid YAML"),
        ("[" * 100_000, (1, DEPTH_MAX + 1), f"nested more than {DEPTH_MAX} deep"),
        ("- " * 100_000, (1, 2 * DEPTH_MAX + 1), f"nested more than {DEPTH_MAX} deep"),
        ("x" * (FILE_BYTES_MAX + 1), (1, 1), "at most 262144 bytes"),
    ],
)
def test_a_yaml_text_that_cannot_be_read_says_where(
    text: str, position: tuple[int, int], message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read_source(text, is_json=False)
    assert message in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", (1, 1), "not valid JSON"),
        ('{"a": 1,\n  b: 2}', (2, 3), "not valid JSON"),
        ('{"a": [1,}', (1, 10), "not valid JSON"),
        ('{"a": 1} {"b": 2}', (1, 10), "not valid JSON: Extra data"),
        ("[" * 100_000 + "]" * 100_000, (1, 1), f"nested more than {DEPTH_MAX} deep"),
        ("[" * 40 + "]" * 40, (1, DEPTH_MAX + 1), f"nested more than {DEPTH_MAX} deep"),
    ],
)
def test_a_json_text_that_cannot_be_read_says_where(
    text: str, position: tuple[int, int], message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read_source(text, is_json=True)
    assert message in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize("is_json", [False, True])
def test_faults_that_do_not_stop_the_reading_are_collected(is_json: bool) -> None:
    text = '{"a": 1, "a": 2,\n "b": 1e999, "c": "\\ud83d",\n "d": 99999999999999999999}'
    (source,) = read_source(text, is_json=is_json)
    assert source.problems == [
        ((1, 10), "'a' stands here twice"),
        ((2, 7), "the number 1e999 is out of range"),
        ((2, 19), "half a character: an escape such as \\ud83d needs its pair"),
        ((3, 7), "the number 99999999999999999999 is out of range"),
    ]


@pytest.mark.parametrize(
    ("text", "is_json"),
    [(".inf", False), ("-.INF", False), (".nan", False), ("9" * 5000, False), ("NaN", True),
     ("-Infinity", True), ("9" * 5000, True)],
)  # fmt: skip
def test_a_number_that_json_cannot_hold_is_a_fault(text: str, is_json: bool) -> None:
    (source,) = read_source(text, is_json=is_json)
    ((_, message),) = source.problems
    assert "out of range" in message
