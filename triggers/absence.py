"""Absence: an activation waits, and an `unless` match cancels it.

Three things meet here, all in the user's state: the pending `Instance`, the `Memory` of cancels
and of ended starts, and the `Pending` deliveries that can still be called back. The rules are
design.md section 5, T4 and T5:

- a start older than 24 h never arms (LATE_EVENT);
- a cancel appended after the start always cancels, whatever its client time;
- cancels are remembered 24 h: a start that is later in the log but not later in client time dies
  at once; if remembered cancels overflowed, a start not later than the oldest kept one dies too;
- a restart needs a client time not earlier than the start it replaces.
"""

from typing import Any

from triggers.effects import Effects
from triggers.program import CompiledTrigger, Unless
from triggers.retention import prune_memory
from triggers.state import MEMORY_MS, REMEMBERED_MAX, Cancel, Instance, Memory, UserState


def is_late(e: int, a: int) -> bool:
    """T4: the start reached the log more than 24 h after it happened."""
    return a - e > MEMORY_MS


def memory_of(state: UserState, trigger: str) -> Memory:
    """The trigger's memory of this user, made when it is missing."""
    memory = state.memory.get(trigger)
    if memory is None:
        memory = state.memory[trigger] = Memory()
    return memory


def is_repeated(state: UserState, trigger: str, key: str, e: int) -> bool:
    """A start that is not later in client time than the one that ended last for this key.

    That is a duplicate, or a start that in client order the ended one had already replaced.
    """
    memory = state.memory.get(trigger)
    if memory is None:
        return False
    ended = memory.ended.get(key)
    return e <= (memory.ended_floor if ended is None else ended)


def is_acted_on(state: UserState, trigger: str, key: str, e: int, a: int) -> bool:
    """An immediate start whose messageId was acted on in the last 24 h.

    A repetition need not have the client time of the first: without a timestamp, or with one from
    a clock that is ahead, `e` is the append time of each copy.
    """
    memory = state.memory.get(trigger)
    if memory is None:
        return False
    ended = memory.ended.get(key)
    return e <= memory.ended_floor if ended is None else a - ended <= MEMORY_MS


def is_known_untimed(state: UserState, trigger: str, key: str, a: int) -> bool:
    """A message without a client time of its own that started an instance in the last 24 h."""
    memory = state.memory.get(trigger)
    if memory is None:
        return False
    started = memory.untimed.get(key)
    return started is not None and a - started <= MEMORY_MS


def remember_untimed(state: UserState, trigger: str, key: str, a: int, out: Effects) -> None:
    """Remember a start whose client time is its append time `a`."""
    memory = memory_of(state, trigger)
    memory.untimed[key] = a
    if len(memory.untimed) > REMEMBERED_MAX:
        prune_memory(memory, a)
    if len(memory.untimed) > REMEMBERED_MAX:
        del memory.untimed[min(memory.untimed, key=lambda name: (memory.untimed[name], name))]
        out.evicted["untimed"] += 1


def remember_end(
    state: UserState, trigger: str, key: str, e: int, now_ms: int, out: Effects
) -> None:
    """Remember that the instance started at client time `e` has ended."""
    memory = memory_of(state, trigger)
    memory.ended[key] = max(e, memory.ended.get(key, 0))
    if len(memory.ended) > REMEMBERED_MAX:
        prune_memory(memory, now_ms)
    if len(memory.ended) > REMEMBERED_MAX:
        oldest = min(memory.ended, key=lambda name: (memory.ended[name], name))
        memory.ended_floor = max(memory.ended_floor, memory.ended.pop(oldest))
        out.evicted["ended"] += 1


def last_start_e(instance: Instance) -> int:
    """The latest start that the instance stands for: its own, or one that `keep` has kept out."""
    return max(instance.start_e, instance.chain_e)


def remember_cancel(
    state: UserState,
    trigger: str,
    clause: int,
    e: int,
    fields: dict[str, Any],
    now_ms: int,
    out: Effects,
) -> bool:
    """Remember an `unless` match at client time `e` with its compared fields; True if new."""
    memory = memory_of(state, trigger)
    for cancel in memory.cancels:
        if cancel.clause == clause and _same_fields(cancel.fields, fields):
            if e <= cancel.e:
                return False
            cancel.e = e
            return True
    memory.cancels.append(Cancel(clause, e, fields))
    if len(memory.cancels) > REMEMBERED_MAX:
        prune_memory(memory, now_ms)
    if len(memory.cancels) > REMEMBERED_MAX:
        oldest = min(memory.cancels, key=lambda cancel: cancel.e)
        memory.cancels.remove(oldest)
        memory.cancel_floor = max(memory.cancel_floor, oldest.e)
        out.evicted["cancels"] += 1
    return True


def _same_fields(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Python holds True and 1 for equal, the language does not: their texts tell them apart."""
    return one == other and repr(one) == repr(other)


def died_already(
    state: UserState, trigger: CompiledTrigger, e: int, fields: dict[str, Any]
) -> bool:
    """T5: a remembered cancel is not earlier in client time than this start."""
    memory = state.memory.get(trigger.id)
    if memory is None:
        return False
    if e <= memory.cancel_floor:
        return True
    return any(
        cancel.e >= e
        and cancel.clause < len(trigger.unless)
        and matches(trigger.unless[cancel.clause], cancel.fields, fields)
        for cancel in memory.cancels
    )


def matches(clause: Unless, event_fields: dict[str, Any], start_fields: dict[str, Any]) -> bool:
    """Does an event that passed the clause's own conditions cancel this start?

    "Could not evaluate" does not cancel: it is counted where the event is evaluated.
    """
    dynamic = clause.filter.dynamic
    return dynamic is None or dynamic(event_fields, start_fields) is True


def find(state: UserState, trigger: str, per: str) -> Instance | None:
    """The pending instance of the trigger for this per value."""
    for instance in state.instances:
        if instance.trigger == trigger and instance.per == per:
            return instance
    return None


def fire_time(trigger: CompiledTrigger, step: int, e: int, chain_e: int, arm: str = "") -> int:
    """T1: F = D + grace, D = e of $event + wait; a chain of restarts is bounded. `arm`: that of the
    user where the trigger has an experiment whose variants wait for different times."""
    after_ms, grace_ms, *_ = trigger.steps_for(arm)[step]
    deadline = e + after_ms
    if trigger.restart_at_most_ms and not step:
        deadline = min(deadline, chain_e + trigger.restart_at_most_ms)
    return deadline + grace_ms
