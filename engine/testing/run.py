"""One case from its events to its verdict."""

from dataclasses import dataclass

from engine.testing.cases import Case
from engine.testing.compare import Line, compare
from engine.testing.reasons import reasons
from engine.testing.timeline import Timeline
from triggers.lengths import Renders


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case came out. `problem`: why it failed when the diff alone does not say."""

    case: Case
    passed: bool
    lines: tuple[Line, ...]
    problem: str | None = None
    why: tuple[str, ...] = ()


def run_case(case: Case, renders: Renders | None = None) -> Verdict:
    """Play a case and judge it; its messages are counted in `renders`. Nothing is raised for what
    an author can write."""
    timeline = Timeline(case, renders)
    timeline.play()
    lines = tuple(compare(case.trigger.id, case.test.expect, timeline.got))
    problem = None
    if not case.test.expect and not timeline.started:
        problem = (
            f"nothing ever started {case.trigger.id}, so that it ends in nothing proves nothing"
        )
    passed = problem is None and all(line.sign == " " for line in lines)
    return Verdict(case, passed, lines, problem, () if passed else tuple(reasons(timeline)))
