"""What a delivery worker shows of itself: the only file of it that knows the metric catalogue."""

from collections import Counter
from collections.abc import Iterable

import structlog

from engine import metrics
from engine.delivery.breaker import State
from engine.delivery.senders import SendResult
from engine.ports import Verdict
from schemas.deliveries import Delivery
from schemas.reasons import DeadLetterReason, Reason
from schemas.records import DeadToken
from schemas.topics import RETRY_TIERS_MS, Lane

log = structlog.get_logger(__name__)


def gate(verdicts: Iterable[Verdict]) -> None:
    """The gate has answered a round of claims."""
    for answer, claims in Counter(verdict.answer for verdict in verdicts).items():
        metrics.GATE.labels(answer=answer).inc(claims)


def sent(provider: str, result: SendResult, took_s: float) -> None:
    """A provider request has ended."""
    metrics.SENDS.labels(provider=provider, outcome=result.kind).inc()
    metrics.SEND_SECONDS.labels(provider=provider).observe(took_s)


def accepted(delivery: Delivery, now_ms: int) -> None:
    """A provider took a delivery; `now_ms` is wall time like the append time."""
    waited_s = max(0, now_ms - delivery.appended_at_ms) / 1000
    metrics.APPEND_TO_ACCEPT.labels(lane=delivery.lane).observe(waited_s)


def ended(reason: Reason, provider: str, dead_tokens: tuple[DeadToken, ...]) -> None:
    """The outcome of a delivery is written."""
    metrics.DELIVERIES.labels(reason=reason).inc()
    if dead_tokens:
        metrics.TOKENS_REMOVED.labels(provider=provider).inc(len(dead_tokens))


def requeued(tier: int) -> None:
    """A delivery was put back into the tier of that index."""
    metrics.RETRIES.labels(tier=f"{RETRY_TIERS_MS[tier] // 1000}s").inc()


def refused() -> None:
    """A record was no delivery."""
    metrics.DEAD_LETTERS.labels(reason=DeadLetterReason.BAD_ENGINE_RECORD).inc()


def queued(lane: Lane, deliveries: int) -> None:
    """Deliveries read and not started."""
    metrics.LANE_QUEUED.labels(lane=lane).set(deliveries)


def uncommitted(lane: Lane | None, seconds: float) -> None:
    """Kafka has not taken for so long what is finished of a lane, None: of the re-queue topics."""
    metrics.LANE_UNCOMMITTED.labels(lane=lane or "retry").set(seconds)


def in_flight(provider: str, requests: int) -> None:
    """Requests under way."""
    metrics.IN_FLIGHT.labels(provider=provider).set(requests)


def breaker(provider: str, state: State, reason: str) -> None:
    """A breaker has changed its state; `reason` is the answer that did it."""
    write = log.info if state is State.CLOSED else log.warning
    write("breaker_changed", provider=provider, state=state, reason=reason)
