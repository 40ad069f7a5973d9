"""`tripline report` on what a backtest has counted, and its exit codes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.report.saved import write_saved
from tests.unit.backtest.histories import CART, DAY, HOUR, LOOK, MINUTE, event
from tests.unit.backtest.test_cli import write_events
from tests.unit.report.shop import COUNTERS, PLANS

EVENTS = [
    event(0, "ann", "Product Added"),
    event(59 * MINUTE, "eve", "Product Viewed"),
    event(60 * MINUTE, "eve", "Product Viewed"),
    event(2 * HOUR, "bob", "Product Added"),
    event(150 * MINUTE, "bob", "Order Completed"),
    event(DAY, "ann", "Order Completed"),
    event(2 * DAY, "ann", "Product Viewed"),
    event(9 * DAY, "eve", "Product Viewed"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    (made / "triggers").mkdir(parents=True)
    (made / "triggers" / "cart.yaml").write_text(json.dumps(CART))
    (made / "triggers" / "look.yaml").write_text(json.dumps({**LOOK, "cooldown": "1h"}))
    (made / "policy.yaml").write_text("default: {spacing: 30m, grace: 0s}\n")
    return made


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def counted(folder: Path, tmp_path: Path, rows: Any, *more: object) -> tuple[Path, list[Any]]:
    """The counters and the decisions of a backtest."""
    events = write_events(tmp_path / "events.jsonl", rows)
    number = len(list(tmp_path.glob("*.json")))
    counters, decisions = tmp_path / f"{number}.json", tmp_path / f"{number}.jsonl"
    files = ("--counters", counters, "--decisions", decisions)
    tripline("backtest", folder, "-e", events, *files, *more)
    return counters, [json.loads(line) for line in decisions.read_text().splitlines()]


def test_totals_are_a_recount_of_the_decisions_of_a_backtest(folder: Path, tmp_path: Path) -> None:
    counters, decisions = counted(folder, tmp_path, EVENTS, "--drain")
    found = json.loads(tripline("report", "--from-backtest", counters, "-o", "json").stdout)
    for name, told in found["triggers"].items():
        mine = [row for row in decisions if row["trigger"] == name]
        outcomes = Counter(row["outcome"] for row in mine)
        funnel = told["funnel"]
        assert funnel["prepared"] == funnel["handed_over"] == outcomes["ADMITTED"]
        assert funnel["cancelled"] == outcomes["CANCELLED"]
        assert funnel["suppressed"] == Counter(row["reason"] for row in mine if row["reason"])
        assert funnel["matched"] == outcomes["ADMITTED"] + outcomes["SUPPRESSED"]
        assert sum(group["prepared"] for group in told["groups"]) == funnel["prepared"]
    assert found["triggers"]["look"]["funnel"]["prepared"] > 0
    admitted = [row for row in decisions if row["outcome"] == "ADMITTED"]
    assert sum(week["messages"] for week in found["weeks"]) == len(admitted)
    assert found["year"]["reached"] == len({row["user"] for row in admitted})


def test_the_counters_of_two_halves_add_up_to_those_of_the_whole(
    folder: Path, tmp_path: Path
) -> None:
    state = ("--state", tmp_path / "state")
    first, _ = counted(folder, tmp_path, EVENTS[:5], *state)
    second, _ = counted(folder, tmp_path, EVENTS[5:], *state)
    whole, _ = counted(folder, tmp_path, EVENTS)
    both = ("--from-backtest", first, "--from-backtest", second)
    halves = tripline("report", *both, "-o", "json").stdout
    assert halves == tripline("report", "--from-backtest", whole, "-o", "json").stdout


def test_the_saved_counters_keep_the_plans_of_experiments(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    path.write_bytes(write_saved(COUNTERS, PLANS))
    text = tripline("report", "cart", "--from-backtest", path).stdout
    assert "a against control: more users convert" in text
    assert "skewed" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no counters of a backtest, which `backtest --counters` writes"),
        ('{"version": 9, "counters": {}, "plans": {}}', "counters of version 9, this one reads 1"),
        ('{"version": 1, "counters": {"t|1|MATCHED": 1}, "plans": {}}', "no funnel counter"),
    ],
)
def test_a_file_that_holds_no_counters_is_invalid(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "counters.json"
    path.write_text(content)
    assert message in tripline("report", "--from-backtest", path, code=2).stderr


def test_runs_of_different_definitions_do_not_add_up(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_bytes(write_saved({}, PLANS))
    other.write_bytes(write_saved({}, {"cart": PLANS["new"]}))
    answer = tripline("report", "--from-backtest", one, "--from-backtest", other, code=2)
    assert "different definitions of cart" in answer.stderr


def test_a_trigger_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    path.write_bytes(write_saved(COUNTERS, PLANS))
    assert "no trigger crat" in tripline("report", "crat", "--from-backtest", path, code=4).stderr


def test_days_that_end_before_they_begin_are_invalid(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    path.write_bytes(write_saved(COUNTERS, PLANS))
    days = ("--from", "2026-11-03", "--to", "2026-11-03")
    answer = tripline("report", "--from-backtest", path, *days, code=2)
    assert "--from is not before --to" in answer.stderr
