"""Settle windows: the marketing candidates of a user within `settle` compete for one message.

The first one opens the window, which closes its policy's `settle` later; whoever comes until then,
the closing moment included, joins. At the close all of them are decided, by `rank`: the first one
that is admitted wins, and the others end LOWER_PRIORITY unless another check refuses them first.
A cancel takes a candidate out again; of the first one, the window is that of the others. The time
in the window counts towards `expires`.
"""

import msgspec

from schemas.reasons import Outcome, Reason
from triggers import bundles
from triggers.admission import Candidate
from triggers.effects import Effects
from triggers.endings import ended_waiting
from triggers.funnel import conclude
from triggers.program import CompiledTrigger, Program
from triggers.state import SETTLING_MAX, Settling, UserState

#: Later than every log time.
_NOT_HELD = 2**62


def settles(candidate: Candidate) -> bool:
    """Whether the candidate has to wait for a settle window."""
    trigger = candidate.trigger
    if candidate.settled or not (trigger.policy.settle_ms and trigger.marketing):
        return False
    return not trigger.bundle_ms or bool(candidate.items)


def rank(candidate: Candidate) -> tuple[int, int, str, str, int, str]:
    """Candidates of one moment are looked at in this order: by priority, what was not held before
    what was, the newest of these first, then by id. It says nothing of their arrival."""
    priority, name = candidate.trigger.order
    newest = -candidate.held_at if candidate.held_at else -_NOT_HELD
    return (priority, newest, name, candidate.per, candidate.step, candidate.activation)


def collect(state: UserState, candidate: Candidate, at: int) -> None:
    """Let a candidate compete; a full window closes at once."""
    trigger = candidate.trigger
    is_full = len(state.settling) + 1 >= SETTLING_MAX
    state.settling.append(
        Settling(
            trigger=trigger.id,
            at=at,
            close_at=at if is_full else at + trigger.policy.settle_ms,
            due=candidate.due_ms,
            waiting=list(candidate.items) or [bundles.waiting_of(candidate)],
            step=candidate.step,
            said_at=candidate.said_at,
            bundled=bool(candidate.items),
        )
    )


def bound(state: UserState, at: int) -> None:
    """Of two profiles that became one: a window that is full by both closes at once."""
    if len(state.settling) >= SETTLING_MAX:
        for settling in state.settling:
            settling.at = min(settling.at, at)
            settling.close_at = min(settling.close_at, at)


def closes_at(state: UserState) -> int:
    """When the open window closes: no candidate waits longer than its own policy says.

    A timer that was armed late may be decided long before the others; it waits for them.
    """
    first = state.settling[0]
    closes, last = first.close_at, first.at
    for settling in state.settling:
        if settling.close_at < closes:
            closes = settling.close_at
        if settling.at > last:
            last = settling.at
    return closes if closes > last else last


def close(program: Program, user: str, state: UserState, at: int, out: Effects) -> list[Candidate]:
    """The candidates of the window; those whose trigger was removed meanwhile are PAUSED."""
    found = []
    for settling in state.settling:
        trigger = program.triggers.get(settling.trigger)
        if trigger is not None:
            found.append(_candidate_of(trigger, user, settling))
            continue
        for waiting in settling.waiting:
            how, why = Outcome.SUPPRESSED, Reason.PAUSED
            conclude(out, ended_waiting(settling.trigger, waiting, user, 0, at, how, why, None))
    state.settling = []
    return found


def _candidate_of(trigger: CompiledTrigger, user: str, settling: Settling) -> Candidate:
    candidate = bundles.candidate_of(trigger, user, settling.due, settling.waiting)
    return msgspec.structs.replace(
        candidate,
        items=candidate.items if settling.bundled else (),
        step=settling.step,
        said_at=settling.said_at,
        settled=True,
    )
