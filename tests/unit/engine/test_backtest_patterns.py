"""A backtest of patterns that nobody's event completes: outcomes, signals, yearly dates."""

from pathlib import Path
from typing import Any

from engine.backtest.run import Backtest
from engine.files import Problems, read_events
from schemas.decisions import Decision
from tests.unit.triggers.user import HELLO, line, program_of


def live(name: str, when: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": name, "state": "live", "when": when, **fields}


PROGRAM = program_of(
    HELLO,
    live("accepted", {"outcome": "accepted", "trigger": "hello"}),
    live("score", {"signal": "churn", "where": {"properties.n": {"gte": 1}}}),
    live("birthday", {"date": "traits.day", "repeat": "yearly"}),
    live("start", {"session": "start"}),
)
LINES = [
    '{"type":"track","event":"Opened","messageId":"a","userId":"u","timestamp":"2025-01-06T01:00:00Z"}',
    '{"type":"identify","messageId":"b","userId":"u","timestamp":"2025-01-06T01:01:00Z",'
    '"traits":{"day":"--02-14"}}',
    '{"type":"signal","event":"churn","messageId":"c","userId":"u",'
    '"timestamp":"2025-01-06T09:00:00Z","properties":{"n":2}}',
]


def decisions(tmp_path: Path, lines: list[str], *, sort: bool = False, cut: int = 100) -> list[str]:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines))
    problems = Problems()
    found = read_events(file, problems=problems, sort=sort)
    events = [(item.a_ms, item.event) for item in found]
    assert len(events) == len(lines)
    made: list[Decision] = []
    run = Backtest(PROGRAM, made.append)
    for first in range(0, len(events), cut):
        run.feed(events[first : first + cut])
    run.finish(drain=True)
    return [line(decision) for decision in made]


def test_a_file_may_hold_signals_and_every_message_is_accepted_at_once(tmp_path: Path) -> None:
    rows = decisions(tmp_path, LINES)
    assert [row for row in rows if " birthday " not in row][:3] == [
        "1h hello a ADMITTED",
        "1h start a LOWER_PRIORITY",
        rows[2],
    ]
    assert rows[2].startswith("1h1ms accepted ")
    assert rows[2].endswith(":accepted ADMITTED")
    assert "9h score c ADMITTED" in rows
    assert len([row for row in rows if " start " in row]) == 1


def test_what_comes_every_year_is_drained_for_a_year(tmp_path: Path) -> None:
    rows = [row for row in decisions(tmp_path, LINES) if " birthday " in row]
    assert [row.split()[0] for row in rows] == ["39d"]


def test_neither_sorting_nor_splitting_changes_a_decision(tmp_path: Path) -> None:
    expected = decisions(tmp_path, LINES)
    assert decisions(tmp_path, LINES[::-1], sort=True) == expected
    assert decisions(tmp_path, LINES, cut=1) == expected
