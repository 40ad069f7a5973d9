"""What a backtest keeps of each user, and the index of their deadlines.

Memory is bounded by users, not by events: one `Slot` each. The states of those touched last are
decoded, the others are the bytes that Redis would hold.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from triggers.state import Device, UserState, decode_state, encode_state

#: Later than any time: no timer.
FOREVER_MS: Final = 1 << 62
#: Decoded states kept; one takes about a kilobyte, encoded about 150 bytes.
DECODED_MAX: Final = 100_000
#: Stands for the phone of every user; it never changes, so all of them share it.
ASSUMED = Device("assumed", "android", FOREVER_MS)


class Slot(msgspec.Struct, gc=False):
    """One user.

    `state` or, when it was not touched for long, `packed`; neither: nothing is known of the user.
    `seen`: last activity as the state would have it, perhaps not written there yet (`wake` allows
    for it). `wake`: no timer of the user is due before. `queued`: their entry in the index.
    `merged_into`: the profile this one is a part of.

    For the report: `sent` messages, `day_sent` of them on `day`, `day_most` on the worst day;
    `last` the trigger of the last one that counted for spacing; `trace` the events and decisions of
    a user whose timeline is kept.
    """

    state: UserState | None = None
    packed: bytes | None = None
    seen: int = 0
    wake: int = FOREVER_MS
    queued: int = FOREVER_MS
    merged_into: str = ""
    sent: int = 0
    day: int = 0
    day_sent: int = 0
    day_most: int = 0
    last: str | None = None
    trace: list[tuple[int, str, str]] | None = None


class Users:
    """All slots by user, and a heap of (deadline, user) with one valid entry each.

    `slots` are the users of this run's events, `earlier` those only known from the runs before.
    """

    def __init__(self, *, assume_devices: bool, decoded_max: int = DECODED_MAX) -> None:
        self.slots: dict[str, Slot] = {}
        self.earlier: dict[str, Slot] = {}
        self.timers: list[tuple[int, str]] = []
        self._assume_devices = assume_devices
        self._decoded: dict[str, Slot] = {}
        self._decoded_max = decoded_max

    def meet(self, user: str) -> Slot:
        """The slot of a user whose first event this is."""
        slot = self.earlier.pop(user) if user in self.earlier else Slot()
        self.slots[user] = slot
        return slot

    def slot_of(self, user: str) -> Slot:
        """The slot of a user of whom there need not be any event yet."""
        slot = self.slots.get(user) or self.earlier.get(user)
        if slot is None:
            slot = self.earlier[user] = Slot()
        return slot

    def all_slots(self) -> Iterator[tuple[str, Slot]]:
        """Every user known."""
        yield from self.slots.items()
        yield from self.earlier.items()

    @staticmethod
    def peek(slot: Slot) -> UserState | None:
        """The state without keeping it decoded; postponed activity is not in it."""
        return decode_state(slot.packed) if slot.packed is not None else slot.state

    def state_of(self, user: str, slot: Slot) -> UserState:
        """The decoded state, a blank one for a user who has none."""
        state = slot.state
        if state is None:
            if slot.packed is not None:
                state, slot.packed = decode_state(slot.packed), None
            else:
                state = UserState()
                if self._assume_devices:
                    state.devices.append(ASSUMED)
            slot.state = self._decoded.setdefault(user, slot).state = state
        return state

    def queue(self, user: str, slot: Slot) -> None:
        """Index `wake` when it is before what is indexed; a later one is met on the way."""
        if slot.wake < slot.queued:
            slot.queued = slot.wake
            heappush(self.timers, (slot.wake, user))

    def next_due(self, limit_ms: int) -> tuple[str, Slot] | None:
        """Take out a user who may have a timer before `limit_ms`."""
        timers = self.timers
        while timers and timers[0][0] < limit_ms:
            due, user = heappop(timers)
            slot = self.slots.get(user) or self.earlier[user]
            if slot.queued != due:
                continue
            slot.queued = FOREVER_MS
            if slot.wake < limit_ms:
                return user, slot
            self.queue(user, slot)
        return None

    def tidy(self) -> None:
        """Encode the states that were decoded first, and drop entries that mean nothing."""
        if len(self._decoded) > self._decoded_max:
            oldest = iter(tuple(self._decoded))
            for user in oldest:
                self._pack(self._decoded.pop(user))
                if len(self._decoded) <= self._decoded_max * 3 // 4:
                    break
        if len(self.timers) > 2 * (len(self.slots) + len(self.earlier)) + 10_000:
            self.timers = [(s.queued, u) for u, s in self.all_slots() if s.queued < FOREVER_MS]
            heapify(self.timers)

    def restore(self, slots: Iterable[tuple[str, Slot]]) -> None:
        """Take over the users of an earlier run."""
        for user, slot in slots:
            self.earlier[user] = slot
            self.queue(user, slot)

    def keep(self, mine: Callable[[str], bool]) -> None:
        """Of the users of an earlier run only these."""
        earlier, self.earlier, self.timers = self.earlier, {}, []
        for user, slot in earlier.items():
            if mine(user):
                slot.queued = FOREVER_MS
                self.earlier[user] = slot
                self.queue(user, slot)

    @staticmethod
    def _pack(slot: Slot) -> None:
        if slot.state is not None:
            slot.packed, slot.state = encode_state(slot.state), None
