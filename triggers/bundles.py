"""Bundles: several candidates of one trigger become one message.

The first candidate opens a bundle, which closes a window later, or at once when it is full. The
message stands for its first candidate and lists all of them as `items`; the others end BUNDLED.
While it is open a cancel takes a candidate out again.
"""

from collections.abc import Sequence

from triggers.absence import matches
from triggers.admission import Candidate
from triggers.program import CompiledTrigger, Program, Unless
from triggers.state import Bundle, Held, Settling, UserState, Waiting


def collect(state: UserState, candidate: Candidate, at: int) -> None:
    """Let a candidate wait for its bundle; a full one is due at once."""
    trigger = candidate.trigger
    waiting = waiting_of(candidate)
    open_ = (bundle for bundle in state.bundles if bundle.trigger == trigger.id)
    bundle = next((found for found in open_ if len(found.waiting) < trigger.bundle_max), None)
    if bundle is None:
        bundle = Bundle(trigger.id, at + trigger.bundle_ms, [])
        state.bundles.append(bundle)
    bundle.waiting.append(waiting)
    if len(bundle.waiting) >= trigger.bundle_max:
        bundle.close_at = min(bundle.close_at, at)


def unite(program: Program, state: UserState, moved: UserState, a: int) -> None:
    """Two profiles are one: of each trigger one bundle is open. It closes when the earlier of both
    would have; what does not fit opens the next one, as if it had come one by one."""
    both = [*state.bundles, *moved.bundles]
    state.bundles = []
    for name in dict.fromkeys(bundle.trigger for bundle in both):
        mine = [bundle for bundle in both if bundle.trigger == name]
        trigger = program.triggers.get(name)
        if trigger is None or not trigger.bundle_max or len(mine) == 1:
            state.bundles += mine
            continue
        waiting = sorted((w for one in mine for w in one.waiting), key=lambda w: (w.due, w.start_e))
        closes = sorted(bundle.close_at for bundle in mine)
        for first in range(0, len(waiting), trigger.bundle_max):
            part = waiting[first : first + trigger.bundle_max]
            close_at = closes.pop(0) if len(closes) > 1 else closes[0]
            is_full = len(part) == trigger.bundle_max
            state.bundles.append(Bundle(name, min(close_at, a) if is_full else close_at, part))


def waiting_of(candidate: Candidate) -> Waiting:
    """What has to be kept of a candidate that waits."""
    return Waiting(
        per=candidate.per,
        activation=candidate.activation,
        start_e=candidate.start_e,
        due=candidate.due_ms,
        fields=candidate.kept,
        start=candidate.start,
        event=candidate.event,
    )


def candidate_of(
    trigger: CompiledTrigger, user: str, due_ms: int, waiting: Sequence[Waiting]
) -> Candidate:
    """One message for all that waited; the first one names it."""
    first = waiting[0]
    start, event = fields_of(trigger, first.fields)
    return Candidate(
        trigger=trigger,
        user=user,
        activation=first.activation,
        per=first.per,
        start=first.start,
        event=first.event,
        start_e=first.start_e,
        due_ms=due_ms,
        start_fields=start,
        event_fields=event,
        items=tuple(waiting),
    )


def take_out(
    state: UserState, trigger: CompiledTrigger, clause: Unless, fields: dict[str, object]
) -> list[Waiting]:
    """The waiting candidates that an `unless` match cancels; they are gone."""
    taken: list[Waiting] = []
    if not (state.bundles or state.settling or state.held):
        return taken
    collecting: list[Bundle | Settling | Held] = [*state.bundles, *state.settling, *state.held]
    for bundle in [bundle for bundle in collecting if bundle.trigger == trigger.id]:
        found = [waiting for waiting in bundle.waiting if matches(clause, fields, waiting.fields)]
        bundle.waiting = [waiting for waiting in bundle.waiting if waiting not in found]
        taken += found
    state.bundles = [bundle for bundle in state.bundles if bundle.waiting]
    state.settling = [settling for settling in state.settling if settling.waiting]
    state.held = [held for held in state.held if held.waiting]
    return taken


def fields_of(
    trigger: CompiledTrigger, kept: dict[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """The fields of `$start` and of `$event` from what was kept of both."""
    if trigger.one_event:
        return kept, kept
    start = {path: value for path, value in kept.items() if path[0] != "$"}
    return start, {path[1:]: value for path, value in kept.items() if path[0] == "$"}
