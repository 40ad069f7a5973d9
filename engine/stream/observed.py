"""What the user stage shows of itself: the only file of it that knows the metric catalogue."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from engine import clock, metrics
from engine.ports import CommitStatus
from schemas.reasons import DeadLetterReason, Outcome
from triggers.effects import Effects

log = structlog.get_logger(__name__)

_CANDIDATES = frozenset({Outcome.ADMITTED, Outcome.SUPPRESSED})


def batch(records: int) -> None:
    """A fetched batch is about to be applied."""
    metrics.BATCH.observe(records)


def applied(kinds: dict[str, int]) -> None:
    """Records applied, by kind."""
    for kind, count in kinds.items():
        metrics.EVENTS.labels(kind=kind).inc(count)


def skipped(count: int, why: str) -> None:
    """Records read and not applied."""
    if count:
        metrics.EVENTS_SKIPPED.labels(why=why).inc(count)


def cache(hits: int, misses: int) -> None:
    """States found in memory, and loaded."""
    metrics.CACHE_HITS.inc(hits)
    metrics.CACHE_MISSES.inc(misses)


@contextmanager
def commit_time() -> Iterator[None]:
    """Times one commit."""
    with metrics.COMMIT_SECONDS.time():
        yield


@contextmanager
def decide_time() -> Iterator[None]:
    """Times the core's part of one batch."""
    with metrics.DECIDE_SECONDS.time():
        yield


def committed(status: CommitStatus) -> None:
    """What the store answered."""
    metrics.COMMITS.labels(status=status).inc()


def decided(shard: int, effects: Effects, states: int, withheld: int) -> None:
    """A commit was applied: what it decided."""
    metrics.STATES_WRITTEN.inc(states)
    metrics.WITHHELD.labels(shard=shard).set(withheld)
    # Counted first: each label of a counter costs more than the decision it stands for.
    ended = Counter((one.outcome, one.reason) for one in effects.decisions)
    for (outcome, reason), count in ended.items():
        named = reason or metrics.NONE
        metrics.DECISIONS.labels(outcome=outcome, reason=named).inc(count)
        if outcome is Outcome.SUPPRESSED:
            metrics.SUPPRESSED.labels(reason=named).inc(count)
    came_up = Counter(one.trigger for one in effects.decisions if one.outcome in _CANDIDATES)
    for trigger, count in came_up.items():
        metrics.CANDIDATES.labels(trigger=trigger).inc(count)
    for (_, why), count in effects.unevaluated.items():
        metrics.UNEVALUATED.labels(reason=why).inc(count)
    for what, count in effects.evicted.items():
        metrics.EVICTED.labels(what=what).inc(count)


def fired(effects: Effects) -> None:
    """Timers that were decided, against the wall clock."""
    if effects.fired_ms:
        now_ms = clock.now_ms()
        for due_ms in effects.fired_ms:
            metrics.LATENESS.observe(max(0, now_ms - due_ms) / 1000)


def activated(shard: int, number: int) -> None:
    """A shard switched to another version of the registry."""
    log.info("registry_activated", shard=shard, registry=number)


def forwarded() -> None:
    """A record of another partition was sent home."""
    metrics.FORWARDED.inc()


def dead_letter(reason: DeadLetterReason) -> None:
    """A record was refused."""
    metrics.DEAD_LETTERS.labels(reason=reason).inc()


def sought(why: str) -> None:
    """A shard was set to its stored position."""
    metrics.SEEKS.labels(why=why).inc()


def outbox(shard: int, depth: int) -> None:
    """Committed entries not published yet."""
    metrics.OUTBOX.labels(shard=shard).set(depth)


def lag(shard: int, records: int) -> None:
    """Records of the shard not decided yet."""
    metrics.LAG.labels(shard=shard).set(max(0, records))


def given_up(shard: int) -> None:
    """A shard went to another process: its gauges would lie."""
    for gauge in (metrics.LAG, metrics.OUTBOX, metrics.WITHHELD):
        gauge.labels(shard=shard)
        gauge.remove(shard=shard)


@contextmanager
def registry_wait() -> Iterator[None]:
    """Times how long a shard waits for the definitions its log activates."""
    with metrics.REGISTRY_WAIT.time():
        yield


def registry_held(number: int) -> None:
    """The newest version this process holds."""
    metrics.REGISTRY_VERSION.set(number)


def ticked() -> None:
    """A tick was appended."""
    metrics.TICKS.inc()


def owned(shards: int) -> None:
    """How many shards this process owns."""
    metrics.SHARDS_OWNED.set(shards)
