"""What a user's state may forget, and when. Driven by the timer index, never by a TTL.

Every remembered thing has a time from which it can no longer change a verdict. `due` is the latest
of them, so that one wake-up forgets everything; `prune` drops what has expired. Forgetting earlier
or later never changes a decision: each reader compares times itself.
"""

from triggers.effects import Effects
from triggers.program import Program
from triggers.state import MEMORY_MS, Memory, UserState


def due(program: Program, state: UserState) -> int:
    """The log time at which everything remembered now can be forgotten; 0 when nothing is."""
    latest = 0
    for memory in state.memory.values():
        latest = max(latest, _memory_expiry(memory))
    if state.sends:
        latest = max(latest, state.sends[-1].at + program.sends_window_ms)
    for cooled in state.cooled:
        latest = max(latest, cooled.at + _cooldown_ms(program, cooled.trigger))
    for trigger, at in state.cooled_floor.items():
        latest = max(latest, at + _cooldown_ms(program, trigger))
    for pending in state.pending:
        latest = max(latest, pending.drop_at)
    return latest


def prune(program: Program, state: UserState, now_ms: int, out: Effects) -> None:
    """Forget what can no longer change a verdict at log time `now_ms`."""
    for trigger in [t for t, memory in state.memory.items() if _memory_expiry(memory) <= now_ms]:
        del state.memory[trigger]
    if state.sends and state.sends[-1].at + program.sends_window_ms <= now_ms:
        state.sends.clear()
    if state.cooled:
        state.cooled = [
            cooled
            for cooled in state.cooled
            if cooled.at + _cooldown_ms(program, cooled.trigger) > now_ms
        ]
    for trigger, at in list(state.cooled_floor.items()):
        if at + _cooldown_ms(program, trigger) <= now_ms:
            del state.cooled_floor[trigger]
    for pending in [pending for pending in state.pending if pending.drop_at <= now_ms]:
        state.pending.remove(pending)
        out.closed.append(pending.delivery.hex())


def prune_memory(memory: Memory, now_ms: int) -> None:
    """Forget the expired entries of one trigger's memory."""
    oldest_e = now_ms - MEMORY_MS
    memory.cancels = [cancel for cancel in memory.cancels if cancel.e >= oldest_e]
    memory.ended = {key: e for key, e in memory.ended.items() if e >= oldest_e}


def _memory_expiry(memory: Memory) -> int:
    """A start of client time s is late when a - s > 24 h, so e matters until a = e + 24 h."""
    latest = max(memory.cancel_floor, memory.ended_floor)
    for cancel in memory.cancels:
        latest = max(latest, cancel.e)
    for e in memory.ended.values():
        latest = max(latest, e)
    return latest + MEMORY_MS + 1


def _cooldown_ms(program: Program, trigger_id: str) -> int:
    trigger = program.triggers.get(trigger_id)
    if trigger is None:
        return 0
    return max(trigger.cooldown_user_ms, trigger.cooldown_per_ms)
