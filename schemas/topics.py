"""Every topic: its name, its shape and why it is kept as long as it is.

All names carry a configurable prefix. The partition count of the log is fixed at creation: it is
the number of shards. Lanes, retries, decisions and outcomes have as many partitions as the log, so
that partition n of each holds what shard n decided, in order.
"""

from dataclasses import dataclass
from enum import StrEnum

DAY_MS = 86_400_000


class Lane(StrEnum):
    """Order in the send queue, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


#: Delay tiers of the re-queue. The first is for claims a limit refuses by a moment: decisions are
#: spaced exactly in log time, but reach the gate some milliseconds more or less later. Back-off
#: after a failure begins with the second, so that FCM's "never retry sooner than 10 s" holds; then
#: its 60 s default after a 429, and Apple's 15 minutes.
RETRY_TIERS_MS = (1_000, 10_000, 60_000, 900_000)
BACK_OFF_FROM = 1


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """`partitions` None: as many as the log has."""

    name: str
    partitions: int | None
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics under one prefix."""

    prefix: str = ""

    @property
    def events(self) -> str:
        return f"{self.prefix}events"

    @property
    def decisions(self) -> str:
        return f"{self.prefix}decisions"

    @property
    def outcomes(self) -> str:
        return f"{self.prefix}outcomes"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}dead-letters"

    @property
    def registry(self) -> str:
        return f"{self.prefix}registry"

    def lane(self, lane: str) -> str:
        return f"{self.prefix}deliveries.{lane}"

    @property
    def lanes(self) -> dict[Lane, str]:
        return {lane: self.lane(lane) for lane in Lane}

    def retry(self, tier_ms: int) -> str:
        return f"{self.prefix}deliveries.retry.{tier_ms // 1000}s"

    def specs(self, clock: str = "wall") -> list[TopicSpec]:
        """All topics. With `clock` "log" record timestamps are the emitter's (design.md T10)."""
        stamped = "CreateTime" if clock == "log" else "LogAppendTime"
        kept = {"message.timestamp.type": stamped}
        if clock == "log":
            # History may be years old: retention by time would delete it while it is played.
            kept["retention.ms"] = "-1"
        else:
            kept["retention.ms"] = str(7 * DAY_MS)
        short = {"retention.ms": str(3 * DAY_MS)}
        specs = [
            TopicSpec(self.events, None, kept),
            TopicSpec(self.decisions, None, {"retention.ms": str(30 * DAY_MS)}),
            TopicSpec(self.outcomes, None, {"retention.ms": str(30 * DAY_MS)}),
            TopicSpec(self.dead_letters, 1, {"retention.ms": str(14 * DAY_MS)}),
            TopicSpec(self.registry, 1, {"cleanup.policy": "compact"}),
        ]
        specs += [TopicSpec(name, None, dict(short)) for name in self.lanes.values()]
        specs += [TopicSpec(self.retry(tier), None, dict(short)) for tier in RETRY_TIERS_MS]
        return specs
