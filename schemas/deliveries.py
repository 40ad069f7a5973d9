"""The delivery record: one admitted message on its way to a delivery worker."""

from typing import Any

import msgspec


class DeviceRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A device token and the platform that owns it: `android` goes to FCM, `ios` to APNs."""

    token: str
    platform: str


class CalendarCap(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """At most `max` in a calendar window; `starts` (ms) is when each begins in the user's zone:
    that of the decision first, the last one after the message has expired. `own`: only messages
    of its category count."""

    max: int
    own: bool
    starts: list[int]


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the gate checks again in sending time: milliseconds; caps are (max, per_ms) pairs.

    `category`: that of the message, when it has caps of its own: `own_caps`. "" otherwise.
    """

    cooldown_ms: int = 0
    spacing_ms: int = 0
    caps: list[tuple[int, int]] = []
    category: str = ""
    own_caps: list[tuple[int, int]] = []
    calendars: list[CalendarCap] = []


class Delivery(msgspec.Struct, omit_defaults=True, gc=False):
    """One admitted message.

    `decided_at_ms` and `expires_at_ms` are log time; `appended_at_ms` is the append time of the
    record that made it due (append -> accepted is measured from here). `fields` holds the declared
    values texts may use: {"start": {path: value}, "event": {path: value}}, `items` those of every
    member of a bundle. `text` names the message of a series, `variant` the arm of an experiment.
    `ghost`: CONTROL or GLOBAL_CONTROL, with which it ends instead of being sent. `closed`: from,
    until, from, until ... when it must not be sent (quiet hours and the like). `after`: the offset
    of the log that the store must have applied before this one is claimed, -1 for none; it is set
    where the delivery may have been sent before. `zone`: where the reader is, when a text tells a
    time.
    """

    delivery_id: str
    user: str
    trigger: str
    revision: int
    activation: str
    shard: int
    registry: int
    decided_at_ms: int
    expires_at_ms: int
    appended_at_ms: int
    marketing: bool
    devices: list[DeviceRef]
    fields: dict[str, dict[str, Any]] = {}
    items: list[dict[str, dict[str, Any]]] = []
    text: str = ""
    limits: Limits = Limits()
    closed: list[int] = []
    lane: str = "normal"
    attempt: int = 0
    not_before_ms: int = 0
    after: int = -1
    variant: str = ""
    ghost: str = ""
    zone: str = ""
    version: int = 1

    def closed_until_ms(self, now_ms: int) -> int:
        """The end of the closed hours at `now_ms`, 0 when they are open."""
        pairs = zip(self.closed[::2], self.closed[1::2], strict=True)
        return next((end_ms for start_ms, end_ms in pairs if start_ms <= now_ms < end_ms), 0)


_decoder = msgspec.json.Decoder(Delivery)


def encode_delivery(delivery: Delivery) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(delivery)


def decode_delivery(value: bytes | None) -> Delivery:
    """Decode strictly; raises `msgspec.DecodeError` on anything else."""
    return _decoder.decode(value or b"")
