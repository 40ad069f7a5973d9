"""Timelines of a few users: what they did, and what was decided about it.

Which users is a matter of a checksum of their id, so the same history shows the same people
whatever its order of users, and their timelines are whole.
"""

from heapq import heappush, heapreplace
from typing import Final, NamedTuple
from zlib import crc32

from engine.backtest.users import Slot
from schemas.decisions import Decision

#: Users followed, and entries kept of each.
FOLLOWED_MAX: Final = 2_000
ENTRIES_MAX: Final = 60
SHOWN: Final = 10


class Entry(NamedTuple):
    """Something at `at_ms`: an event (`trigger` empty, `what` its name) or a decision."""

    at_ms: int
    trigger: str
    what: str


class Timeline(NamedTuple):
    """The first `ENTRIES_MAX` entries of one user in order of time."""

    user: str
    entries: list[Entry]


class Followed:
    """The users with the smallest checksums seen so far."""

    def __init__(self, followed_max: int = FOLLOWED_MAX) -> None:
        self._max = followed_max
        self._heap: list[tuple[int, str]] = []
        self._slots: dict[str, Slot] = {}

    def meet(self, user: str, slot: Slot) -> None:
        """A new user: follow them, perhaps instead of another."""
        rank = -crc32(user.encode("utf-8", "surrogatepass"))
        if len(self._heap) < self._max:
            heappush(self._heap, (rank, user))
        elif rank > self._heap[0][0]:
            _, dropped = heapreplace(self._heap, (rank, user))
            self._slots.pop(dropped).trace = None
        else:
            return
        self._slots[user] = slot
        slot.trace = []

    def shown(self, count: int = SHOWN) -> list[Timeline]:
        """Of those something was decided about, each next one showing the most that is new."""
        rows = {user: slot.trace for user, slot in sorted(self._slots.items()) if slot.trace}
        left = {
            user: {(trigger, what) for _, trigger, what in trace if trigger}
            for user, trace in rows.items()
        }
        left = {user: decided for user, decided in left.items() if decided}
        shown: list[Timeline] = []
        known: set[tuple[str, str]] = set()
        while left and len(shown) < count:
            user = max(left, key=lambda one: (len(left[one] - known), -len(rows[one]), one))
            known |= left.pop(user)
            entries = sorted((Entry(*row) for row in rows[user]), key=lambda entry: entry.at_ms)
            shown.append(Timeline(user, entries))
        return shown


def squeezed(entries: list[Entry]) -> list[Entry]:
    """Runs of the same event become one line."""
    found: list[Entry] = []
    count = 0
    for entry in entries:
        last = found[-1] if found else None
        if last is not None and not entry.trigger and not last.trigger:
            name = last.what.removesuffix(f" x {count}")
            if name == entry.what:
                count += 1
                found[-1] = Entry(last.at_ms, "", f"{name} x {count}")
                continue
        count = 1
        found.append(entry)
    return found


def note_event(slot: Slot, at_ms: int, name: str) -> None:
    """An event of a followed user."""
    if slot.trace is not None and len(slot.trace) < ENTRIES_MAX:
        slot.trace.append((at_ms, "", name))


def note_decision(slot: Slot, decision: Decision) -> None:
    """A decision about a followed user."""
    if slot.trace is not None and len(slot.trace) < ENTRIES_MAX:
        what = decision.reason.value if decision.reason else decision.outcome.value
        slot.trace.append((decision.at_ms, decision.trigger, what))
