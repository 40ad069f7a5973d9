"""The load: a seeded clickstream into a real log, in a process of its own.

`python -m tests.crash.load` sends until SIGTERM and then writes what it sent as one JSON object.
The stream holds what emitters really do: duplicates, events that come late, early or out of order,
clocks that run ahead, cancels in time, late and before their start, records on a wrong partition,
records that are no events at all, and people who say only after a while who they are. Some users do
much more than others.
"""

import argparse
import asyncio
import heapq
import random
import signal
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from engine import clock
from schemas.partitioner import partition_of
from tests.crash.triggers import (
    ADDED,
    CHECKOUT,
    GRACE_MS,
    LEFT_WAIT_MS,
    ORDER,
    PROMO,
    REMOVED,
    SEARCHED,
    STOPPED_WAIT_MS,
    VIEWED,
)

PACE_S = 0.01
BURST_MAX = 500
REMEMBERED_MAX = 400
DEVICE_SHARE = 0.95
BUSY_SHARE = 0.1
BUSY_ACTIONS_SHARE = 0.3
GUEST_SHARE = 0.08
GUEST_MS = (2_000, 12_000)
"""A guest says after so long who they are."""
DAY_MS = 86_400_000
BAD_VALUES = (
    b"{not json",
    b"",
    b'{"type":"track","event":"X","messageId":"m"}',
    b'{"type":"track","event":"X","messageId":"m","userId":"u","timestamp":"yesterday"}',
    b'{"type":"track","messageId":"m","userId":"u"}',
)
FORGED_SEAL = b"0" * 16
FORGED = [("kind", b"outcome"), ("seal", FORGED_SEAL)]


@dataclass(slots=True)
class Sent:
    """What was acknowledged, and how fast. `kinds` counts the special ones."""

    records: int = 0
    seconds: float = 0.0
    users: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0


@dataclass(order=True, slots=True)
class Due:
    """A message to be sent at `at_ms`."""

    at_ms: int
    number: int
    message: dict[str, Any] = field(compare=False)


class Story:
    """Decides what is sent next. Everything random comes from the seed.

    A generation of `users` lives for `generation_s`, then the next one starts from nothing: what is
    remembered of a user is bounded, and an endless load must not run into those bounds.
    """

    def __init__(self, seed: int, users: int, generation_s: float, began_ms: int) -> None:
        self._chance = random.Random(seed)
        self._users = users
        self._generation_ms = int(generation_s * 1000)
        self._began_ms = began_ms
        self._numbers = count()
        self._later: list[Due] = []
        self._new: deque[str] = deque()
        self._live: list[str] = []
        self._known_ms: dict[str, int] = {}
        self._recent: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_MAX)
        self._generation = -1
        self.kinds: Counter[str] = Counter()

    @property
    def users(self) -> int:
        """Users so far."""
        return (self._generation + 1) * self._users

    def next(self, now_ms: int) -> tuple[str, dict[str, Any]]:
        """(profile, message) to send now."""
        message = self._next(now_ms)
        return message.get("userId") or message["anonymousId"], message

    def _next(self, now_ms: int) -> dict[str, Any]:
        generation = (now_ms - self._began_ms) // self._generation_ms
        if generation > self._generation:
            self._generation = generation
            self._live = [f"user-{generation}-{n}" for n in range(self._users)]
            self._new.extend(self._live)
            self._known_ms.clear()
        if self._later and self._later[0].at_ms <= now_ms:
            return heapq.heappop(self._later).message
        if self._new and self._chance.random() < 0.8:
            return self._registration(self._new.popleft(), now_ms)
        if self._recent and self._chance.random() < 0.04:
            self.kinds["duplicate"] += 1
            return self._chance.choice(self._recent)
        busy = self._chance.random() < BUSY_ACTIONS_SHARE
        among = int(len(self._live) * BUSY_SHARE) if busy else len(self._live)
        return self._action(self._live[self._chance.randrange(among)], now_ms)

    def partition(self, user: str, partitions: int) -> int:
        """Home, or for a few records some other partition, as an emitter with another hash has."""
        home = partition_of(user, partitions)
        if self._chance.random() < 0.003:
            self.kinds["wrong_partition"] += 1
            return self._chance.randrange(partitions)
        return home

    def junk(self) -> tuple[bytes, list[tuple[str, bytes]]] | None:
        """Now and then a record that is no event: (value, headers)."""
        if self._chance.random() >= 0.001:
            return None
        self.kinds["bad"] += 1
        if self._chance.random() < 0.3:
            return b"{}", FORGED
        return self._chance.choice(BAD_VALUES), []

    def _registration(self, user: str, now_ms: int) -> dict[str, Any]:
        message = self._message(user, now_ms, "identify", None, {})
        if self._chance.random() < DEVICE_SHARE:
            kind = "android" if self._chance.random() < 0.7 else "ios"
            message["context"] = {"device": {"token": f"token-{user}", "type": kind}}
        if self._chance.random() < GUEST_SHARE:
            self._welcome(user, message, now_ms)
        return message

    def _welcome(self, user: str, registration: dict[str, Any], now_ms: int) -> None:
        """A guest with the same phone, who says later who they are."""
        self.kinds["guest"] += 1
        self._known_ms[user] = known_ms = now_ms + self._chance.randrange(*GUEST_MS)
        of_guest = registration | {"messageId": f"m{next(self._numbers)}"}
        del of_guest["userId"]
        known = self._message(user, known_ms, "identify", None, {})
        self._plan(known_ms, known | {"anonymousId": f"guest-{user}"})
        if self._chance.random() < 0.1:
            # The guest changes hands, and who comes first is a matter of lag. It has no phone of
            # its own, or one of them would get each message on two.
            self.kinds["changed_hands"] += 1
            of_guest.pop("context", None)
            next_ms = known_ms + self._chance.randrange(500, 4_000)
            other = self._message(self._chance.choice(self._live), next_ms, "identify", None, {})
            self._plan(next_ms, other | {"anonymousId": f"guest-{user}"})
        self._plan(now_ms, of_guest | {"anonymousId": f"guest-{user}"})

    def _action(self, user: str, now_ms: int) -> dict[str, Any]:
        dice = self._chance.random()
        if dice < 0.06:
            return self._checkout(user, now_ms)
        if dice < 0.13:
            return self._added(user, now_ms)
        if dice < 0.25:
            price = self._chance.randrange(1, 150)
            return self._track(user, VIEWED, now_ms, {"price": price})
        if dice < 0.28:
            return self._track(user, ORDER, now_ms, {})
        if dice < 0.36:
            return self._track(user, SEARCHED, now_ms, {"query": "boots"})
        if dice < 0.41:
            return self._track(user, PROMO, now_ms, {})
        return self._track(user, "Page Scrolled", now_ms, {"percent": 80})

    def _checkout(self, user: str, now_ms: int) -> dict[str, Any]:
        started = self._track(user, CHECKOUT, now_ms, {})
        fires_ms = STOPPED_WAIT_MS + GRACE_MS
        delay_ms = self._cancel_delay_ms(fires_ms)
        if delay_ms is not None:
            self._plan(now_ms + delay_ms, self._track(user, ORDER, now_ms + delay_ms, {}))
        if self._chance.random() < 0.1:
            # The phone kept it: another start is sent first, this one is late and older.
            self.kinds["out_of_order"] += 1
            self._plan(now_ms + self._chance.randrange(200, 3_000), started)
            return self._track(user, CHECKOUT, now_ms + 1 + self._chance.randrange(100), {})
        return started

    def _added(self, user: str, now_ms: int) -> dict[str, Any]:
        product = f"p{self._chance.randrange(6)}"
        added = self._track(user, ADDED, now_ms, {"product_id": product})
        delay_ms = self._cancel_delay_ms(LEFT_WAIT_MS + GRACE_MS)
        if delay_ms is not None:
            other = f"p{self._chance.randrange(6)}"
            which = product if self._chance.random() < 0.8 else other
            removed = self._track(user, REMOVED, now_ms + delay_ms, {"product_id": which})
            self._plan(now_ms + delay_ms, removed)
        elif self._chance.random() < 0.2:
            # Taken out already, but its start reaches the log after that.
            self.kinds["cancel_first"] += 1
            self._plan(now_ms + self._chance.randrange(50, 1_500), added)
            return self._track(user, REMOVED, now_ms + 20, {"product_id": product})
        return added

    def _cancel_delay_ms(self, fires_ms: int) -> int | None:
        dice = self._chance.random()
        if dice < 0.5:
            self.kinds["cancel_in_time"] += 1
            return self._chance.randrange(50, fires_ms - 300)
        if dice < 0.6:
            self.kinds["cancel_at_the_edge"] += 1
            return fires_ms + self._chance.randrange(-150, 150)
        if dice < 0.7:
            self.kinds["cancel_late"] += 1
            return fires_ms + self._chance.randrange(500, 2_000)
        return None

    def _track(
        self, user: str, name: str, at_ms: int, properties: dict[str, Any]
    ) -> dict[str, Any]:
        dice = self._chance.random()
        occurred_ms = at_ms
        if dice < 0.2:
            occurred_ms -= self._chance.randrange(2_000)
        elif dice < 0.205:
            self.kinds["day_old"] += 1
            occurred_ms -= DAY_MS + 3_600_000
        elif dice < 0.215:
            self.kinds["from_the_future"] += 1
            occurred_ms += self._chance.randrange(3_600_000)
        message = self._message(user, occurred_ms, "track", name, properties)
        if dice >= 0.99:
            self.kinds["without_time"] += 1
            del message["timestamp"]
        if self._is_guest(user, at_ms):
            del message["userId"]
            message["anonymousId"] = f"guest-{user}"
        self._recent.append(message)
        return message

    def _message(
        self, user: str, at_ms: int, kind: str, name: str | None, properties: dict[str, Any]
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "type": kind,
            "messageId": f"m{next(self._numbers)}",
            "userId": user,
            "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(),
        }
        if name is not None:
            message |= {"event": name, "properties": properties}
        return message

    def _is_guest(self, user: str, at_ms: int) -> bool:
        """Whether a guest speaks: mostly before they are known, and now and then afterwards."""
        known_ms = self._known_ms.get(user)
        if known_ms is None:
            return False
        return self._chance.random() < (0.8 if at_ms < known_ms else 0.1)

    def _plan(self, at_ms: int, message: dict[str, Any]) -> None:
        heapq.heappush(self._later, Due(at_ms, next(self._numbers), message))


async def send(options: argparse.Namespace, stop: asyncio.Event) -> Sent:
    """Send at `options.rate` records a second until `stop`; what was not sent in time follows."""
    story = Story(options.seed, options.users, options.generation_s, clock.now_ms())
    producer = AIOKafkaProducer(
        bootstrap_servers=options.servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        request_timeout_ms=60_000,
    )
    sent, encoder = Sent(), msgspec.json.Encoder()
    await producer.start()
    began_s = clock.monotonic_s()
    last: dict[int, asyncio.Future[Any]] = {}
    try:
        while not stop.is_set():
            wanted = int((clock.monotonic_s() - began_s) * options.rate) - sent.records
            for _ in range(min(wanted, BURST_MAX)):
                user, message = story.next(clock.now_ms())
                partition = story.partition(user, options.partitions)
                value, headers = encoder.encode(message), None
                junk = story.junk()
                if junk is not None:
                    value, headers = junk
                last[partition] = await producer.send(
                    options.topic, value, user.encode(), partition=partition, headers=headers
                )
                sent.records += 1
            await asyncio.sleep(PACE_S if wanted < BURST_MAX else 0)
        await asyncio.gather(*last.values())
        sent.seconds = clock.monotonic_s() - began_s
    finally:
        await producer.stop()
    sent.users, sent.kinds = story.users, dict(story.kinds)
    return sent


async def _main(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sent = await send(options, stop)
    options.out.write_bytes(msgspec.json.encode(sent))


def main() -> None:
    """Parse the options and send."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.load", description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--generation-s", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
