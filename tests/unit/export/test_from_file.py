"""The decisions of a backtest in a folder, by the command."""

import gzip
import json
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock, patch

import duckdb
import pytest
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.export import folder as folders
from engine.export.manifest import write_manifest
from engine.export.rows import OUTCOMES, BadRow
from schemas.decisions import Decision, decision_row
from schemas.reasons import Outcome
from tests.unit.export.records import DAY_MS, T0_MS, stored


def rows(count: int) -> bytes:
    """What `backtest --decisions` writes."""
    decisions = [
        Decision("cart", f"u{n}", f"m{n}", T0_MS + n * DAY_MS // 4, Outcome.ADMITTED, start=f"m{n}")
        for n in range(count)
    ]
    return b"".join(json.dumps(decision_row(d)).encode() + b"\n" for d in decisions)


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def test_a_file_is_added_once_packed_or_not(tmp_path: Path) -> None:
    file, packed, other = tmp_path / "d.jsonl", tmp_path / "d.jsonl.gz", tmp_path / "e.jsonl"
    file.write_bytes(rows(10))
    packed.write_bytes(gzip.compress(rows(10)))
    other.write_bytes(rows(3))
    out = tmp_path / "out"
    answers = [
        json.loads(tripline("export", out, "--from-file", path, "-o", "json").stdout)
        for path in (file, file, packed, other)
    ]
    assert [answer["exports"]["decisions"]["rows"] for answer in answers] == [10, 0, 0, 3]
    assert answers[0] == {
        "version": 1,
        "exports": {"decisions": {"rows": 10, "files": 3, "repeated": 0, "lost": 0}},
    }
    found = stored(
        out / "decisions", "day, source_offset, user_id, revision, delivery_id, source_partition"
    )
    assert len(found) == 13
    assert [str(row[0]) for row in found if row[1] == 2] == ["2026-01-05", "2026-01-05"]
    assert {row[3:] for row in found} == {(None, None, None)}


def test_an_interrupted_file_is_gone_on_with(tmp_path: Path) -> None:
    file, out = tmp_path / "d.jsonl", tmp_path / "out"
    file.write_bytes(rows(10))
    real, calls = write_manifest, iter(range(100))

    def dies(*arguments: object) -> None:
        if next(calls) == 2:
            raise OSError("the disk is full")
        real(*arguments)  # type: ignore[arg-type]

    with (
        patch.object(folders, "CHUNK_ROWS_MAX", 2),
        patch.object(folders, "write_manifest", dies),
    ):
        tripline("export", out, "--from-file", file, code=2)
    tripline("export", out, "--from-file", file)
    assert stored(out / "decisions", "source_offset") == [(n,) for n in range(10)]


def test_a_disk_that_is_full_when_the_parquet_is_written_is_said_in_a_line(tmp_path: Path) -> None:
    file, out = tmp_path / "d.jsonl", tmp_path / "out"
    file.write_bytes(rows(10))
    database = Mock()
    database.execute.side_effect = duckdb.IOException("no space left")
    with patch.object(folders, "connect", lambda: database):
        answer = tripline("export", out, "--from-file", file, code=2)
    assert answer.stderr.endswith("parquet.unfinished: cannot be written: no space left\n")
    tripline("export", out, "--from-file", file)
    assert len(stored(out / "decisions")) == 10


def test_lines_that_are_no_decision_are_told_and_end_with_1(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_bytes(rows(2) + b'{"trigger": 1}\n')
    answer = tripline("export", tmp_path / "out", "--from-file", file, code=1)
    assert f"{file}:3:" in answer.stderr
    assert len(stored(tmp_path / "out" / "decisions")) == 2


def test_a_number_that_no_column_holds_costs_its_row_alone(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    good = json.loads(rows(1))
    numbers = [2**31 - 1, 2**31, 2**70, -(2**31) - 1]
    lines = [json.dumps({**good, "revision": number}) for number in numbers]
    file.write_text("\n".join(lines))
    answer = tripline("export", tmp_path / "out", "--from-file", file, code=1)
    assert f"{file}:2: Expected `int` <= 2147483647" in answer.stderr
    found = stored(tmp_path / "out" / "decisions", "source_offset, revision")
    assert found == [(0, 2**31 - 1)]
    for value, is_row in ((2**63 - 1, True), (2**63, False)):
        record: dict[str, object] = {"kind": "converted", "delivery_id": "d", "value": value}
        record |= {"trigger": "cart", "user": "u1", "at": "2026-01-05T10:00:00Z"}
        with nullcontext() if is_row else pytest.raises(BadRow):
            OUTCOMES.row(json.dumps(record).encode(), 0, 0)


def test_a_segment_file_without_a_folder_is_refused_before_kafka_is_asked(tmp_path: Path) -> None:
    out = tmp_path / "no" / "events.jsonl"
    answer = tripline("export", "--segment", out, code=2)
    assert answer.stderr == f"--segment {out}: there is no folder {out.parent}\n"


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tripline("export", code=2)
    tripline("export", "--from-file", tmp_path / "x", code=2)
    tripline("export", "--decisions", "--segment", "x.jsonl", code=2)
    tripline("export", tmp_path, "--from-file", tmp_path / "x", "--from", "1d", code=2)
    tripline("export", tmp_path, "--from", "1d", "--to", "2d", code=2)
    tripline("export", tmp_path, "--from-file", tmp_path / "nothing", code=2)
