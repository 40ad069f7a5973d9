"""The hours a user is usually active in, counted over the local week and slowly forgotten.

Memory: `[hour, {slot: weight}]`, the last hour (since the epoch) that was counted and 168 counters
of which few are ever used. An hour counts once, however much happened in it; every four weeks all
counters are halved. Kept only while a registered trigger asks for it.
"""

from typing import Any
from zoneinfo import ZoneInfo

from triggers.calendar import find_zone
from triggers.opening import HOUR_MS, slot_of
from triggers.state import UserState

#: What an hour adds: room for four halvings before an hour counts for nothing.
WEIGHT = 16
WEIGHT_MAX = 4_096
HALF_LIFE_H = 4 * 7 * 24
#: Before so many hours are known nobody's habits are.
HOURS_MIN = 5
#: Without activity for so long nothing is left of it.
KEPT_MS = 16 * HALF_LIFE_H * HOUR_MS


def is_new_hour(state: UserState, a: int) -> bool:
    """False when activity that is told at `a` is of an hour that was counted."""
    return not state.usual or bool(state.usual[0] < a // HOUR_MS)


def note_usual(state: UserState, e: int, zone: str) -> bool:
    """Count the hour of an activity at client time `e`; True when the state changed. `zone` is for
    a user without one."""
    hour = e // HOUR_MS
    last: int = state.usual[0] if state.usual else 0
    counters: dict[int, int] = state.usual[1] if state.usual else {}
    if hour <= last:
        return False
    if last and (halvings := hour // HALF_LIFE_H - last // HALF_LIFE_H):
        counters = halved(counters, halvings)
    slot = slot_of(e, find_zone(state.zone or zone) or ZoneInfo(zone))
    counters[slot] = min(counters.get(slot, 0) + WEIGHT, WEIGHT_MAX)
    state.usual = [hour, counters]
    return True


def halved(counters: dict[int, int], times: int) -> dict[int, int]:
    """What is left of the counters after so many half-lives."""
    return {slot: left for slot, weight in counters.items() if (left := weight >> times)}


def known_hours(state: UserState) -> dict[int, int]:
    """The counters, none while too little is known."""
    counters: dict[int, int] = state.usual[1] if state.usual else {}
    return counters if sum(counters.values()) >= HOURS_MIN * WEIGHT else {}


def unite_usual(state: UserState, moved: UserState) -> None:
    """Add what another profile of the same user has counted, as of the later of both."""
    if not moved.usual or not state.usual:
        state.usual = state.usual or moved.usual
        return
    earlier, later = sorted((state.usual, moved.usual), key=lambda usual: int(usual[0]))
    counters = halved(earlier[1], later[0] // HALF_LIFE_H - earlier[0] // HALF_LIFE_H)
    for slot, weight in later[1].items():
        counters[slot] = min(counters.get(slot, 0) + weight, WEIGHT_MAX)
    state.usual = [later[0], counters]


def usual_expiry(state: UserState) -> int:
    """The log time from which nothing is left of it."""
    usual: list[Any] = state.usual
    return int(usual[0]) * HOUR_MS + KEPT_MS
