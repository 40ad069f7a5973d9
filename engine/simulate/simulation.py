"""The driver: keeps enough visits going for the asked rate, and yields messages in append order."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from random import Random
from typing import Final

from engine.simulate.market import PRICE_EVERY_MS, Market
from engine.simulate.options import SimulationOptions
from engine.simulate.people import Device, Person, make_person
from engine.simulate.post import Message, Post
from engine.simulate.shopper import THINK_MS, Shopper

#: At most this share of the users is on a visit at one time, else people act faster.
VISITING_MAX: Final = 0.25
#: Messages per step before noise and duplicates, measured over 10 million steps.
MESSAGES_PER_STEP: Final = 1.2
#: A leaver comes back after this time on average, one in `RETURN_ONE_IN`.
RETURN_MS: Final = 240_000
RETURN_ONE_IN: Final = 5

#: A visit under way: the time of its next step, its number (ties), the user, the rest of it.
_Visit = tuple[float, int, int, Iterator[float]]


def simulate(options: SimulationOptions) -> Iterator[Message]:
    """All messages of the simulation by (append time, order of sending).

    The number of messages is `rate_per_s` x duration to a few per cent; append times lie in
    [start, start + duration). Equal options give equal messages.
    """
    return _Simulation(options).run()


class _Simulation:
    def __init__(self, options: SimulationOptions) -> None:
        self._options = options
        self._source = source = Random(options.seed)
        per_step = MESSAGES_PER_STEP * (1 + options.duplicates) / (1 - options.noise)
        visits = options.rate_per_s * THINK_MS / 1000 / per_step
        crowded = visits / max(1.0, options.users * VISITING_MAX)
        self._compression = max(options.compression, crowded)
        self._slots = max(1, round(visits / self._compression))
        self._market = Market(source, options.start_ms, PRICE_EVERY_MS / self._compression)
        self._post = Post(source, options.seed, options.duplicates, self._compression)
        self._shopper = Shopper(self._market, self._post, source, options.noise)
        self._people: dict[int, Person] = {}
        self._visiting: set[int] = set()
        self._returns: list[tuple[float, int]] = []

    def run(self) -> Iterator[Message]:
        options = self._options
        start_ms = options.start_ms
        end_ms = start_ms + options.duration_ms
        visits = self._first_visits()
        number = len(visits)
        while visits[0][0] < end_ms:
            now_ms, _, user, steps = visits[0]
            if self._post.first_ms < now_ms:
                yield from self._post.appended_before(now_ms)
            self._keep_pace(now_ms - start_ms)
            number += 1
            next_ms = next(steps, None)
            if next_ms is not None:
                heapreplace(visits, (next_ms, number, user, steps))
                continue
            self._leave(user, now_ms)
            heapreplace(visits, self._next_visit(now_ms, number))
        yield from self._post.appended_before(end_ms)

    def _first_visits(self) -> list[_Visit]:
        """Visits under way at the start: each is met somewhere in its middle."""
        self._shopper.pace = 1 / self._compression
        visits = []
        for number in range(self._slots):
            now_ms = self._options.start_ms + self._shopper.rest_of_thought()
            steps = 1 + int(self._source.random() * self._shopper.steps())
            user = self._somebody()
            person, device = self._enter(user)
            rest = self._shopper.rest(person, device, now_ms, steps)
            visits.append((now_ms, number, user, rest))
        heapify(visits)
        return visits

    def _next_visit(self, now_ms: float, number: int) -> _Visit:
        """The place of a leaver is taken by somebody who comes back, or by anybody."""
        returns = self._returns
        while returns and returns[0][0] <= now_ms:
            _, user = heappop(returns)
            if user not in self._visiting:
                break
        else:
            user = self._somebody()
        person, device = self._enter(user)
        steps = self._shopper.visit(person, device, now_ms, self._shopper.steps())
        return now_ms, number, user, steps

    def _enter(self, user: int) -> tuple[Person, Device]:
        self._visiting.add(user)
        person = self._people.get(user)
        if person is None:
            person = make_person(user, self._options, self._market, self._source, self._compression)
            self._people[user] = person
        return person, person.devices[int(self._source.random() * len(person.devices))]

    def _somebody(self) -> int:
        """A user who is not visiting; some come much more often than others."""
        users = self._options.users
        user = int(users * self._source.random() ** 1.5)
        while user in self._visiting and len(self._visiting) < users:
            user = int(users * self._source.random())
        return user

    def _leave(self, user: int, now_ms: float) -> None:
        self._visiting.discard(user)
        if self._source.random() * RETURN_ONE_IN < 1:
            gap_ms = (0.2 + self._source.expovariate(1.25)) * RETURN_MS / self._compression
            heappush(self._returns, (now_ms + gap_ms, user))

    def _keep_pace(self, elapsed_ms: float) -> None:
        """Slow down when ahead of the rate, hurry when behind: by a factor of two at most."""
        ahead_s = self._post.sent / self._options.rate_per_s - elapsed_ms / 1000
        factor = min(2.0, max(0.5, 1.0 + ahead_s * self._compression / 20))
        self._shopper.pace = factor / self._compression
