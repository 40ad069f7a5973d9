"""Verdicts for people and for scripts."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from engine.testing.compare import Line
from engine.testing.run import Verdict
from triggers.durations import format_duration

_LINES_MAX = 60


def report_lines(verdicts: Sequence[Verdict], *, verbose: bool) -> list[str]:
    """A line for each trigger (`verbose`: each test), every failure in full, and the sum."""
    lines: list[str] = []
    for trigger, group in groupby(verdicts, key=lambda verdict: verdict.case.trigger.id):
        mine = list(group)
        lines.append(f"{trigger}  {_count(mine)}")
        for verdict in mine:
            if verbose or not verdict.passed:
                lines.append(f"  {'ok  ' if verdict.passed else 'FAIL'} {verdict.case.test.name}")
            lines += [f"    {line}" for line in failure_lines(verdict)]
    return [*lines, "", _count(verdicts)]


def failure_lines(verdict: Verdict) -> list[str]:
    """What is wrong with one test; nothing when it passed."""
    if verdict.passed:
        return []
    lines = [f"{verdict.case.file}:{verdict.case.line}"]
    if verdict.problem is not None:
        lines.append(verdict.problem)
    elif verdict.lines:
        lines.append("- expected  + got")
    lines += [str(line) for line in verdict.lines[:_LINES_MAX]]
    if len(verdict.lines) > _LINES_MAX:
        rest = len(verdict.lines) - _LINES_MAX
        lines.append(f"... and {rest} more (`until` ends a test earlier)")
    if verdict.why:
        lines += ["why:", *(f"  {reason}" for reason in verdict.why)]
    return lines


def report_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The fields scripts rely on."""
    passed = sum(verdict.passed for verdict in verdicts)
    return {
        "passed": passed,
        "failed": len(verdicts) - passed,
        "tests": [
            {
                "trigger": verdict.case.trigger.id,
                "name": verdict.case.test.name,
                "file": verdict.case.file,
                "line": verdict.case.line,
                "passed": verdict.passed,
                "problem": verdict.problem,
                "diff": [_line_json(line) for line in verdict.lines],
                "why": list(verdict.why),
            }
            for verdict in verdicts
        ],
    }


def _line_json(line: Line) -> dict[str, str]:
    return {"sign": line.sign, "at": format_duration(line.at_ms), "text": line.text}


def _count(verdicts: Iterable[Verdict]) -> str:
    outcomes = [verdict.passed for verdict in verdicts]
    failed = outcomes.count(False)
    return f"{outcomes.count(True)} passed" + (f", {failed} failed" if failed else "")
