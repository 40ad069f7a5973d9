from pathlib import Path
from typing import Any

import pytest

from engine.files import FileEvent, FileRefused, read_events
from tests.unit.files.reading import mapping, read, write

RULES = """
user: who
time: {column: at, unit: ms}
event:
  column: what
  values: {buy: Order Completed, look: Product Viewed}
id: nr
properties:
  sku: product_id
  price: {type: float}
  count: {name: quantity, type: int}
  gift: {type: bool}
blank: ["(not set)", "NULL"]
"""
HEADER = "who,at,what,nr,sku,price,count,gift\n"


def rows(tmp_path: Path, text: str | bytes, rules: str = RULES, **options: Any) -> Any:
    content = text if isinstance(text, bytes) else text.encode()
    path = write(tmp_path / options.pop("name", "a.csv"), content)
    return read(path, mapping(tmp_path, rules), **options)


def properties(found: list[FileEvent]) -> list[dict[str, Any] | None]:
    return [event.event.properties for event in found]


def test_columns_become_the_fields_of_a_track_event(tmp_path: Path) -> None:
    found, counts, _ = rows(tmp_path, HEADER + "u1,1000,buy,n7,p1,9.50,2,true\n")
    ((a_ms, event, raw),) = found
    assert (a_ms, event.type, event.event, event.user_id) == (
        1_000,
        "track",
        "Order Completed",
        "u1",
    )
    assert (event.message_id, raw) == ("n7", None)
    assert event.properties == {"product_id": "p1", "price": 9.5, "quantity": 2, "gift": True}
    assert [type(value) for value in event.properties.values()] == [str, float, int, bool]
    assert counts == {}


def test_blank_cells_are_left_out_and_a_blank_id_is_the_number_of_the_row(tmp_path: Path) -> None:
    text = HEADER + "u1,1,look,a,,NULL,,(not set)\nu1,2,look,,p1,,,\n"
    found, counts, _ = rows(tmp_path, text)
    assert properties(found) == [{}, {"product_id": "p1"}]
    assert [event.event.message_id for event in found] == ["a", "2"]
    carried, _, _ = rows(tmp_path, text, row_from=10)
    assert carried[1].event.message_id == "12"
    assert counts == {}


def test_several_id_columns_are_one_id_when_all_are_filled(tmp_path: Path) -> None:
    text = HEADER + "u1,1,look,a,p1,,,\nu1,2,look,a,,,,\n"
    found, _, _ = rows(tmp_path, text, RULES.replace("id: nr", "id: [nr, sku]"))
    assert [event.event.message_id for event in found] == ["a:p1", "2"]


def test_an_id_of_the_engines_own_events_leaves_the_row_out_as_the_log_does(
    tmp_path: Path,
) -> None:
    text = HEADER + "u1,1,look,tripline:1,,,,\nu1,2,look,tripline,,,,\nu1,3,look,b,,,,\n"
    found, counts, said = rows(tmp_path, text)
    assert [event.event.message_id for event in found] == ["tripline", "b"]
    assert counts == {"OWN_EVENT": 1}
    assert said[1].startswith(f"  {tmp_path}/a.csv:2: ")


def test_other_values_keep_their_name_or_are_left_out(tmp_path: Path) -> None:
    text = HEADER + "u1,1,jump,,,,,\nu1,2,buy,,,,,\n"
    kept, _, _ = rows(tmp_path, text)
    assert [event.event.event for event in kept] == ["jump", "Order Completed"]
    rules = RULES.replace("id: nr", "  others: leave_out\nid: nr")
    left, counts, _ = rows(tmp_path, text, rules)
    assert [event.event.event for event in left] == ["Order Completed"]
    assert counts == {}


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        ("9,5", "price"),
        ("nan", "price"),
        ("inf", "price"),
        ("1e999", "price"),
        ("1_0.0", "price"),
        ("1.5", "count"),
        ("1_000", "count"),
        ("9223372036854775808", "count"),
        ("9" * 5_000, "count"),
        ("yes", "gift"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_left_out_and_counted_and_the_event_stays(
    tmp_path: Path, cell: str, column: str
) -> None:
    cells = {"who": "u1", "at": "1", "what": "buy", "sku": "p1", column: f'"{cell}"'}
    names = HEADER.strip().split(",")
    found, counts, said = rows(
        tmp_path, HEADER + ",".join(cells.get(name, "") for name in names) + "\n"
    )
    assert properties(found) == [{"product_id": "p1"}]
    assert counts == {"BAD_VALUE": 1}
    assert f"{tmp_path}/a.csv:2: " in said[1]


def test_rows_that_are_no_event_are_left_out_and_counted(tmp_path: Path) -> None:
    text = (
        HEADER
        + "u1,1,buy,,,,,\n"
        + ",2,buy,,,,,\n"
        + "u1,,buy,,,,,\n"
        + "u1,soon,buy,,,,,\n"
        + "u1,-5,buy,,,,,\n"
        + "u1,99999999999999999,buy,,,,,\n"
        + "u1,253402214400000,buy,,,,,\n"
        + "u1,3,,,,,,\n"
        + f"{'u' * 257},3,buy,,,,,\n"
        + "u1,3,buy\n"
        + "u1,3,buy,,,,,,,,\n"
        + "\n"
        + "u1,4,buy,,,,,\n"
    )
    found, counts, said = rows(tmp_path, text)
    assert [event.a_ms for event in found] == [1, 4]
    assert counts == {
        "MISSING_ID": 1,
        "MISSING_TIME": 1,
        "BAD_TIMESTAMP": 4,
        "MISSING_EVENT": 1,
        "ID_TOO_LONG": 1,
        "BAD_ROW": 2,
    }
    assert f"  {tmp_path}/a.csv:11: 3 columns, the header has 8" in said
    assert found[1].event.message_id == "12"


def test_quoted_cells_hold_commas_quotes_and_newlines(tmp_path: Path) -> None:
    text = HEADER + 'u1,1,look,,"a ""b"", c\nd",,,\nu1,2,look,,e,,,\n'
    found, counts, _ = rows(tmp_path, text)
    assert properties(found) == [{"product_id": 'a "b", c\nd'}, {"product_id": "e"}]
    assert counts == {}


def test_a_quote_that_never_closes_is_counted_and_what_came_before_is_read(
    tmp_path: Path,
) -> None:
    text = HEADER + "u1,1,look,,a,,,\n" + 'u1,2,look,,"' + "b\n" * 200_000
    found, counts, said = rows(tmp_path, text)
    assert [event.a_ms for event in found] == [1]
    assert counts["BAD_ROW"] > 0
    assert said[1].startswith(f"  {tmp_path}/a.csv:3: field larger than field limit")
    _, _, said = rows(tmp_path, HEADER + 'u1,1,look,,"a,,,\n' + "u1,2,look,,a,,,\n" * 9)
    assert said == ["BAD_ROW: 1", f"  {tmp_path}/a.csv:2: unexpected end of data"]


def test_windows_line_ends_and_a_byte_order_mark_do_not_show(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + (HEADER + "u1,1,buy,,p1,,,\n").replace("\n", "\r\n").encode()
    found, counts, _ = rows(tmp_path, text)
    assert properties(found) == [{"product_id": "p1"}]
    assert counts == {}


def test_bytes_that_are_no_text_are_replaced_and_counted(tmp_path: Path) -> None:
    found, counts, _ = rows(tmp_path, HEADER.encode() + b"u1,1,buy,,caf\xe9,,,\n")
    assert properties(found) == [{"product_id": "caf�"}]
    assert counts == {"NOT_UTF8": 1}


def test_delimiters_are_the_mappings_and_tabs_in_a_tsv(tmp_path: Path) -> None:
    text = HEADER + "u1,1,buy,,p1,,,\n"
    semicolons, _, _ = rows(tmp_path, text.replace(",", ";"), RULES + 'delimiter: ";"\n')
    tabs, _, _ = rows(tmp_path, text.replace(",", "\t"), name="a.tsv")
    assert properties(semicolons) == properties(tabs) == [{"product_id": "p1"}]


@pytest.mark.parametrize(
    ("unit", "cell", "a_ms"),
    [
        ("ms", "1470034812001", 1_470_034_812_001),
        ("s", "1470034812.001", 1_470_034_812_001),
        ("s", "1470034812", 1_470_034_812_000),
        ("iso", "2016-08-01T07:00:12.001Z", 1_470_034_812_001),
        ("iso", "2016-08-01 12:00:12.001999+05:00", 1_470_034_812_001),
        ("iso", "2016-08-01 07:00", 1_470_034_800_000),
    ],
)
def test_times_have_a_unit(tmp_path: Path, unit: str, cell: str, a_ms: int) -> None:
    rules = RULES.replace("unit: ms", f"unit: {unit}")
    found, _, _ = rows(tmp_path, HEADER + f"u1,{cell},buy,,,,,\n", rules)
    assert [event.a_ms for event in found] == [a_ms]


def test_an_event_the_log_would_refuse_for_its_size_is_counted(tmp_path: Path) -> None:
    text = HEADER + f'u1,1,buy,,"{"я" * 40_000}",,,\nu1,2,buy,,{"я" * 20_000},,,\n'
    found, counts, _ = rows(tmp_path, text)
    assert [event.a_ms for event in found] == [2]
    assert counts == {"TOO_LARGE": 1}


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    for content in ("", "\n", '"' + "x" * 200_000):
        path = write(tmp_path / "a.csv", content)
        with pytest.raises(FileRefused, match=r"a\.csv:1: "):
            list(read_events(path, mapping(tmp_path, RULES)))
