"""Pending instances: armed by an activation, cancelled by `unless`, fired by their timer, withdrawn
by an apply. The rules of time are `absence`'s; here the state changes and is counted.
"""

import msgspec

from schemas.events import Event
from schemas.reasons import Outcome, Reason, Unevaluated
from triggers import absence, bundles, exposure
from triggers.admission import Candidate, kept_fields
from triggers.effects import Effects, Journal, Recall
from triggers.endings import ended, ended_waiting, message_ids
from triggers.funnel import conclude
from triggers.packing import pack_id
from triggers.patterns.base import Activation
from triggers.program import CompiledTrigger, Program, Role
from triggers.state import INSTANCES_MAX, Instance, Progress, UserState


def arm(
    user: str,
    state: UserState,
    trigger: CompiledTrigger,
    per: str,
    activation: Activation,
    a: int,
    out: Effects,
) -> bool:
    """Start or restart the pending instance of this per value, unless it is dead already."""
    e = activation.e
    if absence.is_known_untimed(state, trigger.id, activation.key, a):
        out.unevaluated[trigger.id, Unevaluated.REPEATED] += 1
        return False
    current = absence.find(state, trigger.id, per)
    # A series that has begun to speak is restarted by a later start only, as one that has ended.
    spoken = current is not None and current.progress is not None and current.progress.step > 0
    if current is not None and not (trigger.restart and e >= current.start_e + spoken):
        if trigger.restart or e <= max(current.start_e, current.chain_e):
            return False
        # Sent again when the instance has ended, what it has kept out would look like a new start.
        current.chain_e = e
        return True
    if current is None and absence.is_repeated(state, trigger.id, per, e):
        out.unevaluated[trigger.id, Unevaluated.REPEATED] += 1
        return False
    if current is not None and e == current.start_e:
        # Sent again, the one that is replaced would look like another start of the same moment.
        if current.activation == activation.key:
            return False
        absence.remember_untimed(state, trigger.id, current.activation, a, out)
    if e == a:
        absence.remember_untimed(state, trigger.id, activation.key, a, out)
    chain_e = 0 if current is None or spoken else current.chain_e or current.start_e
    if current is not None:
        remove(state, current, out)
    arm = trigger.arm_of(user, e, a) if trigger.arm_steps else ""
    instance = Instance(
        trigger=trigger.id,
        per=per,
        started_by=pack_id(activation.key),
        start_e=e,
        chain_e=chain_e,
        fire_at=absence.fire_time(trigger, 0, e, chain_e or e, arm),
        fields=kept_fields(trigger, activation.start_fields, activation.event_fields),
        progress=None if activation.event == activation.key else Progress(activation.event),
        revision=trigger.revision,
    )
    if absence.died_already(state, trigger, e, instance.fields):
        absence.remember_end(state, trigger.id, per, e, a, out)
        conclude(out, ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None))
        return True
    state.instances.append(instance)
    if trigger.experiment is not None and trigger.experiment.from_start:
        exposure.expose_at_start(trigger, user, state, e, a, out)
    out.pending[trigger.id, trigger.revision] += 1
    if current is None:
        out.journal.append(Journal(user, a, trigger.id, "ARMED", activation.key))
    _bound_instances(user, state, trigger, a, out)
    return True


def _bound_instances(
    user: str, state: UserState, trigger: CompiledTrigger, a: int, out: Effects
) -> None:
    """Overflow ends the oldest instance without a message: it errs towards silence."""
    mine = [instance for instance in state.instances if instance.trigger == trigger.id]
    if len(mine) <= INSTANCES_MAX:
        return
    oldest = min(mine, key=lambda instance: (instance.fire_at, instance.per))
    remove(state, oldest, out)
    absence.remember_end(state, trigger.id, oldest.per, absence.last_start_e(oldest), a, out)
    conclude(out, ended(oldest, user, trigger.revision, a, Outcome.CANCELLED, None))
    out.evicted["instances"] += 1


def cancel(
    user: str, state: UserState, role: Role, event: Event, e: int, a: int, out: Effects
) -> bool:
    """An `unless` match: end the pending instances, call back deliveries, remember it."""
    trigger = role.trigger
    clause = trigger.unless[role.clause]
    fields = clause.project(event)
    changed = False
    for instance in list(state.instances):
        if instance.trigger == trigger.id and absence.matches(clause, fields, instance.fields):
            changed = True
            remove(state, instance, out)
            absence.remember_end(
                state, trigger.id, instance.per, absence.last_start_e(instance), a, out
            )
            conclude(out, ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None))
            out.journal.append(Journal(user, a, trigger.id, "CANCELLED", event.message_id))
    held_before = state.held
    taken = bundles.take_out(state, trigger, clause, fields)
    for held in held_before:
        if not held.waiting:
            out.pending[held.trigger, held.revision] -= 1
    for waiting in taken:
        changed = True
        how, revision = Outcome.CANCELLED, trigger.revision
        conclude(out, ended_waiting(trigger.id, waiting, user, revision, a, how, None, None))
    for pending in state.pending:
        if (
            pending.trigger == trigger.id
            and not pending.cancelled
            and absence.matches(clause, fields, pending.fields)
        ):
            changed = pending.cancelled = True
            out.cancelled.append(Recall(pending.delivery.hex(), a))
    if absence.is_late(e, a):
        return changed
    remembered = absence.remember_cancel(state, trigger.id, role.clause, e, fields, a, out)
    return changed or remembered


def fire_instance(
    program: Program, user: str, state: UserState, instance: Instance, due: int, out: Effects
) -> list[Candidate]:
    """The candidate of an instance that is due; with a series it goes on to its next step."""
    trigger = program.triggers.get(instance.trigger)
    if trigger is None:
        # The trigger was removed while the instance was pending.
        remove(state, instance, out)
        absence.remember_end(
            state, instance.trigger, instance.per, absence.last_start_e(instance), due, out
        )
        at = max(due, state.decided_at)
        conclude(out, ended(instance, user, 0, at, Outcome.SUPPRESSED, Reason.PAUSED))
        return []
    candidate = _of_instance(trigger, user, instance)
    following = candidate.step + 1
    if following < len(trigger.steps):
        progress = instance.progress or Progress()
        instance.progress = msgspec.structs.replace(progress, step=following)
        chain_e = instance.chain_e or instance.start_e
        # An edit may have brought the next step before the one that fires now.
        next_ms = absence.fire_time(trigger, following, instance.start_e, chain_e)
        instance.fire_at = max(next_ms, due + 1)
    else:
        remove(state, instance, out)
        absence.remember_end(
            state, instance.trigger, instance.per, absence.last_start_e(instance), due, out
        )
    return [candidate]


def _of_instance(trigger: CompiledTrigger, user: str, instance: Instance) -> Candidate:
    start, event = bundles.fields_of(trigger, instance.fields)
    start_id, event_id = message_ids(instance)
    progress = instance.progress or Progress()
    return Candidate(
        trigger=trigger,
        user=user,
        activation=instance.activation if start_id is None else start_id,
        per=instance.per,
        start=start_id,
        event=event_id,
        start_e=instance.start_e,
        due_ms=instance.fire_at,
        start_fields=start,
        event_fields=event,
        step=progress.step,
        said_at=progress.said_at,
    )


def withdraw(program: Program, user: str, state: UserState, out: Effects) -> bool:
    """Cancel the instances that an activation has withdrawn. It comes before anything else that
    happens to the user after that activation, so it may come late."""
    found = [
        (instance, at)
        for instance in state.instances
        if (at := _withdrawn_at(program, instance)) is not None
    ]
    for instance, at in found:
        remove(state, instance, out)
        absence.remember_end(
            state, instance.trigger, instance.per, absence.last_start_e(instance), at, out
        )
        trigger, revision = instance.trigger, instance.revision
        conclude(out, ended(instance, user, revision, at, Outcome.CANCELLED, None))
        out.journal.append(Journal(user, at, trigger, "CANCELLED", "apply"))
    return bool(found)


def _withdrawn_at(program: Program, instance: Instance) -> int | None:
    for revision, at in program.withdrawn.get(instance.trigger, ()):
        if instance.revision <= revision:
            return at
    return None


def count(state: UserState, sign: int, out: Effects) -> None:
    """What is pending comes into a state (1) or goes out of it (-1)."""
    for instance in state.instances:
        out.pending[instance.trigger, instance.revision] += sign
    for held in state.held:
        out.pending[held.trigger, held.revision] += sign


def remove(state: UserState, instance: Instance, out: Effects) -> None:
    state.instances.remove(instance)
    out.pending[instance.trigger, instance.revision] -= 1
