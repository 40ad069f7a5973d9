"""Whatever happens to a file: events, counted problems, or a refusal; never another exception."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.files import FileEvent, FileRefused, Problems, read_events, to_segment
from engine.files.numbering import EVERYTHING, Numbering
from engine.files.rows import Block, RowMapper
from tests.unit.files.packed import pack
from tests.unit.files.reading import mapping, segment, write
from tests.unit.files.test_parquet import RULES, table
from triggers.workspace import DefinitionErrors

HISTORY = b"".join(segment(n, properties={"n": n * 7919, "s": "a,b"}) + b"\n" for n in range(60))
CSV = b"who,at,what,nr,sku,price,count,gift\n" + b"".join(
    b'u%d,2026-01-05T10:00:%02dZ,Seen,,"p, %d",%d.5,%d,true\n' % (n % 5, n, n, n, n)
    for n in range(60)
)
SORTS: tuple[dict[str, Any], ...] = ({}, {"sort": True}, {"sort": True, "sort_events_max": 7})


def read_all(path: Path, rules: str | None, sort: int) -> tuple[list[FileEvent], Problems]:
    problems = Problems()
    found: list[FileEvent] = []
    columns = None if rules is None else mapping(path.parent, rules)
    with suppress(FileRefused, DefinitionErrors):
        found += read_events(path, columns, problems=problems, **SORTS[sort])
    return found, problems


@st.composite
def damage(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, flipped, doubled, swapped or overwritten somewhere."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["cut", "flip", "insert", "remove", "repeat"])):
            case "cut":
                del data[at:]
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "repeat":
                data[at:at] = data[at : at + 60]
    return bytes(data)


@settings(max_examples=150)
@given(data=st.data(), packing=st.sampled_from(["plain", "gzip", "zstd"]), sort=st.integers(0, 2))
def test_damaged_lines_are_counted(data: st.DataObject, packing: str, sort: int) -> None:
    name, whole, rules = data.draw(
        st.sampled_from([("a.jsonl", HISTORY, None), ("a.csv", CSV, RULES), ("a.x", CSV, RULES)])
    )
    damaged = data.draw(damage(pack(whole, packing)))
    with TemporaryDirectory() as folder:
        found, problems = read_all(write(Path(folder) / name, damaged), rules, sort)
    assert sorted(event.a_ms for event in found) == [event.a_ms for event in found]
    assert sum(problems.counts.values()) >= len(problems.examples)


@settings(max_examples=80)
@given(data=st.data(), sort=st.integers(0, 2))
def test_damaged_tables_are_counted(data: st.DataObject, sort: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        write(path, data.draw(damage(table(path, rows=40).read_bytes())))
        found, _ = read_all(path, RULES, sort)
    assert sorted(event.a_ms for event in found) == [event.a_ms for event in found]


_CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "1", "1_0", "12", "1.5", "nan", "true", "u1", "2026-01-05", "x" * 300]),
)
_RULES_OF_ROWS = """
user: a
time: {column: b, unit: UNIT}
event: {column: c, values: {x: Seen}, OTHERS}
id: IDS
properties: {d: {}, e: {type: int}, f: {type: float}, g: {type: bool}}
"""


@settings(max_examples=150)
@given(
    rows=st.lists(st.lists(_CELLS, min_size=7, max_size=7), min_size=1, max_size=12),
    unit=st.sampled_from(["ms", "s", "iso"]),
    others=st.sampled_from(["others: keep", "others: leave_out", 'prefixes: {u: Up, "": Any}']),
    id_columns=st.sampled_from(["a", "[a, d]"]),
)
def test_a_block_of_rows_gives_what_each_row_gives_by_itself(
    rows: list[list[object]], unit: str, others: str, id_columns: str
) -> None:
    text = _RULES_OF_ROWS.replace("UNIT", unit).replace("OTHERS", others)
    with TemporaryDirectory() as folder:
        rules = mapping(Path(folder), text.replace("IDS", id_columns)).rules

    def mapped(blocks: list[list[list[object]]]) -> tuple[list[object], list[object]]:
        mapper = RowMapper(rules, list("abcdefg"), Numbering(0, EVERYTHING))
        events: list[object] = []
        wrong: list[object] = []
        line = 0
        for block in blocks:
            count = len(block)
            lines = range(line + 1, line + count + 1)
            made, problems = mapper.map(Block(block, range(count), lines, count, 1_000))
            line += count
            events += zip(
                made.times, map(msgspec.to_builtins, made.events), made.lines, strict=True
            )
            wrong += problems
        return events, wrong

    assert mapped([rows]) == mapped([[row] for row in rows])


@given(st.lists(st.sampled_from([segment(1), b"{", b"", b"[1]", b'"x"', b"{}"]), max_size=12))
def test_what_is_read_can_be_written_and_read_again(parts: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.jsonl", b"\n".join(parts))
        found, problems = read_all(path, None, 0)
        again = write(
            Path(folder) / "b.jsonl",
            b"\n".join(to_segment(event, a_ms) for a_ms, event, _ in found),
        )
        assert [e.event.message_id for e in read_all(again, None, 0)[0]] == [
            e.event.message_id for e in found
        ]
    assert len(found) == parts.count(segment(1))
    blank = parts.count(b"")
    assert sum(problems.counts.values()) == len(parts) - len(found) - blank
