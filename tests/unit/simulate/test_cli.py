import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from engine.cli.simulate import simulate
from engine.files import read_events
from tests.unit.files.packed import unpacked

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(arguments: Sequence[str]) -> Result:
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, list(arguments))


SMALL = ("--users", "50", "--minutes", "0.1", "--rate", "50", "--compression", "20")


def test_stdout_and_every_packing_hold_the_same_lines(tmp_path: Path) -> None:
    said = run(SMALL)
    assert said.exit_code == 0
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        assert run([*SMALL, "--out", str(tmp_path / name)]).exit_code == 0
        assert unpacked(tmp_path / name) == said.stdout_bytes
    assert len(list(read_events(tmp_path / "a.jsonl.zst"))) == said.stdout.count("\n") > 100


def test_a_file_without_a_folder_is_refused_before_anything_is_made_up(tmp_path: Path) -> None:
    out = tmp_path / "no" / "clicks.jsonl"
    answer = run(["--users", "1000000000", "--out", str(out)])
    assert answer.exit_code == 2
    assert answer.stderr == f"--out {out}: there is no folder {out.parent}\n"


def test_a_path_that_cannot_be_looked_at_is_refused_with_a_line_that_names_it(
    tmp_path: Path,
) -> None:
    out = tmp_path / ("long" * 100) / "clicks.jsonl"
    answer = run([*SMALL, "--out", str(out)])
    assert answer.exit_code == 2
    assert answer.stderr == f"--out {out}: File name too long\n"


def test_packed_files_are_equal_to_the_byte(tmp_path: Path) -> None:
    for suffix in ("gz", "zst"):
        one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
        run([*SMALL, "--out", str(one)])
        run([*SMALL, "--out", str(two)])
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "wrong", [("--minutes", "-1"), ("--start", "today"), ("--noise", "1"), ("--minutes", "inf")]
)
def test_an_option_out_of_range_ends_with_2_and_a_line_that_names_it(
    wrong: tuple[str, str],
) -> None:
    ended = run([*SMALL, *wrong])
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_ends_with_1() -> None:
    ended = run([*SMALL, "--out", "/dev/full"])
    assert ended.exit_code == 1
    assert "cannot write" in ended.stderr


def test_the_start_moves_every_time(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run([*SMALL, "--start", "2030-02-03T04:05:06Z", "--out", str(out)])
    first = next(read_events(out))
    assert first.event.received_at is not None
    assert first.event.received_at.isoformat().startswith("2030-02-03T04:05:06")


def test_the_demo_clickstream_is_what_the_written_command_makes(tmp_path: Path) -> None:
    (line,) = (
        line.strip()
        for line in (EXAMPLES / "README.md").read_text().splitlines()
        if line.strip().startswith("tripline simulate ")
    )
    arguments = shlex.split(line)[2:]
    shipped = EXAMPLES.parent / arguments[arguments.index("--out") + 1]
    arguments[arguments.index("--out") + 1] = str(tmp_path / "again.jsonl.zst")
    assert run(arguments).exit_code == 0
    assert unpacked(tmp_path / "again.jsonl.zst") == unpacked(shipped)
    assert shipped.stat().st_size < 1_500_000
