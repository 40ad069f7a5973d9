from pathlib import Path

import pytest

from engine.files import load_mapping, read_events
from tests.unit.files.reading import mapping, read, write
from triggers.workspace import DefinitionErrors

RULES = """user: who
time: {column: at, unit: ms}
event: what
"""


def errors(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(DefinitionErrors) as refused:
        mapping(tmp_path, text)
    return [str(error).removeprefix(f"{tmp_path}/") for error in refused.value.errors]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RULES + "grup_by: {}\n", "4:1: unknown field 'grup_by' (did you mean 'group_by'?)"),
        ("time: {column: at, unit: ms}\nevent: what\n", "1:1: `user` is missing"),
        (RULES.replace("ms}", "msec}"), "2:26: `unit` is one of ms, s, iso, not 'msec'"),
        (RULES.replace(", unit: ms", ""), "2:7: `unit` is missing"),
        (RULES + "properties:\n  sku: {type: text}\n", "5:15: `type` is one of string, int"),
        (RULES + "properties: {a: x, b: x}\n", "4:23: the property 'x' stands here twice"),
        (
            RULES + "properties: {a: price}\ngroup_by: {columns: o, products: [prise]}\n",
            "5:35: 'prise' is no property of this mapping (did you mean 'price'?)",
        ),
        (
            RULES.replace("event: what", "event: {values: {a: b}}"),
            "3:8: `event` has either `column` or `name`",
        ),
        (
            RULES.replace("event: what", "event: {name: N, values: {a: b}}"),
            "3:18: `values` needs `column`",
        ),
        (RULES + "delimiter: ab\n", "4:12: `delimiter`"),
        (RULES + "id: []\n", "4:5: `id` must not be empty"),
        (RULES + "user: twice\n", "4:1: 'user' stands here twice"),
        ("- a list\n", "1:1: must be a mapping of fields"),
        ("", "1:1: a mapping is one document"),
        ("a: [", "1:5: not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_column(
    tmp_path: Path, text: str, expected: str
) -> None:
    (error,) = errors(tmp_path, text)
    assert error.startswith(f"mapping.yaml:{expected}")


def test_all_errors_are_said_at_once(tmp_path: Path) -> None:
    text = "user: 5\ntime: {column: at, unit: h}\nevnt: what\n"
    found = errors(tmp_path, text)
    assert [error.split(":")[1] for error in found] == ["1", "1", "2", "3"]


def test_a_column_the_file_does_not_have_is_an_error_of_the_mapping(tmp_path: Path) -> None:
    rules = mapping(tmp_path, RULES + "properties: {prise: price}\n")
    path = write(tmp_path / "a.csv", "who,at,what,price\n")
    with pytest.raises(DefinitionErrors) as refused:
        list(read_events(path, rules))
    assert [str(error) for error in refused.value.errors] == [
        f"{tmp_path}/mapping.yaml:4:14: no column 'prise' in {path} (did you mean 'price'?)"
    ]


def test_a_column_the_file_has_twice_is_an_error_where_the_mapping_reads_it(
    tmp_path: Path,
) -> None:
    rules = mapping(tmp_path, RULES + "properties: {price: {type: int}}\n")
    path = write(tmp_path / "a.csv", "who,at,what,price,price,other,other\nu1,1,Seen,5,6,,\n")
    with pytest.raises(DefinitionErrors) as refused:
        list(read_events(path, rules))
    assert [str(error) for error in refused.value.errors] == [
        f"{tmp_path}/mapping.yaml:4:14: {path} has more than one column 'price'"
    ]


def test_a_mapping_that_is_no_text_or_not_there_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", write(tmp_path / "b.yaml", b"\xff\xfe\x00")):
        with pytest.raises(DefinitionErrors, match=path.name):
            load_mapping(path)


def test_json_says_the_same(tmp_path: Path) -> None:
    text = '{"user": "who", "time": {"column": "at", "unit": "s"}, "event": {"name": "Seen"}}'
    rules = load_mapping(write(tmp_path / "mapping.json", text))
    found, _, _ = read(write(tmp_path / "a.csv", "who,at\nu1,1.001\n"), rules)
    assert [(event.a_ms, event.event.event) for event in found] == [(1_001, "Seen")]
