from pathlib import Path
from typing import Any

import duckdb
import pytest

from engine.files import FileRefused, Problems, read_events
from tests.unit.files.reading import mapping, read, write
from triggers.workspace import DefinitionErrors

RULES = """user: who
time: {column: at, unit: iso}
event: what
id: nr
properties:
  sku: product_id
  price: {type: float}
  count: {name: quantity, type: int}
  gift: {type: bool}
"""
ROW = """'u' || n AS who, TIMESTAMP '2026-01-05 10:00:00' + INTERVAL (n) MILLISECOND AS "at",
    'Seen' AS what, n AS nr, 'p' || n AS sku, (n / 4)::DECIMAL(9,2) AS price, n::SMALLINT AS count,
    n = 2 AS gift"""
BASE_MS = 1_767_607_200_000


def table(path: Path, columns: str = ROW, rows: int = 3, options: str = "") -> Path:
    duckdb.execute(
        f"COPY (SELECT {columns} FROM range(1, {rows} + 1) numbers(n)) "
        f"TO '{path}' (FORMAT parquet{options})"
    )
    return path


def test_columns_become_the_fields_of_a_track_event(tmp_path: Path) -> None:
    found, counts, _ = read(table(tmp_path / "a.parquet"), mapping(tmp_path, RULES))
    assert [event.a_ms - BASE_MS for event in found] == [1, 2, 3]
    first = found[0].event
    assert (first.event, first.user_id, first.message_id) == ("Seen", "u1", "1")
    assert [event.event.properties for event in found] == [
        {"product_id": f"p{n}", "price": n / 4, "quantity": n, "gift": n == 2} for n in (1, 2, 3)
    ]
    assert counts == {}


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("TIMESTAMPTZ '2026-01-05 10:00:00.001+00'", "iso"),
        ("TIMESTAMP_NS '2026-01-05 10:00:00.001999'", "iso"),
        ("'2026-01-05T15:00:00.001+05:00'", "iso"),
        ("1767607200001", "ms"),
        ("1767607200.001::DOUBLE", "s"),
    ],
)
def test_times_are_what_the_file_keeps_them_in(tmp_path: Path, column: str, unit: str) -> None:
    path = table(tmp_path / "a.parquet", f"'u' AS who, {column} AS \"at\", 'Seen' AS what", 1)
    rules = f"user: who\ntime: {{column: at, unit: {unit}}}\nevent: what\n"
    found, _, _ = read(path, mapping(tmp_path, rules))
    assert [event.a_ms for event in found] == [BASE_MS + 1]


def test_nulls_and_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    columns = ROW.replace("'p' || n AS", "CASE n WHEN 2 THEN 'p2' END AS").replace(
        "(n / 4)::DECIMAL(9,2)", "CASE n WHEN 1 THEN 'nan'::DOUBLE WHEN 2 THEN NULL ELSE 0.5 END"
    )
    found, counts, _ = read(table(tmp_path / "a.parquet", columns), mapping(tmp_path, RULES))
    assert [
        {name: value for name, value in (event.event.properties or {}).items() if name[0] == "p"}
        for event in found
    ] == [{}, {"product_id": "p2"}, {"price": 0.5}]
    assert counts == {"BAD_VALUE": 1}


def test_a_column_without_a_value_may_be_of_no_type(tmp_path: Path) -> None:
    columns = ROW.replace("n AS nr", "NULL AS nr").replace("'p' || n AS sku", "NULL AS sku")
    columns = columns.replace("n = 2 AS gift", "NULL AS gift").replace("n::SMALLINT", "NULL")
    path = table(tmp_path / "a.parquet", columns, rows=1)
    found, counts, _ = read(path, mapping(tmp_path, RULES))
    assert [(e.event.message_id, e.event.properties) for e in found] == [("1", {"price": 0.25})]
    assert counts == {}


def test_a_column_of_another_type_or_none_is_an_error_of_the_mapping(tmp_path: Path) -> None:
    columns = ROW.replace("'u' || n AS who", "n / 2 AS who").replace("n::SMALLINT", "n::VARCHAR")
    path = table(tmp_path / "a.parquet", columns)
    with pytest.raises(DefinitionErrors) as refused:
        read(path, mapping(tmp_path, RULES))
    assert [str(error).removeprefix(f"{tmp_path}/") for error in refused.value.errors] == [
        f"mapping.yaml:1:7: column 'who' of {path} is DOUBLE, not a text or an integer",
        f"mapping.yaml:8:3: column 'count' of {path} is VARCHAR, not an integer",
    ]
    with pytest.raises(DefinitionErrors, match=r"mapping\.yaml:6:3: no column 'skuu'"):
        read(path, mapping(tmp_path, RULES.replace("sku:", "skuu:")))


def test_row_groups_are_read_one_after_the_other_with_progress(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", rows=10_000, options=", ROW_GROUP_SIZE 2048")
    seen: list[int] = []
    source = read_events(path, mapping(tmp_path, RULES), advance=seen.append)
    next(source)
    assert len(seen) == 1
    assert sum(1 for _ in source) == 9_999
    assert sum(seen) == path.stat().st_size


@pytest.mark.parametrize("name", ["a[1].parquet", "b*.parquet", "c'?.parquet"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "a.parquet").rename(tmp_path / name)
    table(tmp_path / "b1.parquet")
    assert len(read(path, mapping(tmp_path, RULES))[0]) == 3


def test_the_name_of_a_folder_is_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "at=2026-01-01" / "who=nobody"
    folder.mkdir(parents=True)
    table(folder / "a.parquet", rows=1)
    ((a_ms, event, _),) = read(tmp_path, mapping(tmp_path, RULES))[0]
    assert (a_ms, event.user_id) == (BASE_MS + 1, "u1")
    (tmp_path / "at=2026-01-01").rename(tmp_path / "day=2026-01-01")
    rules = mapping(tmp_path, RULES.replace("at,", "day,"))
    with pytest.raises(DefinitionErrors, match="no column 'day'"):
        read(tmp_path, rules)


def test_a_cut_or_damaged_file_is_counted_and_strict_refuses_it(tmp_path: Path) -> None:
    rules = mapping(tmp_path, RULES)
    whole = table(tmp_path / "a.parquet", rows=5_000, options=", ROW_GROUP_SIZE 2048").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"PAR1" + b"\0" * 50 + whole[54:]):
        path = write(tmp_path / "b.parquet", damaged)
        _, counts, said = read(path, rules)
        assert counts == {"DAMAGED": 1}
        assert said[1].startswith(f"  {path}:1: ")
        with pytest.raises(FileRefused, match="DAMAGED"):
            list(read_events(path, rules, problems=Problems(strict=True)))


def test_files_that_are_not_what_they_are_called_are_refused(tmp_path: Path) -> None:
    rules: Any = mapping(tmp_path, RULES)
    whole = table(tmp_path / "a.parquet").read_bytes()
    with pytest.raises(FileRefused, match="no Parquet"):
        read(write(tmp_path / "b.parquet", "who,at\n"), rules)
    for name in ("c.jsonl", "c.csv"):
        with pytest.raises(FileRefused, match=r"c\..*Parquet"):
            read(write(tmp_path / name, whole), rules)
    with pytest.raises(FileRefused, match="zip"):
        read(write(tmp_path / "d.csv", b"PK\x03\x04rest"), rules)
    with pytest.raises(FileRefused, match="UTF-16"):
        read(write(tmp_path / "e.csv", "who,at,what\n".encode("utf-16")), rules)
    with pytest.raises(FileRefused, match="--map"):
        read(tmp_path / "a.parquet")
