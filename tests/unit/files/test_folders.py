from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files import FileRefused, Problems, Span, UnsortedError, input_bytes, read_events
from tests.unit.files.packed import pack
from tests.unit.files.reading import mapping, read, segment, write
from tests.unit.files.test_segment_lines import BASE_MS, lines

CSV_RULES = "user: who\ntime: {column: at, unit: ms}\nevent: what\n"


def ids(folder: Path, **options: object) -> list[str]:
    return [found.event.message_id for found in read(folder, **options)[0]]  # type: ignore[arg-type]


def test_files_of_a_folder_are_merged_by_append_time_and_ties_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", lines(segment(1, messageId="b1"), segment(5, messageId="b5")))
    write(tmp_path / "a.jsonl.gz", pack(lines(segment(3, messageId="a3")), "gzip"))
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "c.jsonl.zst", pack(lines(segment(5, messageId="c5")), "zstd"))
    write(tmp_path / "a2.jsonl", lines(segment(5, messageId="a5"), segment(9, messageId="a9")))
    assert ids(tmp_path) == ["b1", "a3", "a5", "b5", "c5", "a9"]


@given(files=st.lists(st.lists(st.integers(0, 30), max_size=12).map(sorted), max_size=6))
def test_a_folder_gives_what_sorting_all_of_it_gives(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("f")
    for place, times in enumerate(files):
        messages = [segment(a_ms, messageId=f"{place}.{n}") for n, a_ms in enumerate(times)]
        write(folder / f"{place}.jsonl", lines(*messages))
    if not files:
        with pytest.raises(FileRefused, match="no event files"):
            ids(folder)
        return
    entries = [(a_ms, p, n) for p, times in enumerate(files) for n, a_ms in enumerate(times)]
    expected = [f"{p}.{n}" for _, p, n in sorted(entries)]
    assert ids(folder) == ids(folder, sort=True) == expected


def test_other_files_and_hidden_ones_are_no_events(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines(segment(1)))
    for name in ("README.md", "_SUCCESS", ".a.jsonl.swp", "_old.jsonl", ".x.jsonl", "mapping.yaml"):
        write(tmp_path / name, "nonsense")
    assert read(tmp_path)[1] == {}
    assert input_bytes(tmp_path) == (tmp_path / "a.jsonl").stat().st_size


def test_a_missing_message_id_in_a_folder_names_the_file_and_the_row(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines(segment(1), segment(2, messageId="")))
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "b.jsonl", lines(segment(2, messageId="")))
    assert ids(tmp_path) == ["m1", "a.jsonl:2", "d/b.jsonl:1"]
    assert ids(tmp_path, span=Span(BASE_MS + 2)) == ["a.jsonl:2", "d/b.jsonl:1"]


def test_a_file_out_of_order_in_a_folder_is_refused_or_sorted(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines(segment(4), segment(2)))
    write(tmp_path / "b.jsonl", lines(segment(3)))
    with pytest.raises(UnsortedError, match=r"a\.jsonl:2: appended 2 ms before"):
        ids(tmp_path)
    assert ids(tmp_path, sort=True) == ["m2", "m3", "m4"]
    assert ids(tmp_path, any_order=True) == ["m4", "m2", "m3"]


def test_too_many_files_of_the_same_time_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.files.source.OPEN_FILES_MAX", 2)
    for name in "abc":
        write(tmp_path / f"{name}.jsonl", lines(segment(1, messageId=name), segment(9)))
    with pytest.raises(FileRefused, match="--sort"):
        ids(tmp_path)
    assert ids(tmp_path, sort=True)[:3] == ["a", "b", "c"]
    for place, name in enumerate("abc"):
        write(tmp_path / f"{name}.jsonl", lines(segment(place, messageId=name)))
    assert ids(tmp_path) == ["a", "b", "c"]


def test_what_is_wrong_with_a_file_without_events_is_counted_once(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "nonsense\n" * 3)
    write(tmp_path / "b.jsonl", lines(segment(1)) + b"nonsense\n")
    assert read(tmp_path)[1] == {"MALFORMED_JSON": 4}
    problems = Problems()
    assert len(list(read_events(tmp_path, problems=problems))) == 1
    assert problems.rows == 5


@given(data=st.data())
def test_histories_read_in_ranges_number_their_rows_as_in_one_reading(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("f")
    times = sorted(data.draw(st.lists(st.integers(0, 20), max_size=20)))
    parts = [f"u,{a_ms},Seen" if data.draw(st.booleans()) else "u,1" for a_ms in times]
    csv = write(folder / "a.csv", "who,at,what\n" + "".join(f"{part}\n" for part in parts))
    rules = mapping(folder, CSV_RULES)
    jsonl = write(
        folder / "a.jsonl",
        lines(
            *(
                segment(a_ms, messageId="") if part[-1] == "n" else b"{"
                for a_ms, part in zip(times, parts, strict=True)
            )
        ),
    )
    cuts = sorted(data.draw(st.lists(st.integers(-1, 22), max_size=3)))
    for path, used, base_ms in ((csv, rules, 0), (jsonl, None, BASE_MS)):
        whole = [(e.a_ms, e.event.message_id) for e in read_events(path, used)]
        found, row_from = [], 0
        bounds = [None, *(base_ms + cut for cut in cuts), None]
        for from_ms, to_ms in pairwise(bounds):
            problems = Problems()
            span = Span(from_ms, to_ms)
            part = read_events(path, used, span=span, row_from=row_from, problems=problems)
            found += [(e.a_ms, e.event.message_id) for e in part]
            row_from += problems.rows
        assert found == whole
