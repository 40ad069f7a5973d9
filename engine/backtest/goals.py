"""Conversions: a goal event credits one delivery of the user, the one sent last.

Part of the rule only: a backtest knows neither clicks nor delivery ids, so "else last accepted;
ties by priority, then id" is what is left of it (language.md, Credit).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from engine.backtest.users import Sent, Slot
from schemas.events import Event
from triggers.conditions import Filter, compile_filter
from triggers.definition import TriggerDefinition


class Goal(NamedTuple):
    """`order`: which of two deliveries of one moment is credited, the lower one."""

    trigger: str
    within_ms: int
    filter: Filter
    order: tuple[int, str]


Goals = Mapping[str, tuple[Goal, ...]]


def compile_goals(definitions: Iterable[TriggerDefinition]) -> Goals:
    """The goals by the name of the event that reaches them."""
    found: dict[str, tuple[Goal, ...]] = {}
    for definition in definitions:
        if definition.goal is None:
            continue
        goal = definition.goal
        order = (-definition.priority, definition.id)
        made = Goal(definition.id, goal.within_ms, compile_filter(goal.where), order)
        for name in goal.events:
            found[name] = (*found.get(name, ()), made)
    return found


def credited(goals: tuple[Goal, ...], slot: Slot, event: Event, e: int) -> str | None:
    """The trigger whose delivery the goal event at client time `e` credits for the first time.

    A second goal event after the same delivery credits nothing: conversions are deliveries.
    """
    best: tuple[int, int, str] | None = None
    number = -1
    for goal in goals:
        for place, sent in enumerate(slot.creditable):
            if sent.trigger != goal.trigger or not 0 <= e - sent.at <= goal.within_ms:
                continue
            key = (-sent.at, *goal.order)
            if (best is None or key < best) and _holds(goal.filter, event):
                best, number = key, place
    if best is None:
        return None
    sent = slot.creditable[number]
    if sent.converted:
        return None
    marked = Sent(sent.at, sent.trigger, True)
    slot.creditable = (*slot.creditable[:number], marked, *slot.creditable[number + 1 :])
    return sent.trigger


def _holds(compiled: Filter, event: Event) -> bool:
    return compiled.static is None or compiled.static(event) is True
