"""The first workspace, as a newcomer meets it: init, validate, test, backtest."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import make_app
from engine.starter.files import SHOP, starter_files


def run(line: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(make_app(), shlex.split(line))
    return answer.exit_code, answer.stdout, answer.stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("my work") / "shop"
    assert run(f"init {shlex.quote(str(folder))}")[0] == 0
    return folder


def test_the_commands_that_init_names_all_work(tmp_path: Path) -> None:
    code, stdout, stderr = run(f"init {shlex.quote(str(tmp_path / 'my shop'))}")
    assert (code, stdout) == (0, "")
    commands = [line.split("#")[0].strip() for line in stderr.splitlines() if "  tripline " in line]
    assert [command.split()[1] for command in commands] == ["validate", "test", "backtest"]
    for command in commands:
        code, stdout, stderr = run(command.removeprefix("tripline "))
        assert code == 0, stderr


def test_every_starter_trigger_speaks_in_the_backtest_of_its_events(shop: Path) -> None:
    folder = shlex.quote(str(shop))
    code, stdout, _ = run(f"backtest {folder} --events {folder}/events.jsonl -o json")
    report = json.loads(stdout)
    assert code == 0
    assert len(report["triggers"]) == 3
    assert all(tally["admitted"] > 0 for tally in report["triggers"].values())
    assert report["triggers"]["abandoned-cart"]["cancelled"] > 0
    assert report["triggers"]["abandoned-cart"]["suppressed"]["COOLDOWN"] > 0
    assert report["events"] > 1_000


def test_nothing_is_overwritten_and_nothing_is_written_beside_what_exists(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("mine")
    code, _, stderr = run(f"init {shlex.quote(str(tmp_path))}")
    assert code == 5
    assert "policy.yaml" in stderr
    assert (tmp_path / "policy.yaml").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["policy.yaml"]


def test_a_folder_with_other_things_in_it_is_welcome(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert run(f"init {shlex.quote(str(tmp_path))}")[0] == 0
    assert (tmp_path / "triggers" / "abandoned-cart.yaml").exists()


def test_every_definition_begins_with_the_modeline_of_a_schema_that_is_there(shop: Path) -> None:
    definitions = [*shop.glob("triggers/*.yaml"), shop / "policy.yaml"]
    assert len(definitions) == 4
    for path in definitions:
        first = path.read_text().splitlines()[0]
        start, _, schema = first.partition("=")
        assert start == "# yaml-language-server: $schema"
        assert (path.parent / schema).is_file()


def test_the_events_are_the_same_every_time_and_few(shop: Path) -> None:
    content = (shop / "events.jsonl").read_bytes()
    assert content == starter_files()["events.jsonl"]
    assert len(content) < 2_000_000
    assert SHOP.seed == 7
