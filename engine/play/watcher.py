"""Following what the engine does: decisions, deliveries, dead letters, and pushes that arrived."""

from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer

from engine.kafka_client import client_options
from engine.settings import Settings
from schemas.deliveries import decode_delivery
from schemas.kinds import header
from schemas.topics import Topics

RECENT_MAX = 12
_ROW = (
    "trigger",
    "user",
    "activation",
    "at",
    "outcome",
    "reason",
    "start",
    "event",
    "variant",
)


class Arrived(NamedTuple):
    """One push on a phone. `latency_ms`: append of its cause to the provider's acceptance."""

    user: str
    trigger: str
    title: str
    provider: str
    latency_ms: float


@dataclass(slots=True)
class Seen:
    """What was seen so far. `rows` are decision rows (only when they are kept)."""

    admitted: int = 0
    suppressed: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    dead_letters: int = 0
    arrived: int = 0
    sent: set[str] = field(default_factory=set)
    repeated: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    recent: deque[Arrived] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def candidates(self) -> int:
        return self.admitted + self.suppressed.total()


class Watcher:
    """Reads the topics without a group, and the stand-ins' log."""

    def __init__(
        self, settings: Settings, push_log: Path, delay_ms: float, *, keep_rows: bool = False
    ) -> None:
        self._settings = settings
        self._topics = Topics(settings.topic_prefix)
        self._push_log = push_log
        self._delay_ms = delay_ms
        self._keep_rows = keep_rows
        self._read_bytes = 0
        self._sequences: set[bytes] = set()
        self._waiting: dict[str, tuple[str, str, int]] = {}
        self._unmatched: list[dict[str, Any]] = []
        self._accepted: set[tuple[str, str]] = set()
        self._level = False
        self.seen = Seen()

    def is_level(self) -> bool:
        """The last look brought nothing new."""
        return self._level

    async def run(self) -> None:
        """Follow until cancelled."""
        topics = self._topics
        consumer = AIOKafkaConsumer(
            topics.decisions,
            topics.dead_letters,
            *topics.lanes.values(),
            **client_options(self._settings),
            group_id=None,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            while True:
                batches = await consumer.getmany(timeout_ms=100, max_records=5_000)
                self._level = not batches
                for records in batches.values():
                    for record in records:
                        self._take(record)
                self.read_pushes()
        finally:
            await consumer.stop()

    def read_pushes(self) -> None:
        """Read what the stand-ins wrote since the last time."""
        if not self._push_log.exists():
            return
        with self._push_log.open("rb") as log:
            log.seek(self._read_bytes)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                entry = msgspec.json.decode(line)
                if entry["accepted"]:
                    self._unmatched.append(entry)
        self._unmatched = [entry for entry in self._unmatched if not self._match(entry)]

    def _take(self, record: Any) -> None:
        sequence = header(record.headers, "seq")
        if sequence is not None:
            mark = record.topic.encode() + sequence
            if mark in self._sequences:
                return
            self._sequences.add(mark)
        if record.topic == self._topics.decisions:
            self._take_decision(msgspec.json.decode(record.value))
        elif record.topic == self._topics.dead_letters:
            self.seen.dead_letters += 1
        else:
            delivery = decode_delivery(record.value)
            found = (delivery.user, delivery.trigger, delivery.appended_at_ms)
            self._waiting[delivery.delivery_id] = found

    def _take_decision(self, row: dict[str, Any]) -> None:
        seen = self.seen
        if row["outcome"] == "ADMITTED":
            seen.admitted += 1
        elif row["outcome"] == "CANCELLED":
            seen.cancelled += 1
        else:
            seen.suppressed[row["reason"] or row["outcome"]] += 1
        if self._keep_rows:
            seen.rows.append({name: row[name] for name in _ROW})

    def _match(self, entry: dict[str, Any]) -> bool:
        found = self._waiting.get(entry["delivery_id"])
        if found is None:
            return False
        user, trigger, appended_at_ms = found
        # A user with two devices gets the same delivery on both.
        arrival = (entry["delivery_id"], entry["token"])
        if arrival in self._accepted:
            self.seen.repeated += 1
            return True
        self._accepted.add(arrival)
        latency_ms = entry["at_ms"] + self._delay_ms - appended_at_ms
        self.seen.arrived += 1
        self.seen.sent.add(entry["delivery_id"])
        self.seen.latencies_ms.append(latency_ms)
        self.seen.recent.append(
            Arrived(user, trigger, str(entry["title"]), entry["provider"], latency_ms)
        )
        return True
