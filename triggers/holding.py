"""Holds: a candidate that comes while its hours are closed waits, and is decided anew afterwards.

`hold` keeps it, `release` gives back those whose time has come, best first, and every check runs
again. What waits longer than its trigger allows ends EXPIRED. A cancel takes it out meanwhile.
The time in a hold does not count towards `expires`.
"""

import msgspec

from schemas.reasons import Outcome, Reason
from triggers import bundles
from triggers.admission import Candidate, closed_by, hours_of, opening
from triggers.effects import Effects, Journal
from triggers.endings import ended_waiting, stage
from triggers.funnel import conclude
from triggers.opening import Hours
from triggers.program import CompiledTrigger, Program
from triggers.state import HELD_MAX, Held, UserState


def may_wait(candidate: Candidate, state: UserState, at: int) -> bool:
    """Whether the trigger waits for what closes its hours at `at`; else the refusal is final."""
    hours = hours_of(candidate, at)
    if hours is None:
        return False
    by_quiet, by_send_at = closed_by(hours, candidate, state, at)
    return (hours.waits_quiet or not by_quiet) and (hours.waits_send_at or not by_send_at)


def is_over(candidate: Candidate, at: int) -> bool:
    """Whether it has waited for as long as it may."""
    hours = hours_of(candidate, at) or Hours()
    return bool(candidate.held_at) and at >= candidate.held_at + hours.at_most_ms


def hold(program: Program, candidate: Candidate, state: UserState, at: int, out: Effects) -> None:
    """Keep a candidate until its hours open, or until it has waited too long."""
    trigger = candidate.trigger
    hours = hours_of(candidate, at) or Hours()
    since = candidate.held_at or at
    opens = opening(_waited_for(hours), candidate, state, at)
    release_at = min(opens, since + hours.at_most_ms)
    held = Held(
        trigger=trigger.id,
        since=since,
        release_at=max(release_at, at + 1),
        due=candidate.due_ms,
        waiting=list(candidate.items) or [bundles.waiting_of(candidate)],
        revision=trigger.revision,
        step=candidate.step,
        said_at=candidate.said_at,
        bundled=bool(candidate.items),
    )
    state.held.append(held)
    out.pending[held.trigger, held.revision] += 1
    if not candidate.held_at:
        out.journal.append(Journal(candidate.user, at, trigger.id, "HELD", candidate.activation))
        out.funnel[stage(trigger, at, "HELD")] += 1
    bound(program, candidate.user, state, at, out)


def bound(program: Program, user: str, state: UserState, at: int, out: Effects) -> None:
    """Overflow ends the oldest: towards silence, and the newest are what is sent first anyway."""
    while len(state.held) > HELD_MAX:
        oldest = min(state.held, key=lambda one: (one.since, one.trigger, one.waiting[0].per))
        _end(program, user, state, oldest, at, Outcome.EXPIRED, None, out)
        out.evicted["held"] += 1


def _waited_for(hours: Hours) -> Hours:
    """Only these wait: the other closed hours refuse for good, at the release as at any time."""
    return hours._replace(
        quiet=hours.quiet if hours.waits_quiet else (),
        shut=hours.shut if hours.waits_send_at else (),
        usual=hours.usual and hours.waits_send_at,
    )


def release(
    program: Program, user: str, state: UserState, due: int, out: Effects
) -> list[Candidate]:
    """The candidates whose hold ends at `due`; those of a removed trigger are PAUSED."""
    found = []
    for held in [held for held in state.held if held.release_at <= due]:
        trigger = program.triggers.get(held.trigger)
        if trigger is None:
            at = max(due, state.decided_at)
            _end(program, user, state, held, at, Outcome.SUPPRESSED, Reason.PAUSED, out)
            continue
        remove(state, held, out)
        found.append(_candidate_of(trigger, user, held))
    return found


def withdraw(program: Program, user: str, state: UserState, out: Effects) -> bool:
    """Cancel what an activation has withdrawn, as `instances.withdraw`."""
    found = False
    for held in list(state.held):
        for revision, at in program.withdrawn.get(held.trigger, ()):
            if held.revision <= revision:
                _end(program, user, state, held, at, Outcome.CANCELLED, None, out)
                found = True
                break
    return found


def look_again(program: Program, user: str, state: UserState, found: list[Held], a: int) -> None:
    """These were held by the clock of another time zone than the user's: hours open earlier or
    later than was thought."""
    for held in found:
        trigger = program.triggers.get(held.trigger)
        if trigger is None or not held.waiting:
            continue
        # As one that comes now: its usual hour is another one by the new clock.
        candidate = msgspec.structs.replace(_candidate_of(trigger, user, held), held_at=0)
        hours = hours_of(candidate, a)
        if hours is not None:
            opens = opening(_waited_for(hours), candidate, state, a)
            # One whose time ends with this very record must not outlast it.
            held.release_at = min(max(opens, a + 1), max(held.since + hours.at_most_ms, a))


def remove(state: UserState, held: Held, out: Effects) -> None:
    """It waits no longer."""
    state.held.remove(held)
    out.pending[held.trigger, held.revision] -= 1


def _end(
    program: Program,
    user: str,
    state: UserState,
    held: Held,
    at: int,
    outcome: Outcome,
    reason: Reason | None,
    out: Effects,
) -> None:
    remove(state, held, out)
    for waiting in held.waiting:
        conclude(
            out,
            ended_waiting(held.trigger, waiting, user, held.revision, at, outcome, reason, None),
        )
        out.journal.append(Journal(user, at, held.trigger, reason or outcome, waiting.activation))


def _candidate_of(trigger: CompiledTrigger, user: str, held: Held) -> Candidate:
    candidate = bundles.candidate_of(trigger, user, held.due, held.waiting)
    return msgspec.structs.replace(
        candidate,
        items=candidate.items if held.bundled else (),
        step=held.step,
        said_at=held.said_at,
        settled=True,
        held_at=held.since,
    )
