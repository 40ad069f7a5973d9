"""A test of a trigger decides as the backtest does: there is no second evaluator."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import make_app
from engine.files import to_segment
from engine.registry.folder import read_folder
from engine.testing.cases import Case, cases_of
from engine.testing.timeline import Timeline
from schemas.decisions import utc
from tests.unit.testing.test_shipped import FOLDERS
from triggers.loader import load_workspace
from triggers.patterns import IdleWhen


def shipped() -> list[Case]:
    """An idle trigger is left out: a backtest rounds last activity up, a test does not."""
    return [
        case
        for folder in FOLDERS
        for case in cases_of(load_workspace(read_folder(Path(folder))))
        if not isinstance(case.trigger.when, IdleWhen) and case.test.devices
    ]


@pytest.mark.parametrize("case", shipped(), ids=lambda case: case.title)
def test_the_backtest_of_a_tests_events_has_its_outcomes(case: Case, tmp_path: Path) -> None:
    timeline = Timeline(case)
    timeline.play()
    now_ms = case.test.now_ms
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "one.json").write_text(json.dumps(case.trigger.to_document()))
    lines = [to_segment(step.event, now_ms + step.given.at_ms) for step in timeline.steps]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    command = ["backtest", str(tmp_path), "--events", str(tmp_path / "events.jsonl"), "--drain"]
    made = tmp_path / "decisions.jsonl"
    answer = CliRunner().invoke(make_app(), [*command, "--grace", "0s", "--decisions", str(made)])
    assert answer.exit_code == 0, answer.stderr
    decided = [json.loads(line) for line in made.read_text().splitlines()]
    assert decided
    assert sorted(
        (row["at"], row["user"], row["outcome"], row["reason"] or "") for row in decided
    ) == sorted(
        (utc(now_ms + got.at_ms), got.user, got.outcome, got.reason or "") for got in timeline.got
    )
