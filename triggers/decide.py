"""The decision: one user's state, one input, and what follows. Everything else carries it out.

Inputs come in log order per user: `apply_event`, `apply_outcome`, `fire_before`. Each changes the
state in place, appends to `Effects` and answers whether the state changed. The live shard, the
backtest and the tests call the same four functions; there is no second evaluator.

Time (design.md section 5): `a` is the append time of the record, `e` its client time. Before a
record is applied, the user's timers with F < a fire, so a cancel at F itself still wins. A timer
decides at max(F, the user's last decision time), never at the time it is polled.
"""

import msgspec

from schemas.decisions import Decision
from schemas.events import Event, occurred_at_ms
from schemas.reasons import REFUNDED, Outcome, Reason, Unevaluated
from schemas.records import OutcomeRecord, outcome_event
from triggers import absence, bundles, retention
from triggers.admission import (
    Candidate,
    check_cooldown,
    is_unevaluated,
    kept_fields,
    refund,
    refusal,
    take,
)
from triggers.devices import register_device, remove_dead
from triggers.effects import Admitted, Effects, FunnelKey, Journal, Merge, Reached, Recall
from triggers.identity import delivery_id
from triggers.merging import absorb, freeze, lighten, merge_of
from triggers.names import is_merging, outcome_name
from triggers.notes import NoteRole, note_event
from triggers.paths import key_of
from triggers.patterns.base import Activation, Occasion
from triggers.program import NO_HITS, CompiledTrigger, Hits, Program, Role, Step
from triggers.state import (
    DAY_MS,
    INSTANCES_MAX,
    PENDING_MAX,
    Bundle,
    Instance,
    Pending,
    Progress,
    UserState,
    Waiting,
    is_blank,
)
from triggers.traits import learn_traits, learn_zone


def next_due(program: Program, state: UserState) -> int:
    """The user's earliest deadline: the score of its only entry in the timer index, 0 for none."""
    due = retention.due(program, state)
    for instance in state.instances:
        if not due or instance.fire_at < due:
            due = instance.fire_at
    for bundle in state.bundles:
        if not due or bundle.close_at < due:
            due = bundle.close_at
    for trigger in program.watching:
        watched = trigger.pattern.due(state)
        if watched and (not due or watched < due):
            due = watched
    return due


def apply_event(
    program: Program, user: str, state: UserState, event: Event, a: int, hits: Hits, out: Effects
) -> bool:
    """Apply one client event appended at `a`; `hits` is `program.hits` of it."""
    changed = False
    if 0 < state.due < a or program.withdrawn:
        changed = fire_before(program, user, state, a, out)
    of_user = event.type != "signal"
    if of_user and event.context:
        changed |= register_device(state, event, a)
    if event.type != "track" and is_merging(event):
        pair = merge_of(event)
        # `user` is whom the known profile of the event is a part of by now.
        if pair is not None and pair[0] != user:
            out.merges.append(Merge(pair[0], user, a))
    # Most events mean nothing to any trigger, and then nobody asks for their client time.
    e = a if hits is NO_HITS else occurred_at_ms(event, a)
    for trigger in hits.errors:
        out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
    for role in hits.cancels:
        changed |= _cancel(user, state, role, event, e, a, out)
    candidates: list[Candidate] = []
    for role in hits.starts:
        changed |= _start(user, state, role, event, e, a, candidates, out)
    if of_user:
        # After the patterns, which compare with what was known, and before admission, which asks.
        if program.granule_ms:
            changed |= _notice_activity(program, state, event, a)
        if program.traits or program.zoned:
            changed |= _learn(program, state, event, a, out)
    if hits.notes:
        changed |= _note(state, hits.notes, event, e, a, out)
    if candidates:
        at = max(a, state.decided_at)
        for candidate in candidates:
            _propose(program, candidate, state, at, a, out)
    if changed:
        _settle(program, user, state, out)
    return changed


def apply_merge(
    program: Program, user: str, state: UserState, known: str, a: int, out: Effects
) -> bool:
    """`user` is a part of `known` from here on; what it held is sent there, once."""
    changed = fire_before(program, user, state, a, out)
    if state.merged_into == known:
        return changed
    _count(state, -1, out)
    moved = freeze(state, known)
    if moved is not None and not is_blank(moved):
        out.evicted["moved"] += lighten(moved)
        out.merges.append(Merge(user, known, a, moved))
    _settle(program, user, state, out)
    return True


def apply_merged(
    program: Program, user: str, state: UserState, moved: UserState, a: int, out: Effects
) -> bool:
    """Another profile is a part of `user` from here on; `moved` is what it held."""
    fire_before(program, user, state, a, out)
    _count(state, -1, out)
    absorb(program, user, state, moved, a, out)
    _count(state, 1, out)
    _settle(program, user, state, out)
    return True


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
    elif pending.counts:
        claimed_ms = record.claimed_at_ms or record.at_ms
        out.reached.append(Reached(user, record.delivery_id, record.trigger, claimed_ms))
    out.closed.append(record.delivery_id)
    out.journal.append(Journal(user, a, record.trigger, record.reason, record.delivery_id))
    trigger = program.triggers.get(record.trigger)
    revision = trigger.revision if trigger else 0
    out.funnel[FunnelKey(record.trigger, revision, "", a // DAY_MS, record.reason)] += 1
    _react(program, user, state, record, a, out)
    _settle(program, user, state, out)
    return True


def _react(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> None:
    """Hand the outcome to the patterns that wait for it, as an event that only they see."""
    name = outcome_name(record.trigger, record.reason.lower())
    if name not in program.by_event:
        return
    event = outcome_event(record, a)
    candidates: list[Candidate] = []
    for role in program.match(name, event).starts:
        _start(user, state, role, event, occurred_at_ms(event, a), a, candidates, out)
    at = max(a, state.decided_at)
    for candidate in candidates:
        _propose(program, candidate, state, at, a, out)


def fire_before(program: Program, user: str, state: UserState, limit_ms: int, out: Effects) -> bool:
    """Fire every timer of the user with F < `limit_ms`, in order of F."""
    changed = bool(program.withdrawn) and _withdraw(program, user, state, out)
    while 0 < state.due < limit_ms:
        changed = True
        due = state.due
        _fire(program, user, state, due, limit_ms, out)
        _settle(program, user, state, out)
    return changed


def _withdraw(program: Program, user: str, state: UserState, out: Effects) -> bool:
    """Cancel the instances that an activation has withdrawn. It comes before anything else that
    happens to the user after that activation, so it may come late."""
    found = [
        (instance, at)
        for instance in state.instances
        if (at := _withdrawn_at(program, instance)) is not None
    ]
    for instance, at in found:
        _remove(state, instance, out)
        absence.remember_end(state, instance.trigger, instance.per, instance.start_e, at, out)
        trigger, revision = instance.trigger, instance.revision
        out.decisions.append(_ended(instance, user, revision, at, Outcome.CANCELLED, None))
        out.journal.append(Journal(user, at, trigger, "CANCELLED", "apply"))
        out.funnel[FunnelKey(trigger, revision, "", at // DAY_MS, Outcome.CANCELLED)] += 1
    if found:
        _settle(program, user, state, out)
    return bool(found)


def _withdrawn_at(program: Program, instance: Instance) -> int | None:
    for revision, at in program.withdrawn.get(instance.trigger, ()):
        if instance.revision <= revision:
            return at
    return None


def _count(state: UserState, sign: int, out: Effects) -> None:
    for instance in state.instances:
        out.pending[instance.trigger, instance.revision] += sign


def _remove(state: UserState, instance: Instance, out: Effects) -> None:
    state.instances.remove(instance)
    out.pending[instance.trigger, instance.revision] -= 1


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
        candidates += _fire_instance(program, user, state, instance, due, out)
    for bundle in [bundle for bundle in state.bundles if bundle.close_at <= due]:
        state.bundles.remove(bundle)
        candidates += _close_bundle(program, user, state, bundle, due, out)
    for trigger in program.watching:
        if 0 < trigger.pattern.due(state) <= due:
            for activation in trigger.pattern.on_due(state, due):
                if not trigger.is_active(due):
                    continue
                if trigger.steps:
                    _arm(user, state, trigger, activation.per, activation, due, out)
                else:
                    candidates.append(_candidate(trigger, user, activation, activation.per, due))
    retention.prune(program, state, due, out)
    candidates.sort(key=lambda candidate: (candidate.trigger.order, candidate.per))
    at = max(due, state.decided_at)
    for candidate in candidates:
        out.fired_ms.append(due)
        _propose(program, candidate, state, at, polled_ms, out)


def _fire_instance(
    program: Program, user: str, state: UserState, instance: Instance, due: int, out: Effects
) -> list[Candidate]:
    """The candidate of an instance that is due; with a series it goes on to its next step."""
    trigger = program.triggers.get(instance.trigger)
    if trigger is None:
        # The trigger was removed while the instance was pending.
        _remove(state, instance, out)
        absence.remember_end(state, instance.trigger, instance.per, instance.start_e, due, out)
        at = max(due, state.decided_at)
        out.decisions.append(_ended(instance, user, 0, at, Outcome.SUPPRESSED, Reason.PAUSED))
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
        _remove(state, instance, out)
        absence.remember_end(state, instance.trigger, instance.per, instance.start_e, due, out)
    return [candidate]


def _close_bundle(
    program: Program, user: str, state: UserState, bundle: Bundle, due: int, out: Effects
) -> list[Candidate]:
    """One candidate of all that waited, except those whose own `per` value is cooling down."""
    trigger = program.triggers.get(bundle.trigger)
    at = max(due, state.decided_at)
    ready = []
    for waiting in bundle.waiting:
        reason: Reason | None = Reason.PAUSED
        if trigger is not None:
            alone = bundles.candidate_of(trigger, user, due, [waiting])
            reason = check_cooldown(alone, state, at)
        if reason is None:
            ready.append(waiting)
        else:
            revision = trigger.revision if trigger else 0
            out.decisions.append(
                _of_waiting(
                    bundle.trigger, waiting, user, revision, at, Outcome.SUPPRESSED, reason, None
                )
            )
    return [bundles.candidate_of(trigger, user, due, ready)] if trigger and ready else []


def _propose(
    program: Program, candidate: Candidate, state: UserState, at: int, caused_at: int, out: Effects
) -> None:
    """Admit a candidate, or let it wait for its bundle."""
    if candidate.trigger.bundle_ms and not candidate.items:
        bundles.collect(state, candidate, at)
    else:
        _admit(program, candidate, state, at, caused_at, out)


def _learn(program: Program, state: UserState, event: Event, a: int, out: Effects) -> bool:
    learnt = bool(program.traits) and learn_traits(program.traits, state, event)
    if learnt:
        _recall_untrue(program, state, a, out)
    if program.zoned:
        learnt |= learn_zone(state, event)
    if learnt:
        for trigger in program.watching:
            trigger.pattern.on_learnt(state, a)
    return learnt


def _note(
    state: UserState,
    notes: tuple[NoteRole, ...],
    event: Event,
    e: int,
    a: int,
    out: Effects,
) -> bool:
    failed = note_event(state, notes, event, e, a, out.evicted)
    for trigger in failed or ():
        out.unevaluated[trigger, Unevaluated.COULD_NOT_EVALUATE] += 1
    return failed is not None


def _recall_untrue(program: Program, state: UserState, a: int, out: Effects) -> None:
    """Call back the pending deliveries whose `still` the user's traits no longer fulfil."""
    for pending in state.pending:
        trigger = program.triggers.get(pending.trigger)
        if trigger is None or trigger.still is None or pending.cancelled:
            continue
        verdict = trigger.still.judge(state, a, pending.fields)
        if verdict is None:
            out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
        if not verdict:
            pending.cancelled = True
            out.cancelled.append(Recall(pending.delivery.hex(), a, Reason.NO_LONGER_TRUE))


def _notice_activity(program: Program, state: UserState, event: Event, a: int) -> bool:
    if a > state.seen:
        granule = program.granule_ms
        seen = -(-occurred_at_ms(event, a) // granule) * granule
        if seen > state.seen:
            state.seen = seen
            state.idle_fired.clear()
            return True
    # A trigger registered since the state was written may be due before what it says.
    due = state.due
    for trigger in program.watching:
        watched = trigger.pattern.due(state)
        if watched and not 0 < due <= watched:
            return True
    return False


def catch_up(state: UserState, seen: int) -> bool:
    """Write down activity that was noted elsewhere, `seen` rounded up to the granule; True when it
    is later. Whoever calls it sees to `due`, and has seen to it that no timer came before."""
    if seen <= state.seen:
        return False
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
            _remove(state, instance, out)
            absence.remember_end(state, trigger.id, instance.per, instance.start_e, a, out)
            out.decisions.append(
                _ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None)
            )
            out.journal.append(Journal(user, a, trigger.id, "CANCELLED", event.message_id))
            out.funnel[_stage(trigger, a, Outcome.CANCELLED)] += 1
    for waiting in bundles.take_out(state, trigger, clause, fields):
        changed = True
        out.decisions.append(
            _of_waiting(
                trigger.id, waiting, user, trigger.revision, a, Outcome.CANCELLED, None, None
            )
        )
        out.funnel[_stage(trigger, a, Outcome.CANCELLED)] += 1
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
    if not trigger.is_active(e):
        return False
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
    if trigger.steps:
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
    # A series that has begun to speak is restarted by a later start only, as one that has ended.
    spoken = current is not None and current.progress is not None and current.progress.step > 0
    if current is not None and not (trigger.restart and e >= current.start_e + spoken):
        return False
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
        _remove(state, current, out)
    instance = Instance(
        trigger=trigger.id,
        per=per,
        activation=activation.key,
        start_e=e,
        chain_e=chain_e,
        fire_at=absence.fire_time(trigger, 0, e, chain_e or e),
        fields=kept_fields(trigger, activation.start_fields, activation.event_fields),
        progress=None if activation.event == activation.key else Progress(activation.event),
        revision=trigger.revision,
    )
    if absence.died_already(state, trigger, e, instance.fields):
        absence.remember_end(state, trigger.id, per, e, a, out)
        out.decisions.append(_ended(instance, user, trigger.revision, a, Outcome.CANCELLED, None))
        out.funnel[_stage(trigger, a, Outcome.CANCELLED)] += 1
        return True
    state.instances.append(instance)
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
    _remove(state, oldest, out)
    absence.remember_end(state, trigger.id, oldest.per, oldest.start_e, a, out)
    out.decisions.append(_ended(oldest, user, trigger.revision, a, Outcome.CANCELLED, None))
    out.evicted["instances"] += 1


def _admit(
    program: Program, candidate: Candidate, state: UserState, at: int, caused_at: int, out: Effects
) -> None:
    """Decide one candidate at decision time `at`; book it when it is admitted."""
    trigger = candidate.trigger
    if out.on_admission is not None:
        out.on_admission(candidate, state, at)
    state.decided_at = at
    reason = refusal(candidate, state, at)
    if is_unevaluated(candidate, state, at, reason):
        out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
    outcome = Outcome.ADMITTED if reason is None else Outcome.SUPPRESSED
    delivery: str | None = None
    if reason is None:
        step = candidate.step
        delivery = delivery_id(
            trigger.id, candidate.user, candidate.activation, candidate.per, step
        )
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
    how = Outcome.SUPPRESSED if reason else Outcome.BUNDLED
    for waiting in candidate.items[1:]:
        revision, user = trigger.revision, candidate.user
        out.decisions.append(
            _of_waiting(trigger.id, waiting, user, revision, at, how, reason, delivery)
        )
        out.funnel[_stage(trigger, at, reason or how)] += 1


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
    step = _step_of(trigger, candidate.step)
    expires_at = candidate.due_ms + (step.expires_ms if step else trigger.expires_ms)
    if len(trigger.steps) > 1:
        _remember_said(state, candidate, at)
    state.pending.append(
        Pending(
            delivery=key,
            trigger=trigger.id,
            per=candidate.per,
            at=at,
            counts=trigger.marketing,
            drop_at=max(expires_at, at) + DAY_MS,
            fields=candidate.kept if trigger.unless or trigger.still is not None else {},
            others=[waiting.per for waiting in candidate.items[1:]],
            before=candidate.said_at,
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
            step=candidate.step,
            text=step.text if step else "",
            items=tuple(bundles.fields_of(trigger, waiting.fields) for waiting in candidate.items),
        )
    )


def _step_of(trigger: CompiledTrigger, number: int) -> Step | None:
    """A step; the last one when an edit has made the series shorter."""
    return trigger.steps[min(number, len(trigger.steps) - 1)] if trigger.steps else None


def _remember_said(state: UserState, candidate: Candidate, at: int) -> None:
    """The next step of the series does not run into the cooldown of this one."""
    instance = absence.find(state, candidate.trigger.id, candidate.per)
    if instance is not None and instance.activation == candidate.activation:
        progress = instance.progress or Progress()
        instance.progress = msgspec.structs.replace(progress, said_at=at)


def per_value(trigger: CompiledTrigger, event: Event) -> str | None:
    """What keys the instance: "" for the user, the messageId, or the value at the path.

    None: the path leads to nothing that can be a key (PER_MISSING, see `paths.key_of`).
    """
    if trigger.per_event:
        return event.message_id
    return "" if trigger.per is None else key_of(trigger.per(event))


def _of_instance(trigger: CompiledTrigger, user: str, instance: Instance) -> Candidate:
    start, event = bundles.fields_of(trigger, instance.fields)
    start_id, event_id = _message_ids(instance)
    progress = instance.progress or Progress()
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
        step=progress.step,
        said_at=progress.said_at,
    )


def _message_ids(instance: Instance) -> tuple[str | None, str | None]:
    """`$start` and `$event`; none where no event started it."""
    event = instance.progress.event if instance.progress else ""
    if event is None:
        return None, None
    return instance.activation, event or instance.activation


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


def _of_waiting(
    trigger: str,
    waiting: Waiting,
    user: str,
    revision: int,
    at: int,
    outcome: Outcome,
    reason: Reason | None,
    delivery: str | None,
) -> Decision:
    """How a candidate ended that waited for a bundle; `delivery` is what it became a part of."""
    return Decision(
        trigger=trigger,
        user=user,
        activation=waiting.activation,
        at_ms=at,
        outcome=outcome,
        reason=reason,
        start=waiting.start,
        event=waiting.event,
        revision=revision,
        delivery_id=delivery,
    )


def _stage(trigger: CompiledTrigger, at: int, stage: str) -> FunnelKey:
    return FunnelKey(trigger.id, trigger.revision, "", at // DAY_MS, stage)
