"""Timelines of a few users: what they did, and what was decided about it.

Which users is a matter of a checksum of their id, so the same history shows the same people
whatever its order of users, and their timelines are whole.
"""

from collections.abc import Mapping
from heapq import heappush, heapreplace
from typing import Final, NamedTuple
from zlib import crc32

from engine.backtest.users import Slot
from schemas.decisions import Decision

#: Users followed, and entries kept of each.
FOLLOWED_MAX: Final = 2_000
ENTRIES_MAX: Final = 60
SHOWN: Final = 10

#: (time, trigger or "", what) of a user, as they came.
Trace = list[tuple[int, str, str]]


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
        ranked = _ranked(user)
        if len(self._heap) < self._max:
            heappush(self._heap, ranked)
        elif ranked > self._heap[0]:
            _, dropped = heapreplace(self._heap, ranked)
            self._slots.pop(dropped).trace = None
        else:
            return
        self._slots[user] = slot
        slot.trace = []

    @property
    def traces(self) -> dict[str, Trace]:
        """What is known of each."""
        return {user: slot.trace or [] for user, slot in self._slots.items()}


def first_followed(
    traces: Mapping[str, Trace], followed_max: int = FOLLOWED_MAX
) -> dict[str, Trace]:
    """Those of the users whom one run over all of them would have followed."""
    users = sorted(traces, key=_ranked, reverse=True)[:followed_max]
    return {user: traces[user] for user in users}


def shown(traces: Mapping[str, Trace], count: int = SHOWN) -> list[Timeline]:
    """Of those something was decided about, each next one showing the most that is new."""
    left = {
        user: {(trigger, what) for _, trigger, what in trace if trigger}
        for user, trace in traces.items()
    }
    left = {user: decided for user, decided in left.items() if decided}
    found: list[Timeline] = []
    known: set[tuple[str, str]] = set()
    while left and len(found) < count:
        user = max(left, key=lambda one: (len(left[one] - known), -len(traces[one]), one))
        known |= left.pop(user)
        entries = sorted((Entry(*row) for row in traces[user]), key=lambda entry: entry.at_ms)
        found.append(Timeline(user, entries))
    return found


def _ranked(user: str) -> tuple[int, str]:
    return -crc32(user.encode("utf-8", "surrogatepass")), user


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
