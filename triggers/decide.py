"""The decision: one user's state, one input, and what follows. Everything else carries it out.

Inputs come in log order per user: `apply_event`, `apply_outcome`, `fire_before`. Each changes the
state in place, appends to `Effects` and answers whether the state changed. The live shard, the
backtest and the tests call the same four functions; there is no second evaluator.

Time (design.md section 5): `a` is the append time of the record, `e` its client time. Before a
record is applied, the user's timers with F < a fire, so a cancel at F itself still wins. A timer
decides at max(F, the user's last decision time), never at the time it is polled.
"""

from typing import Any

from schemas.decisions import Decision
from schemas.events import Event, occurred_at_ms
from schemas.reasons import REFUNDED, Outcome, Reason, Unevaluated
from schemas.records import OutcomeRecord
from triggers import absence, retention
from triggers.admission import Candidate, refund, refusal, take
from triggers.devices import register_device, remove_dead
from triggers.effects import Admitted, Effects, FunnelKey, Journal
from triggers.identity import delivery_id
from triggers.paths import key_of
from triggers.patterns.base import Activation, Occasion
from triggers.program import CompiledTrigger, Hits, Program, Role
from triggers.state import (
    DAY_MS,
    INSTANCES_MAX,
    PENDING_MAX,
    Instance,
    Pending,
    UserState,
    is_blank,
)
from triggers.traits import learn_traits, learn_zone


def next_due(program: Program, state: UserState) -> int:
    """The user's earliest deadline: the score of its only entry in the timer index, 0 for none."""
    due = retention.due(program, state)
    for instance in state.instances:
        if not due or instance.fire_at < due:
            due = instance.fire_at
    for trigger in program.watching:
        watched = trigger.pattern.due(state)
        if watched and (not due or watched < due):
            due = watched
    return due


def apply_event(
    program: Program, user: str, state: UserState, event: Event, a: int, hits: Hits, out: Effects
) -> bool:
    """Apply one client event appended at `a`; `hits` is `program.hits` of it."""
    changed = fire_before(program, user, state, a, out)
    e = occurred_at_ms(event, a)
    changed |= _notice_activity(program, state, e)
    changed |= register_device(state, event, a)
    for trigger in hits.errors:
        out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
    for role in hits.cancels:
        changed |= _cancel(user, state, role, event, e, a, out)
    candidates: list[Candidate] = []
    for role in hits.starts:
        changed |= _start(user, state, role, event, e, a, candidates, out)
    # After the patterns, which compare with what was known, and before admission, which asks.
    if program.traits:
        changed |= learn_traits(program.traits, state, event)
    if program.zoned:
        changed |= learn_zone(state, event)
    if candidates:
        at = max(a, state.decided_at)
        for candidate in candidates:
            _admit(program, candidate, state, at, a, out)
    if changed:
        _settle(program, user, state, out)
    return changed


def apply_outcome(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> bool:
    """Apply how a delivery ended. The first outcome of a delivery counts (T9), until `drop_at`."""
    changed = fire_before(program, user, state, a, out)
    changed |= remove_dead(state, record.dead_tokens)
    key = bytes.fromhex(record.delivery_id)
    for pending in state.pending:
        if pending.delivery == key and a < pending.drop_at:
            break
    else:
        if changed:
            _settle(program, user, state, out)
        return changed
    state.pending.remove(pending)
    if record.reason in REFUNDED:
        refund(state, pending)
    out.closed.append(record.delivery_id)
    out.journal.append(Journal(user, a, record.trigger, record.reason, record.delivery_id))
    trigger = program.triggers.get(record.trigger)
    revision = trigger.revision if trigger else 0
    out.funnel[FunnelKey(record.trigger, revision, "", a // DAY_MS, record.reason)] += 1
    _settle(program, user, state, out)
    return True


def fire_before(program: Program, user: str, state: UserState, limit_ms: int, out: Effects) -> bool:
    """Fire every timer of the user with F < `limit_ms`, in order of F."""
    changed = False
    while 0 < state.due < limit_ms:
        changed = True
        due = state.due
        _fire(program, user, state, due, limit_ms, out)
        _settle(program, user, state, out)
    return changed


def _settle(program: Program, user: str, state: UserState, out: Effects) -> None:
    """After a change: when to wake up next, and whether anything is left of the user."""
    state.due = next_due(program, state)
    if is_blank(state):
        out.forgotten[user] = len(out.journal)


def _fire(
    program: Program, user: str, state: UserState, due: int, polled_ms: int, out: Effects
) -> None:
    candidates: list[Candidate] = []
    for instance in [instance for instance in state.instances if instance.fire_at <= due]:
        state.instances.remove(instance)
        absence.remember_end(state, instance.trigger, instance.per, instance.start_e, due, out)
        trigger = program.triggers.get(instance.trigger)
        if trigger is None:
            # The trigger was removed while the instance was pending.
            at = max(due, state.decided_at)
            out.decisions.append(_ended(instance, user, 0, at, Outcome.SUPPRESSED, Reason.PAUSED))
            continue
        candidates.append(_of_instance(trigger, user, instance))
    for trigger in program.watching:
        if 0 < trigger.pattern.due(state) <= due:
            for activation in trigger.pattern.on_due(state, due):
                if trigger.wait_ms:
                    _arm(user, state, trigger, activation.per, activation, due, out)
                else:
                    candidates.append(_candidate(trigger, user, activation, activation.per, due))
    retention.prune(program, state, due, out)
    candidates.sort(key=lambda candidate: (candidate.trigger.order, candidate.per))
    at = max(due, state.decided_at)
    for candidate in candidates:
        out.fired_ms.append(due)
        _admit(program, candidate, state, at, polled_ms, out)


def _notice_activity(program: Program, state: UserState, e: int) -> bool:
    granule = program.granule_ms
    if not granule:
        return False
    seen = -(-e // granule) * granule
    if seen <= state.seen:
        # A trigger registered since the state was written may be due before what it says.
        dues = (trigger.pattern.due(state) for trigger in program.watching)
        return any(due and not 0 < state.due <= due for due in dues)
    state.seen = seen
    state.idle_fired.clear()
    return True


def _cancel(
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
            state.instances.remove(instance)
            absence.remember_end(state, trigger.id, instance.per, instance.start_e, a, out)
            out.decisions.append(
                _ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None)
            )
            out.journal.append(Journal(user, a, trigger.id, "CANCELLED", event.message_id))
            out.funnel[_stage(trigger, a, Outcome.CANCELLED)] += 1
    for pending in state.pending:
        if (
            pending.trigger == trigger.id
            and not pending.cancelled
            and absence.matches(clause, fields, pending.fields)
        ):
            changed = pending.cancelled = True
            out.cancelled.append((pending.delivery.hex(), a))
    if absence.is_late(e, a):
        return changed
    remembered = absence.remember_cancel(state, trigger.id, role.clause, e, fields, a, out)
    return changed or remembered


def _start(
    user: str,
    state: UserState,
    role: Role,
    event: Event,
    e: int,
    a: int,
    candidates: list[Candidate],
    out: Effects,
) -> bool:
    """A want of a trigger's pattern matched. Arm an instance, or add a candidate."""
    trigger = role.trigger
    if absence.is_late(e, a):
        out.unevaluated[trigger.id, Unevaluated.LATE_EVENT] += 1
        return False
    per = per_value(trigger, event)
    if per is None:
        out.unevaluated[trigger.id, Unevaluated.PER_MISSING] += 1
        return False
    occasion = Occasion(event, per, e, a)
    activation = trigger.pattern.on_event(state, -1 - role.clause, occasion, out.evicted)
    if isinstance(activation, Unevaluated):
        out.unevaluated[trigger.id, activation] += 1
        return False
    if isinstance(activation, bool):
        return activation
    changed = trigger.pattern.remembers
    if trigger.wait_ms:
        return _arm(user, state, trigger, per, activation, a, out) or changed
    if absence.is_acted_on(state, trigger.id, activation.key, e, a):
        out.unevaluated[trigger.id, Unevaluated.REPEATED] += 1
        return changed
    absence.remember_end(state, trigger.id, activation.key, e, a, out)
    candidates.append(_candidate(trigger, user, activation, per, a))
    return True


def _arm(
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
    if current is not None and not (trigger.restart and e >= current.start_e):
        return False
    if current is None and absence.is_repeated(state, trigger.id, per, e):
        out.unevaluated[trigger.id, Unevaluated.REPEATED] += 1
        return False
    if e == a:
        absence.remember_untimed(state, trigger.id, activation.key, a, out)
    chain_e = 0 if current is None else current.chain_e or current.start_e
    if current is not None:
        state.instances.remove(current)
    instance = Instance(
        trigger=trigger.id,
        per=per,
        activation=activation.key,
        start_e=e,
        chain_e=chain_e,
        fire_at=absence.fire_time(trigger, e, chain_e or e),
        fields=_kept_fields(trigger, activation),
        event="" if activation.event == activation.key else activation.event,
    )
    if absence.died_already(state, trigger, e, instance.fields):
        absence.remember_end(state, trigger.id, per, e, a, out)
        out.decisions.append(_ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None))
        out.funnel[_stage(trigger, a, Outcome.CANCELLED)] += 1
        return True
    state.instances.append(instance)
    if current is None:
        out.journal.append(Journal(user, a, trigger.id, "ARMED", activation.key))
    _bound_instances(user, state, trigger, a, out)
    return True


def _kept_fields(trigger: CompiledTrigger, activation: Activation) -> dict[str, Any]:
    """What an instance keeps: `$start` by path, `$event` by `$` and path."""
    if trigger.one_event or not activation.event_fields:
        return activation.start_fields
    event = {f"${path}": value for path, value in activation.event_fields.items()}
    return {**activation.start_fields, **event}


def _bound_instances(
    user: str, state: UserState, trigger: CompiledTrigger, a: int, out: Effects
) -> None:
    """Overflow ends the oldest instance without a message: it errs towards silence."""
    mine = [instance for instance in state.instances if instance.trigger == trigger.id]
    if len(mine) <= INSTANCES_MAX:
        return
    oldest = min(mine, key=lambda instance: (instance.fire_at, instance.per))
    state.instances.remove(oldest)
    absence.remember_end(state, trigger.id, oldest.per, oldest.start_e, a, out)
    out.decisions.append(_ended(oldest, user, trigger.revision, a, Outcome.CANCELLED, None))
    out.evicted["instances"] += 1


def _admit(
    program: Program, candidate: Candidate, state: UserState, at: int, caused_at: int, out: Effects
) -> None:
    """Decide one candidate at decision time `at`; book it when it is admitted."""
    trigger = candidate.trigger
    state.decided_at = at
    reason = refusal(candidate, state, at)
    outcome = Outcome.ADMITTED if reason is None else Outcome.SUPPRESSED
    delivery: str | None = None
    if reason is None:
        delivery = delivery_id(trigger.id, candidate.user, candidate.activation, candidate.per, 0)
        _book(program, candidate, state, at, caused_at, delivery, out)
    out.decisions.append(
        Decision(
            trigger=trigger.id,
            user=candidate.user,
            activation=candidate.activation,
            at_ms=at,
            outcome=outcome,
            reason=reason,
            start=candidate.start,
            event=candidate.event,
            revision=trigger.revision,
            delivery_id=delivery,
        )
    )
    out.journal.append(
        Journal(candidate.user, at, trigger.id, reason or outcome, candidate.activation)
    )
    out.funnel[_stage(trigger, at, "MATCHED")] += 1
    out.funnel[_stage(trigger, at, reason or outcome)] += 1


def _book(
    program: Program,
    candidate: Candidate,
    state: UserState,
    at: int,
    caused_at: int,
    delivery: str,
    out: Effects,
) -> None:
    trigger = candidate.trigger
    key = bytes.fromhex(delivery)
    if take(program, candidate, state, at):
        out.evicted["cooldowns"] += 1
    expires_at = candidate.due_ms + trigger.expires_ms
    state.pending.append(
        Pending(
            delivery=key,
            trigger=trigger.id,
            per=candidate.per,
            at=at,
            counts=trigger.marketing,
            drop_at=max(expires_at, at) + DAY_MS,
            fields=candidate.start_fields if trigger.unless else {},
        )
    )
    if len(state.pending) > PENDING_MAX:
        out.closed.append(state.pending.pop(0).delivery.hex())
        out.evicted["pending"] += 1
    out.deliveries.append(
        Admitted(
            trigger=trigger,
            user=candidate.user,
            activation=candidate.activation,
            delivery_id=delivery,
            decided_at_ms=at,
            expires_at_ms=expires_at,
            caused_at_ms=caused_at,
            devices=tuple((device.token, device.platform) for device in state.devices),
            start_fields=candidate.start_fields,
            event_fields=candidate.event_fields,
        )
    )


def per_value(trigger: CompiledTrigger, event: Event) -> str | None:
    """What keys the instance: "" for the user, the messageId, or the value at the path.

    None: the path leads to nothing that can be a key (PER_MISSING, see `paths.key_of`).
    """
    if trigger.per_event:
        return event.message_id
    return "" if trigger.per is None else key_of(trigger.per(event))


def _of_instance(trigger: CompiledTrigger, user: str, instance: Instance) -> Candidate:
    start = event = instance.fields
    if not trigger.one_event:
        start = {path: value for path, value in instance.fields.items() if path[0] != "$"}
        event = {path[1:]: value for path, value in instance.fields.items() if path[0] == "$"}
    start_id, event_id = _message_ids(instance)
    return Candidate(
        trigger=trigger,
        user=user,
        activation=instance.activation,
        per=instance.per,
        start=start_id,
        event=event_id,
        start_e=instance.start_e,
        due_ms=instance.fire_at,
        start_fields=start,
        event_fields=event,
    )


def _message_ids(instance: Instance) -> tuple[str | None, str | None]:
    """`$start` and `$event`; none where no event started it."""
    if instance.event is None:
        return None, None
    return instance.activation, instance.event or instance.activation


def _candidate(
    trigger: CompiledTrigger, user: str, activation: Activation, per: str, due: int
) -> Candidate:
    return Candidate(
        trigger=trigger,
        user=user,
        activation=activation.key,
        per=per,
        start=activation.start,
        event=activation.event,
        start_e=activation.start_e,
        due_ms=due,
        start_fields=activation.start_fields,
        event_fields=activation.event_fields,
    )


def _ended(
    instance: Instance, user: str, revision: int, at: int, outcome: Outcome, reason: Reason | None
) -> Decision:
    start, event = _message_ids(instance)
    return Decision(
        trigger=instance.trigger,
        user=user,
        activation=instance.activation,
        at_ms=at,
        outcome=outcome,
        reason=reason,
        start=start,
        event=event,
        revision=revision,
    )


def _stage(trigger: CompiledTrigger, at: int, stage: str) -> FunnelKey:
    return FunnelKey(trigger.id, trigger.revision, "", at // DAY_MS, stage)
