"""The decision: one user's state, one input, and what follows. Everything else carries it out.

Inputs come in log order per user: `apply_event`, `apply_outcome`, `fire_before`. Each changes the
state in place, appends to `Effects` and answers whether the state changed. The live shard, the
backtest and the tests call the same four functions; there is no second evaluator.

Time (design.md section 5): `a` is the append time of the record, `e` its client time. Before a
record is applied, the user's timers with F < a fire, so a cancel at F itself still wins. A timer
decides at max(F, the user's last decision time), never at the time it is polled.
"""

from schemas.events import ENGINE_MADE, Event, occurred_at_ms
from schemas.outcomes import Reaction
from schemas.reasons import REACTIONS, REFUNDED, Reason, Unevaluated
from schemas.records import OutcomeRecord, outcome_event
from triggers import (
    absence,
    attribution,
    booking,
    exposure,
    guests,
    holding,
    instances,
    readout,
    retention,
    settling,
)
from triggers.admission import (
    Candidate,
    refund,
)
from triggers.answers import LEAVES, Answer
from triggers.consent import leaves
from triggers.consenting import (
    forget_profile,
    hear,
    program_of,
    recall_forbidden,
    refuses_profiling,
    who_decides,
)
from triggers.devices import register_device, remove_dead, tells_device
from triggers.effects import Admitted, Effects, Journal, Merge
from triggers.merging import (
    absorb,
    absorb_told,
    freeze,
    lighten,
    merge_of,
    recall_marketing,
)
from triggers.names import is_merging, outcome_name
from triggers.notes import NoteRole, is_new, note_event
from triggers.opening import HOUR_MS
from triggers.paths import key_of
from triggers.patterns.base import Occasion
from triggers.program import NO_HITS, CompiledTrigger, Hits, Program, Role
from triggers.reach import count_accepted
from triggers.state import UserState, is_blank
from triggers.traits import learn_traits, learn_zone
from triggers.usual import note_usual


def next_due(program: Program, state: UserState) -> int:
    """The user's earliest deadline: the score of its only entry in the timer index, 0 for none."""
    if state.consent is not None:
        program = program_of(program, state)
    due = 0
    for instance in state.instances:
        if not due or instance.fire_at < due:
            due = instance.fire_at
    for bundle in state.bundles:
        if not due or bundle.close_at < due:
            due = bundle.close_at
    for held in state.held:
        if not due or held.release_at < due:
            due = held.release_at
    if state.settling:
        closes_at = settling.closes_at(state)
        due = min(due, closes_at) if due else closes_at
    for trigger in program.watching:
        watched = trigger.pattern.due(state)
        if watched and (not due or watched < due):
            due = watched
    forgets = retention.due(program, state, due)
    return forgets if forgets and (not due or forgets < due) else due


def apply_event(
    program: Program, user: str, state: UserState, event: Event, a: int, hits: Hits, out: Effects
) -> bool:
    """Apply one client event appended at `a`; `hits` is `program.hits` of it."""
    if program.canaries and (own := program.for_user(user)) is not program:
        program, hits = own, own.hits(event) or NO_HITS
    changed = False
    if 0 < state.due < a or (program.withdrawn and (state.instances or state.held)):
        changed = fire_before(program, user, state, a, out)
    of_user = event.type not in ENGINE_MADE
    context = event.context
    left = False
    if hits.consent:
        left = event.type == "preference" and leaves(state, event)
        changed |= hear(program, user, state, event, a, out)
    elif context is not None and "device" in context and of_user and tells_device(state, event, a):
        changed |= register_device(state, event, a)
    if event.type != "track" and is_merging(event):
        _announce_merge(user, event, a, out)
    decider = watcher = program
    candidates: list[Candidate] = []
    e = a
    # Most events mean nothing to any trigger, and then nobody asks for their client time.
    if hits is not NO_HITS or state.consent is not None:
        e = occurred_at_ms(event, a)
        if state.consent is not None:
            decider, hits = who_decides(program, state, hits, e, out)
            watcher = program_of(program, state)
        for trigger in hits.errors:
            out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
        for role in hits.cancels:
            changed |= instances.cancel(user, state, role, event, e, a, out)
        for role in hits.starts:
            changed |= _start(user, state, role, event, e, a, candidates, out)
    if of_user:
        # After the patterns, which compare with what was known, and before admission, which asks.
        # What most events do not change is asked here already: each call is 2 % of an event.
        seen = state.seen
        if watcher.granule_ms and (a > seen or not 0 < state.due <= seen + watcher.calm_ms):
            changed |= _notice_activity(watcher, state, event, a)
        tells_zone = context is not None and context.get("timezone", state.zone) != state.zone
        if decider.traits or (tells_zone and decider.zoned):
            changed |= _learn(decider, user, state, event, a, out)
        usual = state.usual
        if decider.habits and (not usual or usual[0] < a // HOUR_MS):
            changed |= note_usual(state, occurred_at_ms(event, a), decider.habits)
    if hits is NO_HITS and not left:
        if changed:
            _settle(program, user, state, a, out)
        return changed
    answer = LEAVES if left else hits.answer
    if answer is not None and not (state.touches or state.pending or state.exposed):
        answer = None
    # A message sent twice is noted, and credited, once.
    if (hits.notes or (answer is not None and answer.goals)) and is_new(
        state, event.message_id, a, out.evicted
    ):
        changed = True
        _note(state, hits.notes, event, e, a, out)
        if answer is not None and answer.goals:
            changed |= _reach(program, user, state, answer, event, e, a, candidates, out)
    if answer is not None and (answer.stages or answer.leaves):
        changed |= _hear(program, user, state, answer, event, e, a, candidates, out)
    if candidates:
        _propose(program, state, candidates, a, out)
    if changed:
        _settle(program, user, state, a, out)
    return changed


def _announce_merge(user: str, event: Event, a: int, out: Effects) -> None:
    pair = merge_of(event)
    # `user` is whom the known profile of the event is a part of by now.
    if pair is not None and pair[0] != user:
        out.merges.append(Merge(pair[0], user, a))


def apply_merge(
    program: Program, user: str, state: UserState, known: str, a: int, out: Effects
) -> bool:
    """`user` is a part of `known` from here on; what it held is sent there, once."""
    program = program.for_user(user)
    changed = fire_before(program, user, state, a, out)
    if state.merged_into == known:
        return changed
    recall_marketing(state, a, out)
    instances.count(state, -1, out)
    moved = freeze(user, state, known)
    if moved is not None and not is_blank(moved):
        out.evicted["moved"] += lighten(program, user, moved, a, out)
        out.merges.append(Merge(user, known, a, moved))
    _settle(program, user, state, a, out)
    return True


def apply_merged(
    program: Program,
    user: str,
    state: UserState,
    moved: UserState,
    a: int,
    out: Effects,
    outcome: OutcomeRecord | None = None,
) -> bool:
    """Another profile is a part of `user` from here on; `moved` is what it held. `outcome`: what
    became of a delivery of one that already was."""
    program = program.for_user(user)
    fire_before(program, user, state, a, out)
    if outcome is None:
        _absorb(program, user, state, moved, a, out)
    else:
        absorb_told(state, moved, out)
        _hear_of_guest(program, user, state, outcome, a, out)
    _settle(program, user, state, a, out)
    return True


def _absorb(
    program: Program, user: str, state: UserState, moved: UserState, a: int, out: Effects
) -> None:
    instances.count(state, -1, out)
    zones = (state.zone, moved.zone)
    own = list(state.held)
    absorb(program, user, state, moved, a, out)
    instances.count(state, 1, out)
    if moved.traits:
        booking.recall_untrue(program, state, a, out)
    for zone, held in zip(zones, (own, moved.held), strict=True):
        if held and state.zone != zone:
            holding.look_again(program, user, state, held, a)
    holding.bound(program, user, state, a, out)
    if state.consent is not None:
        recall_forbidden(program, state, a, out)
        if refuses_profiling(state.consent):
            forget_profile(program, user, state, a, out)


def _hear_of_guest(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> None:
    """What became of a delivery that was admitted for a profile that is a part of this one."""
    # Its devices are this profile's now.
    remove_dead(state, record.dead_tokens)
    if record.reason in REACTIONS:
        _apply_reaction(program, user, state, record, a, out)
        return
    ended = guests.settle(user, state, record, a, out)
    if ended is not None:
        _tell_ending(program, user, state, record, ended.at, a, out)


def apply_outcome(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> bool:
    """Apply how a delivery ended, or what followed. The first outcome of a delivery counts (T9),
    until `drop_at`, and the first of each reaction."""
    program = program.for_user(user)
    if record.reason in REACTIONS:
        return _apply_reaction(program, user, state, record, a, out)
    changed = fire_before(program, user, state, a, out)
    changed |= remove_dead(state, record.dead_tokens)
    changed |= _end(program, user, state, record, a, out)
    if changed:
        _settle(program, user, state, a, out)
    return changed


def apply_at_once(
    program: Program, user: str, state: UserState, record: OutcomeRecord, out: Effects
) -> None:
    """Apply how a delivery ended where that is known when it is decided: no log holds it.

    It fires no timer: who calls it has fired those of before the record that was answered. The
    decision may be a millisecond ahead of the log, and a cancel at F itself still wins."""
    program = program.for_user(user)
    if _end(program, user, state, record, record.at_ms, out):
        _settle(program, user, state, record.at_ms, out)


def _end(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> bool:
    """A delivery has ended; False when nobody waits for that."""
    key = bytes.fromhex(record.delivery_id)
    for pending in state.pending:
        if pending.delivery == key and a < pending.drop_at:
            break
    else:
        return False
    state.pending.remove(pending)
    if record.reason in REFUNDED:
        refund(state, pending)
    elif pending.counts:
        out.reached.append(guests.reached(user, record, pending))
    out.closed.append(record.delivery_id)
    out.journal.append(Journal(user, a, record.trigger, record.reason, record.delivery_id))
    if record.reason is Reason.ACCEPTED:
        count_accepted(state, a, out)
    attribution.end(program, user, state, pending, record, a, out)
    if state.merged_into:
        _pass_on(user, state, record, a, out)
    else:
        _tell_ending(program, user, state, record, pending.at, a, out)
    return True


def _pass_on(user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects) -> None:
    """The profile was merged while the message was under way: what became of it is told there."""
    moved = UserState(touches=state.touches, reached=state.reached)
    state.touches, state.reached = [], []
    out.merges.append(Merge(user, state.merged_into, a, moved, record))


def _tell_ending(
    program: Program,
    user: str,
    state: UserState,
    record: OutcomeRecord,
    admitted_at: int,
    a: int,
    out: Effects,
) -> None:
    name = outcome_name(record.trigger, record.reason.lower())
    if name not in program.by_event:
        return
    event = outcome_event(record, a)
    candidates: list[Candidate] = []
    _tell(program, user, state, name, event, occurred_at_ms(event, a), a, candidates, out)
    # What follows is later than the message, also where every message is accepted at once
    # (backtest), so it does not compete with it.
    _propose(program, state, candidates, a, out, admitted_at + 1)


def _apply_reaction(
    program: Program, user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> bool:
    """What a client's event says of a delivery, said by the engine's own record."""
    changed = fire_before(program, user, state, a, out)
    if state.merged_into:
        attribution.touch_early(program, state, bytes.fromhex(record.delivery_id), out)
        _pass_on(user, state, record, a, out)
        return True
    kind = Reaction(record.reason.lower())
    leaves = kind is Reaction.UNSUBSCRIBED
    answer = Answer((), () if leaves else (kind,), leaves, bytes.fromhex(record.delivery_id))
    event = outcome_event(record, a)
    candidates: list[Candidate] = []
    e = occurred_at_ms(event, a)
    changed |= _hear(program, user, state, answer, event, e, a, candidates, out)
    _propose(program, state, candidates, a, out)
    if changed:
        _settle(program, user, state, a, out)
    return changed


def _reach(
    program: Program,
    user: str,
    state: UserState,
    answer: Answer,
    event: Event,
    e: int,
    a: int,
    candidates: list[Candidate],
    out: Effects,
) -> bool:
    """A goal event: credit it, count it for what is measured, tell the patterns that wait."""
    if absence.is_late(e, a):
        for name in answer.goals:
            out.unevaluated[name, Unevaluated.LATE_EVENT] += 1
        return False
    counted = readout.reach(program, user, state, answer, event, e, a, out)
    new = attribution.reach(program, user, state, answer, event, e, a, out)
    for trigger, kind in new:
        name = outcome_name(trigger, kind)
        _tell(program, user, state, name, event, e, a, candidates, out)
    return counted or bool(new)


def _hear(
    program: Program,
    user: str,
    state: UserState,
    answer: Answer,
    event: Event,
    e: int,
    a: int,
    candidates: list[Candidate],
    out: Effects,
) -> bool:
    """An event about a message, or a user who leaves."""
    counted = False
    new = attribution.react(program, user, state, answer, e, a, out)
    if answer.leaves and not absence.is_late(e, a):
        counted = readout.leave(program, user, state, e, a, out)
        new += attribution.leave(program, user, state, answer.delivery, e, a, out)
    for trigger, kind in new:
        name = outcome_name(trigger, kind)
        _tell(program, user, state, name, event, e, a, candidates, out)
    # What a ghost is credited with changes the state, and nobody is told.
    return counted or bool(new) or (answer.leaves and bool(state.touches))


def _tell(
    program: Program,
    user: str,
    state: UserState,
    name: str,
    event: Event,
    e: int,
    a: int,
    candidates: list[Candidate],
    out: Effects,
) -> None:
    """Hand what became of a message to the patterns that wait for it."""
    program = program_of(program, state)
    for role in program.match(name, event).starts:
        _start(user, state, role, event, e, a, candidates, out)


def _propose(
    program: Program,
    state: UserState,
    candidates: list[Candidate],
    a: int,
    out: Effects,
    not_before_ms: int = 0,
) -> None:
    at = max(a, state.decided_at, not_before_ms)
    for candidate in candidates:
        booking.propose(program, candidate, state, at, a, out)


def ended_at_once(admitted: Admitted) -> OutcomeRecord:
    """The end of every message where all are accepted when they are decided; a ghost ends there."""
    return OutcomeRecord(
        admitted.delivery_id,
        admitted.user,
        admitted.trigger.id,
        Reason(admitted.ghost or Reason.ACCEPTED),
        admitted.decided_at_ms,
    )


def fire_before(program: Program, user: str, state: UserState, limit_ms: int, out: Effects) -> bool:
    """Fire every timer of the user with F < `limit_ms`, in order of F."""
    program = program.for_user(user)
    changed = False
    if program.withdrawn and _withdraw(program, user, state, out):
        changed = True
        _settle(program, user, state, 0, out)
    while 0 < state.due < limit_ms:
        changed = True
        due = state.due
        _fire(program, user, state, due, limit_ms, out)
        _settle(program, user, state, 0, out)
    return changed


def _withdraw(program: Program, user: str, state: UserState, out: Effects) -> bool:
    withdrawn = instances.withdraw(program, user, state, out)
    return holding.withdraw(program, user, state, out) or withdrawn


def _settle(program: Program, user: str, state: UserState, a: int, out: Effects) -> None:
    """After a change by a record appended at `a`, 0 for a timer: when to wake up next, and whether
    anything is left of the user.

    What the record makes due in a past of which is forgotten what was sent (activity that was told
    after days, a merge that an outage held up) is decided where that is still known.
    """
    state.due = next_due(program, state)
    if 0 < state.due < a - retention.LOOK_BACK_MS:
        state.decided_at = max(state.decided_at, a - retention.LOOK_BACK_MS)
        state.due = next_due(program, state)
    if is_blank(state):
        out.forgotten[user] = len(out.journal)


def _fire(
    program: Program, user: str, state: UserState, due: int, polled_ms: int, out: Effects
) -> None:
    program = program_of(program, state)
    candidates: list[Candidate] = []
    for instance in [instance for instance in state.instances if instance.fire_at <= due]:
        candidates += instances.fire_instance(program, user, state, instance, due, out)
    if state.bundles:
        for bundle in [bundle for bundle in state.bundles if bundle.close_at <= due]:
            state.bundles.remove(bundle)
            candidates += booking.close_bundle(program, user, state, bundle, due, out)
    for trigger in program.watching:
        if 0 < trigger.pattern.due(state) <= due:
            for activation in trigger.pattern.on_due(state, due):
                if not trigger.is_active(due):
                    continue
                if trigger.steps:
                    instances.arm(user, state, trigger, activation.per, activation, due, out)
                else:
                    exposure.expose_at_start(trigger, user, state, activation.start_e, due, out)
                    candidates.append(
                        booking.candidate_of(trigger, user, activation, activation.per, due)
                    )
    if state.held:
        candidates += holding.release(program, user, state, due, out)
    retention.prune(program, user, state, due, out)
    at = max(due, state.decided_at)
    if state.settling:
        # Who comes when the window closes still competes.
        for candidate in filter(settling.settles, candidates):
            settling.collect(state, candidate, at)
        candidates = [one for one in candidates if not settling.settles(one)]
        if settling.closes_at(state) <= due:
            candidates += settling.close(program, user, state, at, out)
    if len(candidates) > 1:
        candidates.sort(key=settling.rank)
    for candidate in candidates:
        out.fired_ms.append(due)
        candidate = booking.after_said(candidate, at, out)
        booking.propose(program, candidate, state, at, polled_ms, out)


def _learn(
    program: Program, user: str, state: UserState, event: Event, a: int, out: Effects
) -> bool:
    learnt = bool(program.traits) and learn_traits(program.traits, state, event)
    if learnt:
        booking.recall_untrue(program, state, a, out)
    if program.zoned and learn_zone(state, event):
        learnt = True
        if state.held:
            holding.look_again(program, user, state, state.held, a)
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
) -> None:
    for trigger in note_event(state, notes, event, e, a, out.evicted):
        out.unevaluated[trigger, Unevaluated.COULD_NOT_EVALUATE] += 1


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


def catch_up(program: Program, state: UserState, seen: int) -> bool:
    """Write down activity that was noted elsewhere, `seen` rounded up to the granule; True when it
    is later. Whoever calls it sees to `due`, and has seen to it that no timer came before."""
    if seen <= state.seen or not program_of(program, state).granule_ms:
        return False
    state.seen = seen
    state.idle_fired.clear()
    return True


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
        out.unevaluated[trigger.id, Unevaluated.NOT_ACTIVE] += 1
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
        return instances.arm(user, state, trigger, per, activation, a, out) or changed
    if absence.is_acted_on(state, trigger.id, activation.key, e, a):
        out.unevaluated[trigger.id, Unevaluated.REPEATED] += 1
        return changed
    absence.remember_end(state, trigger.id, activation.key, e, a, out)
    if trigger.experiment is not None:
        exposure.expose_at_start(trigger, user, state, activation.start_e, a, out)
    candidates.append(booking.candidate_of(trigger, user, activation, per, a))
    return True


def per_value(trigger: CompiledTrigger, event: Event) -> str | None:
    """What keys the instance: "" for the user, the messageId, or the value at the path.

    None: the path leads to nothing that can be a key (PER_MISSING, see `paths.key_of`).
    """
    if trigger.per_event:
        return event.message_id
    return "" if trigger.per is None else key_of(trigger.per(event))
