"""The send queue: four lanes for each provider, drained by weight, within bounded slots.

Critical is strictly ahead; it is rare by definition. The others share by stride scheduling
(Waldspurger and Weihl, 1995): the lane with the smallest pass goes next and pays its slots divided
by its weight, so that shares follow the weights, no lane starves, and an idle lane's share is
everybody's. A lane that was idle starts at the present pass: it saved nothing up.

Each provider has a schedule of its own, or a slow provider would keep the slots of a lane from the
other one's messages.
"""

from collections import deque
from collections.abc import Iterable
from math import lcm
from typing import Generic, TypeVar

from schemas.topics import Lane

T = TypeVar("T")

#: Of several providers none may hold more than this share of the slots: one that hangs must leave
#: room for the others.
SHARE_MAX = 0.75
WEIGHTED = (Lane.HIGH, Lane.NORMAL, Lane.LOW)


class Slots:
    """Provider requests under way: at most `total_max`, at most a share of them for each route.

    A delivery takes one slot for each of its devices at once, so the last one let in may overrun
    the bound by its devices less one.
    """

    def __init__(self, total_max: int, routes: Iterable[str]) -> None:
        self._total_max = total_max
        self._used: dict[str, int] = dict.fromkeys(routes, 0)
        share = total_max if len(self._used) < 2 else max(1, int(total_max * SHARE_MAX))
        self._share_max = share
        self.used = 0

    def has_room(self, route: str) -> bool:
        """Whether another delivery may start on this route."""
        return self.used < self._total_max and self._used.get(route, 0) < self._share_max

    def take(self, route: str, slots: int) -> None:
        """Occupy slots; the caller has asked `has_room`."""
        self._used[route] = self._used.get(route, 0) + slots
        self.used += slots

    def give(self, route: str, slots: int) -> None:
        """Give slots back."""
        self._used[route] -= slots
        self.used -= slots


class _Queue(Generic[T]):
    """One lane of one route. `step` is what a slot costs it."""

    __slots__ = ("items", "step", "turn")

    def __init__(self, step: int) -> None:
        self.items: deque[tuple[int, T]] = deque()
        self.step = step
        self.turn = 0


class _Route(Generic[T]):
    """The lanes of one provider."""

    def __init__(self, weights: tuple[int, int, int]) -> None:
        whole = lcm(*weights)
        self.critical: deque[tuple[int, T]] = deque()
        self.weighted: dict[Lane, _Queue[T]] = {
            lane: _Queue(whole // weight) for lane, weight in zip(WEIGHTED, weights, strict=True)
        }
        self._now = 0

    def put(self, lane: Lane, slots: int, item: T) -> None:
        if lane is Lane.CRITICAL:
            self.critical.append((slots, item))
            return
        queue = self.weighted[lane]
        if not queue.items:
            queue.turn = max(queue.turn, self._now)
        queue.items.append((slots, item))

    def next_weighted(self) -> tuple[Lane, int, T] | None:
        best: Lane | None = None
        smallest = 0
        for lane, queue in self.weighted.items():
            if queue.items and (best is None or queue.turn < smallest):
                best, smallest = lane, queue.turn
        if best is None:
            return None
        queue = self.weighted[best]
        slots, item = queue.items.popleft()
        self._now = smallest
        queue.turn += queue.step * slots
        return best, slots, item


class Lanes(Generic[T]):
    """Queued deliveries. `weights` are the shares of high, normal and low, each at least 1.

    It bounds nothing itself: whoever puts looks at `depth`.
    """

    def __init__(self, weights: tuple[int, int, int]) -> None:
        self._weights = weights
        self._routes: dict[str, _Route[T]] = {}
        self._depth: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._turn: deque[str] = deque()

    def depth(self, lane: Lane) -> int:
        """Deliveries waiting in a lane, over all routes."""
        return self._depth[lane]

    def put(self, lane: Lane, route: str, slots: int, item: T) -> None:
        """Queue a delivery that will need `slots` (at least 1) slots of `route`."""
        queues = self._routes.get(route)
        if queues is None:
            queues = self._routes[route] = _Route(self._weights)
            self._turn.append(route)
        queues.put(lane, slots, item)
        self._depth[lane] += 1

    def take(self, free: Slots, count_max: int) -> list[T]:
        """The next deliveries, at most `count_max`, whose slots are taken from `free`."""
        taken: list[T] = []
        self._take_critical(free, count_max, taken)
        idle = 0
        while len(taken) < count_max and idle < len(self._turn):
            route = self._turn[0]
            self._turn.rotate(-1)
            found = self._routes[route].next_weighted() if free.has_room(route) else None
            if found is None:
                idle += 1
                continue
            idle = 0
            lane, slots, item = found
            free.take(route, slots)
            self._depth[lane] -= 1
            taken.append(item)
        return taken

    def _take_critical(self, free: Slots, count_max: int, taken: list[T]) -> None:
        if not self._depth[Lane.CRITICAL]:
            return
        for route, queues in self._routes.items():
            while queues.critical and len(taken) < count_max and free.has_room(route):
                slots, item = queues.critical.popleft()
                free.take(route, slots)
                self._depth[Lane.CRITICAL] -= 1
                taken.append(item)
