"""The decision record: one per ended activation (language.md, "Interfaces")."""

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from schemas.reasons import Outcome, Reason


class Decision(msgspec.Struct, frozen=True, gc=False):
    """One ended activation.

    `at_ms` is the decision time of the log. `start` and `event` are messageIds (None where no event
    started it: idle). `delivery_id` is set when admitted, and of a ghost (CONTROL, GLOBAL_CONTROL);
    `by` is the delivery that a candidate of lower priority lost against. `variant`: the user's arm,
    from the moment on at which the arms part. `would`: what a shadow trigger would have done,
    ADMITTED or a reason.
    """

    trigger: str
    user: str
    activation: str
    at_ms: int
    outcome: Outcome
    reason: Reason | None = None
    start: str | None = None
    event: str | None = None
    variant: str | None = None
    revision: int = 0
    delivery_id: str | None = None
    by: str | None = None
    would: str | None = None


def utc(at_ms: int) -> str:
    """`2026-11-22T00:00:00.000Z`."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=4_096)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:19]


def decision_row(decision: Decision) -> dict[str, str | None]:
    """The nine fields scripts rely on, in their order."""
    return {
        "trigger": decision.trigger,
        "user": decision.user,
        "activation": decision.activation,
        "at": utc(decision.at_ms),
        "outcome": decision.outcome.value,
        "reason": decision.reason.value if decision.reason else None,
        "start": decision.start,
        "event": decision.event,
        "variant": decision.variant,
    }


class DecisionRecord(msgspec.Struct, frozen=True, gc=False):
    """The record as it is written."""

    version: int
    trigger: str
    user: str
    activation: str
    at: str
    outcome: Outcome
    reason: Reason | None
    start: str | None
    event: str | None
    variant: str | None
    revision: int
    delivery_id: str | None
    by: str | msgspec.UnsetType = msgspec.UNSET
    would: str | msgspec.UnsetType = msgspec.UNSET


_encoder = msgspec.json.Encoder()


def decision_record(decision: Decision) -> bytes:
    """The value written to the decisions topic: the row plus version, revision, delivery_id
    and, where there is one, `by` or `would`."""
    return _encoder.encode(
        DecisionRecord(
            1,
            decision.trigger,
            decision.user,
            decision.activation,
            utc(decision.at_ms),
            decision.outcome,
            decision.reason,
            decision.start,
            decision.event,
            decision.variant,
            decision.revision,
            decision.delivery_id,
            decision.by or msgspec.UNSET,
            decision.would or msgspec.UNSET,
        )
    )


def decision_order(decision: Decision) -> tuple[int, str, str, str]:
    """Sort key of decision files: (at, user, trigger, activation)."""
    return (decision.at_ms, decision.user, decision.trigger, decision.activation)
