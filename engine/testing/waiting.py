"""Candidates of a test that waited before they were decided, and what its author may write then."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from engine.testing.cases import Case
from triggers.durations import format_duration
from triggers.state import UserState


class Wait(NamedTuple):
    """A candidate of `trigger` that waits since `since_ms`; `held`: for its hours, else in the
    settle window."""

    trigger: str
    since_ms: int
    held: bool


#: Until when each of them waits.
Waits = dict[Wait, int]


def waiting_of(state: UserState) -> Waits:
    """Who waits in a state now."""
    found: Waits = {Wait(one.trigger, one.at, False): one.close_at for one in state.settling}
    return found | {Wait(one.trigger, one.since, True): one.release_at for one in state.held}


def wait_lines(case: Case, waited: Waits, at_end: Mapping[Wait, int]) -> Iterable[str]:
    """One line for each wait, times as offsets from the test's `now`. `at_end`: those not over."""
    for wait, until_ms in sorted(waited.items(), key=lambda item: (item[0].since_ms, item[0])):
        if until_ms <= wait.since_ms:
            continue
        since = format_duration(max(wait.since_ms - case.test.now_ms, 0))
        until = format_duration(until_ms - case.test.now_ms)
        whose = "" if wait.trigger == case.trigger.id else f" of {wait.trigger}"
        if wait in at_end and case.test.until_ms is not None:
            ends = format_duration(case.test.until_ms)
            yield (
                f"{since} a candidate{whose} still waits {_for_what(case, wait)} until {until}, "
                f"and the test ends at {ends}: write `until: {until}` or later, "
                "or leave `until` out"
            )
        else:
            yield (
                f"{since} a candidate{whose} waited {_for_what(case, wait)} until {until} and was "
                f"decided then: expect it at {until}"
            )


def _for_what(case: Case, wait: Wait) -> str:
    if not wait.held:
        return "in the settle window (`settle` of its policy)"
    reasons = []
    hours = case.program.triggers[wait.trigger].hours
    if hours is not None and hours.quiet:
        reasons.append("quiet hours (`quiet` of its policy)")
    if case.definitions[wait.trigger].send_at != "now":
        reasons.append("its `send_at`")
    return f"for {' or '.join(reasons) or 'its hours'}"
