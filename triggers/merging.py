"""Identity: an anonymous profile becomes a part of a known one (design.md section 4).

`merge_of` reads an identify or alias event. `freeze` takes everything out of the anonymous profile,
which from then on only says where its records go; `absorb` adds it to the known one: instances,
devices and relations are moved, caps united, cooldowns and remembered cancels kept, and a cancel
known to one profile ends the instances of the other as if they had always been one.

An admitted delivery stays with the profile it was admitted for: its ledger is in that shard. What
is marketing and not on its way yet is called back (`recall_marketing`), and the claims of the gate
are copied (`engine.stream.shard`): limits hold for both profiles in the time of sending, too. What
the known profile knows of what is under way is kept by `triggers.guests`.
"""

import msgspec

from schemas.events import ID_CHARS_MAX, Event
from schemas.reasons import Outcome
from triggers import absence, attribution, bundles, guests, settling
from triggers.caps import unite_sent_by
from triggers.consent import unite
from triggers.effects import Effects, Journal, Recall
from triggers.endings import ended, ended_waiting
from triggers.exposure import is_marketing
from triggers.funnel import conclude
from triggers.notes import absorb_notes
from triggers.program import CompiledTrigger, Program
from triggers.reach import absorb_reached
from triggers.rotation import unite_texts
from triggers.state import (
    COOLDOWNS_MAX,
    DEVICES_MAX,
    INSTANCES_MAX,
    REMEMBERED_MAX,
    Bundle,
    Cooled,
    Held,
    Instance,
    Memory,
    Pending,
    Settling,
    UserState,
    encode_state,
    under_way,
)
from triggers.usual import unite_usual

#: A record has at most 1 MiB, and carries the state as base64.
MOVED_BYTES_MAX = 700_000
#: What the journal says of what did not fit.
TOO_LARGE = "TOO_LARGE"


def merge_of(event: Event) -> tuple[str, str] | None:
    """(anonymous, known) profiles that an event says are one, or None."""
    if event.type == "identify":
        anonymous = event.anonymous_id
    elif event.type == "alias":
        anonymous = event.previous_id
    else:
        return None
    known = event.user_id
    if not anonymous or not known or anonymous == known or len(anonymous) > ID_CHARS_MAX:
        return None
    return anonymous, known


def freeze(user: str, state: UserState, known: str) -> UserState | None:
    """Point the profile `user` to `known` and return what it held, None when it was frozen before.

    A device that changes hands: later records go to the last one who identified.
    """
    was_frozen = bool(state.merged_into)
    left = guests.leave_behind(user, state)
    moved = msgspec.structs.replace(state, pending=[], merged_into="", due=0, guests=left)
    for name, empty in zip(_FIELDS, msgspec.structs.astuple(UserState()), strict=True):
        if name not in ("version", "pending"):
            setattr(state, name, empty)
    state.merged_into = known
    return None if was_frozen else moved


def recall_marketing(state: UserState, a: int, out: Effects) -> None:
    """Call back what is under way to a profile that becomes a part of another one. The gate knows
    only what each of them was sent: nothing else keeps both from being sent something at once. What
    becomes of a message becomes of the ghosts, or the arms would differ in what they gave back."""
    for pending in state.pending:
        if is_marketing(pending) and not pending.cancelled:
            pending.cancelled = True
            out.cancelled.append(Recall(pending.delivery.hex(), a))


def lighten(program: Program, user: str, state: UserState, a: int, out: Effects) -> bool:
    """Make what is moved fit into one record of the log; True when something had to go.

    First goes what could only lead to a message: it ends CANCELLED, as what overflows otherwise
    does, and the journal says TOO_LARGE. Cancels become floors: towards silence.
    """
    if len(encode_state(state)) <= MOVED_BYTES_MAX:
        return False
    _end_all(program, user, state, a, out)
    state.patterns = {}
    for memory in state.memory.values():
        for cancel in memory.cancels:
            memory.cancel_floor = max(memory.cancel_floor, cancel.e)
        memory.cancels = []
    if len(encode_state(state)) > MOVED_BYTES_MAX:
        state.features, state.relations, state.traits = {}, {}, {}
        for kept in state.guests.values():
            for one in kept:
                one.others = []
        for memory in state.memory.values():
            memory.ended_floor = max([memory.ended_floor, *memory.ended.values()])
            memory.ended, memory.untimed = {}, {}
    return True


def _end_all(program: Program, user: str, state: UserState, a: int, out: Effects) -> None:
    how = Outcome.CANCELLED
    for instance in state.instances:
        trigger = program.triggers.get(instance.trigger)
        revision = trigger.revision if trigger else instance.revision
        conclude(out, ended(instance, user, revision, a, how, None))
        out.journal.append(Journal(user, a, instance.trigger, how, TOO_LARGE))
    collecting: list[Bundle | Settling | Held] = [*state.bundles, *state.settling, *state.held]
    for waits in collecting:
        trigger = program.triggers.get(waits.trigger)
        revision = trigger.revision if trigger else 0
        for waiting in waits.waiting:
            conclude(out, ended_waiting(waits.trigger, waiting, user, revision, a, how, None, None))
            out.journal.append(Journal(user, a, waits.trigger, how, TOO_LARGE))
    state.instances, state.bundles, state.settling, state.held = [], [], [], []


def thaw(state: UserState) -> None:
    """The profile is one of its own again: it and the one it became a part of named each other."""
    state.merged_into = ""


_FIELDS = UserState.__struct_fields__


def absorb(
    program: Program, user: str, state: UserState, moved: UserState, a: int, out: Effects
) -> None:
    """Add what another profile held to `user`, as of the record appended at `a`."""
    state.merged_into = ""
    _unite_rings(state, moved)
    if moved.guests:
        guests.unite(user, state, moved, out)
    if moved.seen > state.seen:
        state.seen = moved.seen
        state.idle_fired = moved.idle_fired
    state.decided_at = max(state.decided_at, moved.decided_at)
    for trigger, memory in moved.memory.items():
        mine = state.memory.get(trigger)
        state.memory[trigger] = memory if mine is None else _united(mine, memory)
    known = {device.packed for device in state.devices}
    state.devices += [device for device in moved.devices if device.packed not in known]
    state.devices = sorted(state.devices, key=lambda device: device.seen)[-DEVICES_MAX:]
    state.consent = unite(state.consent, moved.consent)
    for instance in moved.instances:
        _move(program, state, instance)
    if moved.bundles:
        bundles.unite(program, state, moved, a)
    state.settling += moved.settling
    state.held += moved.held
    unite_usual(state, moved)
    _end_the_cancelled(program, user, state, a, out)
    settling.bound(state, a)
    state.traits = {**moved.traits, **state.traits}
    state.zone = state.zone or moved.zone
    state.patterns = {**moved.patterns, **state.patterns}
    for watching in program.watching:
        watching.pattern.on_learnt(state, a)
    # Its counters are told already: where both were exposed, one goes on alone. The one of the
    # later revision, or the user would be counted under that one once more.
    for name, exposed in moved.exposed.items():
        known_as = state.exposed.get(name)
        if known_as is None or exposed.revision > known_as.revision:
            state.exposed[name] = exposed
    notes = (*program.features.values(), *program.relations.values())
    absorb_notes(notes, state, moved, a, out.evicted)
    absorb_told(state, moved, out)
    out.journal.append(Journal(user, a, "", "MERGED", ""))


def absorb_told(state: UserState, moved: UserState, out: Effects) -> None:
    """Add what was told of messages: all that comes with an outcome that is passed on."""
    if moved.touches and (left_out := attribution.unite(state, moved)):
        out.evicted["touches"] += left_out
    absorb_reached(state, moved, out)


def _unite_rings(state: UserState, moved: UserState) -> None:
    """Caps, spacing and cooldowns of both: the union blocks at least as much as either."""
    state.sends = sorted([*state.sends, *moved.sends])
    here, there = under_way(state), under_way(moved)
    _cooled_before(here, moved.cooled, there)
    _cooled_before(there, state.cooled, here)
    cooled = {(c.trigger, c.per): c for c in state.cooled}
    for found in moved.cooled:
        mine = cooled.get((found.trigger, found.per))
        if mine is None or found.at > mine.at:
            cooled[found.trigger, found.per] = found
    state.cooled = sorted(cooled.values(), key=lambda c: (c.at, c.trigger, c.per))
    for trigger, at in moved.cooled_floor.items():
        state.cooled_floor[trigger] = max(at, state.cooled_floor.get(trigger, 0))
    unite_sent_by(state, moved)
    unite_texts(state, moved)
    while len(state.cooled) > COOLDOWNS_MAX:
        oldest = state.cooled.pop(0)
        floor = state.cooled_floor.get(oldest.trigger, 0)
        state.cooled_floor[oldest.trigger] = max(oldest.at, floor)


def _cooled_before(deliveries: list[Pending], cooled: list[Cooled], others: list[Pending]) -> None:
    """The cooldown of one of these deliveries has replaced that of the other profile's before it,
    which comes back when the delivery is given back. One that the other profile knows of, too (it
    went round a ring), may meet its own there."""
    known = {pending.delivery for pending in others}
    for pending in deliveries:
        if pending.delivery in known:
            continue
        for found in cooled:
            same = found.trigger == pending.trigger and found.per in (pending.per, *pending.others)
            if same and pending.at >= found.at:
                pending.merged_before = max(pending.merged_before, found.at)


def _united(mine: Memory, other: Memory) -> Memory:
    """What both remember, within the bounds; overflow raises the floors (towards silence)."""
    for cancel in other.cancels:
        if not any(kept == cancel for kept in mine.cancels):
            mine.cancels.append(cancel)
    mine.cancels.sort(key=lambda cancel: cancel.e)
    mine.cancel_floor = max(mine.cancel_floor, other.cancel_floor)
    while len(mine.cancels) > REMEMBERED_MAX:
        mine.cancel_floor = max(mine.cancel_floor, mine.cancels.pop(0).e)
    for key, e in other.ended.items():
        mine.ended[key] = max(e, mine.ended.get(key, 0))
    mine.ended_floor = max(mine.ended_floor, other.ended_floor)
    while len(mine.ended) > REMEMBERED_MAX:
        oldest = min(mine.ended, key=lambda name: (mine.ended[name], name))
        mine.ended_floor = max(mine.ended_floor, mine.ended.pop(oldest))
    newest = sorted({**other.untimed, **mine.untimed}.items(), key=lambda item: (item[1], item[0]))
    mine.untimed = dict(newest[-REMEMBERED_MAX:])
    return mine


def _move(program: Program, state: UserState, instance: Instance) -> None:
    """One instance for a trigger and per value: what restarting or keeping would have left."""
    current = absence.find(state, instance.trigger, instance.per)
    if current is None:
        state.instances.append(instance)
        return
    trigger = program.triggers.get(instance.trigger)
    restarts = trigger is None or trigger.restart
    earlier, later = sorted((current, instance), key=lambda one: one.start_e)
    kept = later if restarts else earlier
    if kept is not current:
        state.instances[state.instances.index(current)] = kept
    if trigger is not None and restarts:
        _go_on(trigger, earlier, later)
    elif later.start_e > earlier.start_e:
        # Sent again when the instance has ended, it would look like a new start.
        kept.chain_e = absence.last_start_e(later)


def _go_on(trigger: CompiledTrigger, earlier: Instance, later: Instance) -> None:
    """The chain of restarts goes on in the later start, unless its series has begun to speak."""
    if any(one.progress is not None and one.progress.step > 0 for one in (earlier, later)):
        return
    chain_e = min(one.chain_e or one.start_e for one in (earlier, later))
    later.chain_e = chain_e
    if trigger.restart_at_most_ms:
        _, grace_ms, *_ = trigger.steps[0]
        later.fire_at = min(later.fire_at, chain_e + trigger.restart_at_most_ms + grace_ms)


def _end_the_cancelled(program: Program, user: str, state: UserState, a: int, out: Effects) -> None:
    """T5 over both profiles: a remembered cancel not earlier than a start ends its instance, and
    takes it out of a bundle or a settle window."""
    for instance in list(state.instances):
        trigger = program.triggers.get(instance.trigger)
        if trigger is None:
            continue
        mine = sum(1 for one in state.instances if one.trigger == instance.trigger)
        dead = absence.died_already(state, trigger, instance.start_e, instance.fields)
        if not dead and mine <= INSTANCES_MAX:
            continue
        state.instances.remove(instance)
        absence.remember_end(
            state, trigger.id, instance.per, absence.last_start_e(instance), a, out
        )
        revision = trigger.revision
        conclude(out, ended(instance, user, revision, a, Outcome.CANCELLED, None))
    collecting: list[Bundle | Settling | Held] = [*state.bundles, *state.settling, *state.held]
    for bundle in collecting:
        trigger = program.triggers.get(bundle.trigger)
        if trigger is None:
            continue
        for waiting in list(bundle.waiting):
            if absence.died_already(state, trigger, waiting.start_e, waiting.fields):
                bundle.waiting.remove(waiting)
                how, revision = Outcome.CANCELLED, trigger.revision
                conclude(
                    out, ended_waiting(trigger.id, waiting, user, revision, a, how, None, None)
                )
    state.bundles = [bundle for bundle in state.bundles if bundle.waiting]
    state.settling = [settles for settles in state.settling if settles.waiting]
    state.held = [held for held in state.held if held.waiting]
