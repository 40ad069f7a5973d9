"""What a user's state may forget, and when. Driven by the timer index, never by a TTL.

Every remembered thing has a time from which it can no longer change a verdict. `due` is the latest
of them, so that one wake-up forgets everything; `prune` drops what has expired. Forgetting later
never changes a decision: each reader compares times itself. Forgetting earlier would: a start may
be up to 24 h old, and then its F lies before the log time at which it is decided, so what
admission reads (sends, cooldowns, the last decision) is kept `LOOK_BACK_MS` longer.
"""

from typing import Any

from triggers import attribution, exposure, guests
from triggers.effects import Effects
from triggers.endings import lost
from triggers.notes import MESSAGES, forget_messages, messages_expiry
from triggers.patterns.base import Pattern
from triggers.program import Program
from triggers.reach import reached_expiry
from triggers.rotation import TURNS_KEPT_MS
from triggers.state import MEMORY_MS, Memory, UserState, under_way
from triggers.usual import usual_expiry

#: No decision is earlier than this before the log time: F > e >= a - 24 h (design.md T1, T4).
LOOK_BACK_MS = MEMORY_MS
#: A start of client time s is late when a - s > 24 h, so e matters until a = e + 24 h.
_KEPT_MS = MEMORY_MS + 1


def due(program: Program, state: UserState, before: int = 0) -> int:
    """The log time at which everything remembered now can be forgotten; 0 when nothing is.

    Where it is `before` or later, any such time: who only wants to know what comes first need not
    look at everything."""
    latest = state.decided_at + LOOK_BACK_MS if not state.seen and state.decided_at else 0
    if state.pending or state.guests:
        for pending in under_way(state):
            if pending.drop_at > latest:
                latest = pending.drop_at
    if state.sends and (at := _sends_expiry(program, state)) > latest:
        latest = at
    for memory in state.memory.values():
        if 0 < before <= latest:
            return latest
        if (at := _latest_of(memory) + _KEPT_MS) > latest:
            latest = at
    if 0 < before <= latest:
        return latest
    if (
        state.sent_by
        or state.cooled
        or state.cooled_floor
        or state.features
        or state.relations
        or state.patterns
        or state.touches
    ):
        latest = _latest(program, state, latest)
    if not latest and (state.usual or state.reached or state.texts or state.exposed):
        return _long_due(program, state)
    return latest


def _latest(program: Program, state: UserState, latest: int) -> int:
    """The latest of `latest` and of what fewer users have."""
    if state.sent_by:
        latest = max(latest, max(_sent_by_expiry(program, state, name) for name in state.sent_by))
    for cooled in state.cooled:
        if (at := _cooldown_expiry(program, cooled.trigger, cooled.at)) > latest:
            latest = at
    if state.cooled_floor:
        for trigger, at in state.cooled_floor.items():
            latest = max(latest, _cooldown_expiry(program, trigger, at))
    if state.features or state.relations:
        latest = max(latest, _noted_expiry(program, state))
    if state.patterns:
        for trigger, pattern_memory in state.patterns.items():
            latest = max(latest, _pattern_expiry(program, trigger, pattern_memory))
    for touch in state.touches:
        if (at := attribution.keeps_until(program, touch)) > latest:
            latest = at
    return latest


def _long_due(program: Program, state: UserState) -> int:
    """Of what is kept for months: it must not keep all else from being forgotten."""
    latest = reached_expiry(state)
    if state.usual:
        latest = max(latest, usual_expiry(state) if program.habits else 1)
    for name in state.texts:
        latest = max(latest, _texts_expiry(program, state, name))
    for trigger, exposed in state.exposed.items():
        latest = max(latest, exposure.kept_until(program, trigger, exposed) + LOOK_BACK_MS)
    return latest


def prune(program: Program, user: str, state: UserState, now_ms: int, out: Effects) -> None:
    """Forget what can no longer change a verdict at log time `now_ms`."""
    if state.memory:
        for name in [n for n, memory in state.memory.items() if _memory_expiry(memory) <= now_ms]:
            del state.memory[name]
    if state.sends and _sends_expiry(program, state) <= now_ms:
        state.sends.clear()
    if state.sent_by:
        for name in [n for n in state.sent_by if _sent_by_expiry(program, state, n) <= now_ms]:
            del state.sent_by[name]
    if state.usual and (not program.habits or usual_expiry(state) <= now_ms):
        state.usual = []
    if state.texts:
        for name in [n for n in state.texts if _texts_expiry(program, state, n) <= now_ms]:
            del state.texts[name]
    if state.cooled:
        state.cooled = [
            cooled
            for cooled in state.cooled
            if _cooldown_expiry(program, cooled.trigger, cooled.at) > now_ms
        ]
    if state.cooled_floor:
        for trigger, at in list(state.cooled_floor.items()):
            if _cooldown_expiry(program, trigger, at) <= now_ms:
                del state.cooled_floor[trigger]
    if _forgets_decision(state) and state.decided_at + LOOK_BACK_MS <= now_ms:
        state.decided_at = 0
    if state.pending:
        for pending in [pending for pending in state.pending if pending.drop_at <= now_ms]:
            state.pending.remove(pending)
            lost(user, pending, now_ms, out)
    if state.guests:
        guests.expire(state, now_ms)
    if state.reached and reached_expiry(state) <= now_ms:
        state.reached = []
    if state.features or state.relations:
        _prune_noted(program, state, now_ms)
    if state.exposed:
        for trigger, exposed in list(state.exposed.items()):
            if exposure.kept_until(program, trigger, exposed) + LOOK_BACK_MS <= now_ms:
                del state.exposed[trigger]
    if state.touches:
        state.touches = [
            touch for touch in state.touches if attribution.keeps_until(program, touch) > now_ms
        ]
    if state.patterns:
        _prune_patterns(program, state, now_ms)


def prune_memory(memory: Memory, now_ms: int) -> None:
    """Forget the expired entries of one trigger's memory."""
    oldest_e = now_ms - MEMORY_MS
    memory.cancels = [cancel for cancel in memory.cancels if cancel.e >= oldest_e]
    memory.ended = {key: e for key, e in memory.ended.items() if e >= oldest_e}
    memory.untimed = {key: a for key, a in memory.untimed.items() if a >= oldest_e}


def _memory_expiry(memory: Memory) -> int:
    return _latest_of(memory) + _KEPT_MS


def _latest_of(memory: Memory) -> int:
    latest, ended = memory.cancel_floor, memory.ended_floor
    if ended > latest:
        latest = ended
    for cancel in memory.cancels:
        if cancel.e > latest:
            latest = cancel.e
    for times in (memory.ended, memory.untimed):
        for at in times.values():
            if at > latest:
                latest = at
    return latest


def _sends_expiry(program: Program, state: UserState) -> int:
    return state.sends[-1] + program.sends_window_ms + LOOK_BACK_MS


def _sent_by_expiry(program: Program, state: UserState, category: str) -> int:
    """Of a category that has no cap any more nothing is asked."""
    if category not in program.categories:
        return 1
    return state.sent_by[category][-1] + program.sends_window_ms + LOOK_BACK_MS


def _texts_expiry(program: Program, state: UserState, trigger_id: str) -> int:
    """Of a trigger that no longer rotates nothing is asked."""
    trigger = program.triggers.get(trigger_id)
    if trigger is None or trigger.rotation is None:
        return 1
    kept_ms = max(trigger.rotation.no_repeat_ms, TURNS_KEPT_MS)
    return max(state.texts[trigger_id].values()) + kept_ms + LOOK_BACK_MS


def _cooldown_expiry(program: Program, trigger_id: str, at: int) -> int:
    trigger = program.triggers.get(trigger_id)
    if trigger is None:
        return at
    return at + max(trigger.cooldown_user_ms, trigger.cooldown_per_ms) + LOOK_BACK_MS


def _noted_expiry(program: Program, state: UserState) -> int:
    """Of features and relations; what nobody asks for any more goes with the next timer."""
    latest = messages_expiry(state)
    for key in state.features:
        feature = program.features.get(key)
        if feature is not None:
            latest = max(latest, feature.keeps_until(state))
        elif key != MESSAGES:
            latest = max(latest, 1)
    for name in state.relations:
        relation = program.relations.get(name)
        latest = max(latest, 1 if relation is None else relation.keeps_until(state))
    return latest


def _prune_patterns(program: Program, state: UserState, now_ms: int) -> None:
    for trigger_id, remembered in list(state.patterns.items()):
        pattern = _pattern_of(program, trigger_id, remembered)
        if pattern is None:
            del state.patterns[trigger_id]
        else:
            pattern.forget(state, now_ms)


def _prune_noted(program: Program, state: UserState, now_ms: int) -> None:
    forget_messages(state, now_ms)
    for key in [key for key in state.features if key != MESSAGES]:
        feature = program.features.get(key)
        if feature is None:
            del state.features[key]
        else:
            feature.forget(state, now_ms)
    for name in list(state.relations):
        relation = program.relations.get(name)
        if relation is None:
            del state.relations[name]
        else:
            relation.forget(state, now_ms)


def _pattern_of(program: Program, trigger_id: str, memory: list[Any]) -> Pattern | None:
    """Whose memory it is; nobody's when the trigger is gone or now has another pattern."""
    trigger = program.triggers.get(trigger_id)
    if trigger is None or trigger.pattern.kind != memory[0]:
        return None
    return trigger.pattern


def _pattern_expiry(program: Program, trigger_id: str, memory: list[Any]) -> int:
    """What nobody owns goes with the next timer: 1 is earlier than all."""
    pattern = _pattern_of(program, trigger_id, memory)
    return 1 if pattern is None else pattern.keeps_until(memory)


def _forgets_decision(state: UserState) -> bool:
    """With a last activity the state stays, and a silence may lie further back than a start."""
    return bool(state.decided_at) and not state.seen
