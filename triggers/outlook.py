"""What is pending of a trigger for a user, and what would have to happen for a message.

Both are read from the user's state; the checks are those of admission, asked of a candidate that
would be there now.
"""

from typing import Any, NamedTuple

from triggers.admission import Candidate
from triggers.check_values import Weighed, weigh
from triggers.names import ANY, IDENTIFY
from triggers.program import CompiledTrigger
from triggers.settling import closes_at
from triggers.state import UserState


class Condition(NamedTuple):
    """An event and the clauses `(path, operator, operand)` it has to pass, as written."""

    event: str
    clauses: tuple[tuple[str, str, Any], ...]


class Pending(NamedTuple):
    """`kind`: instance, bundle, settling (in the settle window), held
    (its hours are closed), watch (the pattern wakes up by
    itself), or delivery (admitted, its outcome is not in the log). `due_at`: log time, ms; of a
    delivery when it is given up. `size`: the candidates of a bundle."""

    kind: str
    due_at: int
    per: str = ""
    activation: str = ""
    size: int = 1
    delivery_id: str = ""
    cancelled: bool = False


class Outlook(NamedTuple):
    """`starts`: any of these; `unless`: none of these meanwhile; `waits_ms` of each message.

    `checks` are those of a candidate now.
    """

    pending: tuple[Pending, ...]
    starts: tuple[Condition, ...]
    unless: tuple[Condition, ...]
    waits_ms: tuple[int, ...]
    idle_ms: int
    checks: tuple[Weighed, ...]


def outlook(trigger: CompiledTrigger, user: str, state: UserState, now_ms: int) -> Outlook:
    """The trigger as the state has it at log time `now_ms`."""
    wants = (Condition(_shown(w.name), tuple(w.filter.clauses)) for w in trigger.pattern.wants)
    return Outlook(
        pending=tuple(_pending(trigger, state)),
        starts=tuple(wants),
        unless=tuple(
            Condition(name, tuple(clause.filter.clauses))
            for clause in trigger.unless
            for name in clause.names
        ),
        waits_ms=tuple(step.after_ms for step in trigger.steps),
        idle_ms=trigger.pattern.idle_ms,
        checks=weigh(_imagined(trigger, user, now_ms), state, now_ms),
    )


def _pending(trigger: CompiledTrigger, state: UserState) -> list[Pending]:
    found = [
        Pending("instance", instance.fire_at, instance.per, instance.activation)
        for instance in state.instances
        if instance.trigger == trigger.id
    ]
    found += [
        Pending("bundle", bundle.close_at, size=len(bundle.waiting))
        for bundle in state.bundles
        if bundle.trigger == trigger.id
    ]
    found += [
        Pending(
            "settling",
            closes_at(state),
            settling.waiting[0].per,
            settling.waiting[0].activation,
            size=len(settling.waiting),
        )
        for settling in state.settling
        if settling.trigger == trigger.id
    ]
    found += [
        Pending(
            "held",
            held.release_at,
            held.waiting[0].per,
            held.waiting[0].activation,
            size=len(held.waiting),
        )
        for held in state.held
        if held.trigger == trigger.id
    ]
    due = trigger.pattern.due(state) if trigger.pattern.wakes else 0
    if due:
        found.append(Pending("watch", due))
    found += [
        Pending(
            "delivery",
            pending.drop_at,
            pending.per,
            delivery_id=pending.delivery.hex(),
            cancelled=pending.cancelled,
        )
        for pending in state.pending
        if pending.trigger == trigger.id
    ]
    return found


def _imagined(trigger: CompiledTrigger, user: str, now_ms: int) -> Candidate:
    return Candidate(
        trigger=trigger,
        user=user,
        activation="",
        per="",
        start=None,
        event=None,
        start_e=now_ms,
        due_ms=now_ms,
        start_fields={},
        event_fields={},
    )


def _shown(name: str) -> str:
    """The name of a want for people; engine-made names begin with a control character."""
    return {ANY: "any event", IDENTIFY: "identify"}.get(name, name.removeprefix("\x1f"))
