"""`tripline backtest` on files: range, order, strictness, and what is said about them."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.cli.history import open_history
from engine.cli.main import make_app
from engine.files import Problems
from tests.unit.files.reading import segment, write
from tests.unit.files.test_segment_lines import lines

TRIGGER = "id: seen\nstate: live\nclass: transactional\nwhen: {event: Seen}\nper: event\n"
MAPPING = "user: who\ntime: {column: at, unit: ms}\nevent: what\nproperties: {sku: {}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    write(tmp_path / "triggers" / "seen.yaml", TRIGGER)
    return tmp_path


def backtest(folder: Path, events: object, *more: object, code: int = 0) -> Result:
    arguments = ["backtest", str(folder), "--events", str(events), "-o", "json", *map(str, more)]
    answer = CliRunner().invoke(make_app(), arguments)
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    assert "Traceback" not in answer.output
    return answer


def admitted(answer: Result) -> int:
    found: int = json.loads(answer.stdout)["triggers"]["seen"]["admitted"]
    return found


def test_from_and_to_are_times_or_durations_before_now(folder: Path) -> None:
    events = write(folder / "a.jsonl", lines(*(segment(n * 1_000) for n in range(10))))
    assert admitted(backtest(folder, events)) == 10
    within = ("--from", "2026-01-05T10:00:02Z", "--to", "2026-01-05T15:00:05+05:00")
    assert admitted(backtest(folder, events, *within)) == 3
    assert admitted(backtest(folder, events, "--from", "3650d")) == 10
    answer = backtest(folder, events, "--to", "2020-01-01")
    assert (admitted(answer), "nothing in this range" in answer.stderr) == (0, True)
    assert "neither a time" in backtest(folder, events, "--from", "soon", code=2).stderr
    turned = ("--from", "2026-01-06", "--to", "2026-01-05")
    assert "--from is not before --to" in backtest(folder, events, *turned, code=2).stderr


def test_a_folder_of_files_is_one_history(folder: Path) -> None:
    (folder / "events").mkdir()
    for day in range(3):
        write(folder / "events" / f"{day}.jsonl", lines(segment(day)))
    assert admitted(backtest(folder, folder / "events")) == 3
    assert "no event files" in backtest(folder, folder / "triggers", code=2).stderr


def test_an_unsorted_file_is_refused_with_its_rows_and_sorted_on_demand(folder: Path) -> None:
    events = write(folder / "a.jsonl", lines(segment(5), segment(3), segment(9), segment(4)))
    said = backtest(folder, events, code=2).stderr
    assert f"{events}:2: appended 2 ms before the event above" in said
    assert f"{events}:4: 5 ms before one above" in said
    assert "--sort puts it in order" in said
    assert admitted(backtest(folder, events, "--sort")) == 4


def test_bad_rows_are_said_with_their_place_and_strict_refuses(folder: Path) -> None:
    events = write(folder / "a.jsonl", lines(segment(1), b"{oops", segment(2)))
    answer = backtest(folder, events)
    assert admitted(answer) == 2
    assert f"MALFORMED_JSON: 1\n  {events}:2: " in answer.stderr
    assert f"{events}:2: MALFORMED_JSON" in backtest(folder, events, "--strict", code=2).stderr


def test_a_file_of_which_nothing_can_be_read_is_invalid(folder: Path) -> None:
    events = write(folder / "a.jsonl", "who,at,what\nu1,1,Seen\n")
    assert "no event could be read" in backtest(folder, events, code=2).stderr
    assert admitted(backtest(folder, write(folder / "b.jsonl", ""))) == 0


def test_a_refused_file_says_what_was_wrong_before(folder: Path) -> None:
    rules = write(folder / "mapping.yaml", MAPPING)
    events = write(folder / "a.csv.gz", b"\x1f\x8b\x08\x00" + b"x" * 50)
    said = backtest(folder, events, "--map", rules, code=2).stderr
    assert said.startswith(f"DAMAGED: 1\n  {events}:1: gzip: ")
    assert "the first row names the columns" in said


def test_a_mapping_names_a_column_that_is_not_there_with_its_place(folder: Path) -> None:
    events = write(folder / "a.csv", "who,at,what,skuu\nu1,1,Seen,p1\n")
    rules = write(folder / "mapping.yaml", MAPPING)
    said = backtest(folder, events, "--map", rules, code=2).stderr
    assert f"{rules}:4:14: no column 'sku' in {events} (did you mean 'skuu'?)" in said
    assert "topic has no --map" in backtest(folder, "topic:x", "--map", rules, code=2).stderr


def test_a_terminal_sees_how_far_the_reading_is(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = write(folder / "a.jsonl", lines(*(segment(n) for n in range(9))))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open_history(str(events), None, Problems()) as source:
        assert sum(len(batch.times) for batch in source) == 9
    said = capsys.readouterr()
    assert "a.jsonl" in said.err
    assert said.out == ""
