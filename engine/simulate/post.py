"""From a device to the log: the bytes of a message, and when they are appended."""

from datetime import UTC, datetime
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from engine.simulate.people import Device, Person

_ENCODER: Final = msgspec.json.Encoder()


class Message(NamedTuple):
    """One record as it would stand in the log.

    `a_ms` is the append time (also `receivedAt` of the value), `user` the record's key, `value` a
    Segment message in JSON.
    """

    a_ms: int
    user: str
    value: bytes


class _Segment(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    type: str
    message_id: str
    event: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    timestamp: str = ""
    received_at: str = ""
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: msgspec.Raw = msgspec.Raw(b"")


class Post:
    """Takes messages in the order people act, gives them back in the order they are appended.

    `sent` counts what was handed in, duplicates included. Bounded by what is under way: the rate
    times the delays.
    """

    def __init__(self, source: Random, seed: int, duplicates: float, compression: float) -> None:
        self.sent = 0
        self._source = source
        self._seed = seed
        self._duplicates = duplicates
        self._outage_ms = 150_000 / compression
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._iso = IsoTime()

    def send(
        self,
        now_ms: float,
        person: Person,
        device: Device,
        kind: str,
        event: str | None = None,
        properties: dict[str, Any] | None = None,
        traits: dict[str, Any] | None = None,
    ) -> None:
        """Somebody acted at the true time `now_ms`; the device stamps it by its own clock."""
        person.sent += 1
        a_ms = self._appended_ms(now_ms, device)
        message = _Segment(
            type=kind,
            message_id=f"{person.anonymous_id}-{self._seed:x}-{person.sent:x}",
            event=event,
            user_id=person.user_id if person.known else None,
            anonymous_id=person.anonymous_id,
            timestamp=self._iso(int(now_ms + device.skew_ms)),
            received_at=self._iso(a_ms),
            properties=properties,
            traits=traits,
            context=device.context,
        )
        self._put(a_ms, person, message)
        if self._duplicates and self._source.random() < self._duplicates:
            again_ms = a_ms + 1 + int(self._source.expovariate(1 / 2_000))
            message.received_at = self._iso(again_ms)
            self._put(again_ms, person, message)

    @property
    def first_ms(self) -> float:
        """The append time of the first message under way."""
        return self._waiting[0][0] if self._waiting else inf

    def appended_before(self, now_ms: float) -> list[Message]:
        """All messages with `a_ms` < `now_ms`, in order. Nothing sent later is appended earlier."""
        waiting = self._waiting
        ready = []
        while waiting and waiting[0][0] < now_ms:
            a_ms, _, user, value = heappop(waiting)
            ready.append(Message(a_ms, user, value))
        return ready

    def _put(self, a_ms: int, person: Person, message: _Segment) -> None:
        self.sent += 1
        heappush(self._waiting, (a_ms, self.sent, person.profile, _ENCODER.encode(message)))

    def _appended_ms(self, now_ms: float, device: Device) -> int:
        """A usual delay, a slow network, or a phone that was offline: its queue arrives at once."""
        drawn = self._source.random()
        delay_ms = 20 + 180 * drawn
        if drawn > 0.98:
            delay_ms += self._source.expovariate(1 / 1_500)
        if device.platform == "mobile" and drawn < 0.003:
            device.offline_until_ms = now_ms + self._source.expovariate(1.0) * self._outage_ms
        return int(max(now_ms, device.offline_until_ms) + delay_ms) + 1


class IsoTime:
    """`2026-01-05T10:00:00.123Z` of milliseconds; keeps the last few thousand seconds written."""

    _KEPT_MAX = 4_096

    def __init__(self) -> None:
        self._seconds: dict[int, str] = {}

    def __call__(self, moment_ms: int) -> str:
        second, ms = divmod(moment_ms, 1000)
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) >= self._KEPT_MAX:
                self._seconds.clear()
            text = self._seconds[second] = _utc_second(second)
        return f"{text}.{ms:03d}Z"


def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
