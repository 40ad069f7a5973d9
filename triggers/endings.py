"""How an activation ends, as a decision and as a stage of the funnel."""

from schemas.decisions import Decision
from schemas.outcomes import PUSH, OutcomeRow
from schemas.reasons import Outcome, Reason
from triggers.effects import Effects, FunnelKey, Journal
from triggers.exposure import GHOSTS, WITHHELD
from triggers.funnel import record
from triggers.program import CompiledTrigger
from triggers.state import DAY_MS, Instance, Pending, Waiting


def message_ids(instance: Instance) -> tuple[str | None, str | None]:
    """`$start` and `$event`; none where no event started it."""
    event = instance.progress.event if instance.progress else ""
    if event is None:
        return None, None
    activation = instance.activation
    return activation, event or activation


def ended(
    instance: Instance, user: str, revision: int, at: int, outcome: Outcome, reason: Reason | None
) -> Decision:
    start, event = message_ids(instance)
    return Decision(
        trigger=instance.trigger,
        user=user,
        activation=instance.activation,
        at_ms=at,
        outcome=outcome,
        reason=reason,
        start=start,
        event=event,
        revision=revision,
    )


def ended_waiting(
    trigger: str,
    waiting: Waiting,
    user: str,
    revision: int,
    at: int,
    outcome: Outcome,
    reason: Reason | None,
    delivery: str | None,
    variant: str = "",
) -> Decision:
    """How a candidate ended that waited for a bundle; `delivery` is what it became a part of."""
    return Decision(
        trigger=trigger,
        user=user,
        activation=waiting.activation,
        at_ms=at,
        outcome=outcome,
        reason=reason,
        start=waiting.start,
        event=waiting.event,
        revision=revision,
        variant=variant or None,
        delivery_id=delivery,
    )


def lost(user: str, pending: Pending, at: int, out: Effects) -> None:
    """Nobody waits for the outcome of a delivery any more: nothing is known of it, nothing is given
    back, and whoever comes to send it finds it gone."""
    delivery = pending.delivery.hex()
    out.closed.append(delivery)
    out.journal.append(Journal(user, at, pending.trigger, Reason.UNKNOWN, delivery))
    count_ending(user, pending, Reason.UNKNOWN, at, out)


def count_ending(user: str, pending: Pending, reason: Reason, at: int, out: Effects) -> None:
    """A delivery has ended so: it counts for the revision and variant it was decided with. A ghost
    is withheld: CONTROL was counted when it was decided."""
    record(
        out,
        OutcomeRow(
            (WITHHELD if reason in GHOSTS else reason).lower(),
            pending.delivery.hex(),
            pending.trigger,
            pending.revision,
            pending.variant,
            PUSH,
            user,
            at,
        ),
    )


def stage(trigger: CompiledTrigger, at: int, stage: str, variant: str = "") -> FunnelKey:
    return FunnelKey(trigger.id, trigger.revision, variant, at // DAY_MS, stage)
