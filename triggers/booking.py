"""A candidate before the checks of admission, and what is booked after them.

`propose` lets it wait for its bundle and its settle window, or decides it; `close_bundle` makes one
candidate of those that waited; `recall_untrue` calls an admitted delivery back whose `still` no
longer holds.
"""

import msgspec

from schemas.decisions import Decision
from schemas.reasons import Outcome, Reason, Unevaluated
from triggers import absence, bundles, holding, settling
from triggers.admission import (
    Candidate,
    check_cooldown,
    closed_times,
    is_unevaluated,
    refusal,
    take,
    would,
)
from triggers.caps import winner
from triggers.devices import reachable
from triggers.effects import Admitted, Effects, Journal, Recall
from triggers.endings import ended_waiting, lost, stage
from triggers.exposure import GHOST, GHOSTS, GLOBAL_ARM, expose, measured
from triggers.funnel import conclude
from triggers.identity import delivery_id
from triggers.patterns.base import Activation
from triggers.program import CompiledTrigger, Program, Step
from triggers.rotation import take_turn
from triggers.state import (
    PENDING_MAX,
    Bundle,
    Held,
    Pending,
    Progress,
    Settling,
    UserState,
    Waiting,
)
from triggers.windows import zone_of


def propose(
    program: Program, candidate: Candidate, state: UserState, at: int, caused_at: int, out: Effects
) -> None:
    """Admit a candidate, or let it wait for its bundle and then for its settle window."""
    if candidate.trigger.bundle_ms and not candidate.items:
        bundles.collect(state, candidate, at)
    elif settling.settles(candidate):
        settling.collect(state, candidate, at)
    else:
        _admit(program, candidate, state, at, caused_at, out)


def close_bundle(
    program: Program, user: str, state: UserState, bundle: Bundle, due: int, out: Effects
) -> list[Candidate]:
    """One candidate of all that waited; those of a removed trigger are PAUSED."""
    trigger = program.triggers.get(bundle.trigger)
    if trigger is not None:
        return [bundles.candidate_of(trigger, user, due, bundle.waiting)]
    at = max(due, state.decided_at)
    for waiting in bundle.waiting:
        how, why = Outcome.SUPPRESSED, Reason.PAUSED
        conclude(out, ended_waiting(bundle.trigger, waiting, user, 0, at, how, why, None))
    return []


def candidate_of(
    trigger: CompiledTrigger, user: str, activation: Activation, per: str, due: int
) -> Candidate:
    return Candidate(
        trigger=trigger,
        user=user,
        activation=activation.key,
        per=per,
        start=activation.start,
        event=activation.event,
        start_e=activation.start_e,
        due_ms=due,
        start_fields=activation.start_fields,
        event_fields=activation.event_fields,
    )


def _admit(
    program: Program, candidate: Candidate, state: UserState, at: int, caused_at: int, out: Effects
) -> None:
    """Decide one candidate at decision time `at`; book it when it is admitted."""
    trigger = candidate.trigger
    if candidate.items:
        candidate = _without_cooling(candidate, state, at, out)
    if out.on_admission is not None:
        out.on_admission(candidate, state, at)
    state.decided_at = at
    reason = refusal(candidate, state, at)
    if is_unevaluated(candidate, state, at, reason):
        out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
    outcome = Outcome.ADMITTED if reason is None else Outcome.SUPPRESSED
    if reason is Reason.QUIET_HOURS and holding.may_wait(candidate, state, at):
        if not holding.is_over(candidate, at):
            holding.hold(program, candidate, state, at, out)
            return
        outcome, reason = Outcome.EXPIRED, None
    delivery: str | None = None
    by: str | None = None
    if reason is Reason.LOWER_PRIORITY and (won := winner(state, at)) is not None:
        by = won.delivery.hex()
    variant = ""
    if outcome is Outcome.ADMITTED or reason in GHOSTS:
        if measured(trigger):
            variant = _expose(candidate, state, reason, at, out)
        delivery = delivery_id(
            trigger.id, candidate.user, candidate.activation, candidate.per, candidate.step
        )
        _book(program, candidate, state, at, caused_at, delivery, reason, variant, out)
    conclude(
        out,
        Decision(
            trigger=trigger.id,
            user=candidate.user,
            activation=candidate.activation,
            at_ms=at,
            outcome=outcome,
            reason=reason,
            start=candidate.start,
            event=candidate.event,
            variant=variant or None,
            revision=trigger.revision,
            delivery_id=delivery,
            by=by,
            would=_would(candidate, state, at) if reason is Reason.SHADOW else None,
        ),
    )
    out.journal.append(
        Journal(candidate.user, at, trigger.id, reason or outcome, by or candidate.activation)
    )
    if reason in GHOSTS:
        out.funnel[stage(trigger, at, GHOST, variant)] += 1
    how = Outcome.BUNDLED if outcome is Outcome.ADMITTED else outcome
    for waiting in candidate.items[1:]:
        revision, user = trigger.revision, candidate.user
        conclude(
            out,
            ended_waiting(trigger.id, waiting, user, revision, at, how, reason, delivery, variant),
        )


def _without_cooling(candidate: Candidate, state: UserState, at: int, out: Effects) -> Candidate:
    """A bundle without the items whose own `per` value cools down; where all do, it is refused as a
    whole. Looked at when it is decided: what waited for settle or its hours may have been told
    meanwhile in another bundle."""
    trigger, user, due = candidate.trigger, candidate.user, candidate.due_ms
    if not trigger.cooldown_per_ms:
        return candidate
    ready: list[Waiting] = []
    cooling: list[Waiting] = []
    for waiting in candidate.items:
        alone = bundles.candidate_of(trigger, user, due, [waiting])
        (cooling if check_cooldown(alone, state, at) else ready).append(waiting)
    if not ready or not cooling:
        return candidate
    how, why, revision = Outcome.SUPPRESSED, Reason.COOLDOWN, trigger.revision
    for waiting in cooling:
        conclude(out, ended_waiting(trigger.id, waiting, user, revision, at, how, why, None))
    rest = bundles.candidate_of(trigger, user, due, ready)
    return msgspec.structs.replace(rest, settled=candidate.settled, held_at=candidate.held_at)


def _would(candidate: Candidate, state: UserState, at: int) -> str:
    """What a shadow trigger would have done, of a user from whom it takes nothing."""
    return would(candidate, state, at) or Outcome.ADMITTED


def _expose(
    candidate: Candidate, state: UserState, reason: Reason | None, at: int, out: Effects
) -> str:
    """Count the user of an admitted candidate or of a ghost; its variant."""
    trigger, user = candidate.trigger, candidate.user
    arm = trigger.arm_of(user, candidate.start_e, at)
    if reason is Reason.GLOBAL_CONTROL:
        expose(trigger, user, state, GLOBAL_ARM, at, out)
        return ""
    if arm or trigger.global_control is not None:
        expose(trigger, user, state, arm, at, out)
    return arm


def _book(
    program: Program,
    candidate: Candidate,
    state: UserState,
    at: int,
    caused_at: int,
    delivery: str,
    ghost: Reason | None,
    variant: str,
    out: Effects,
) -> None:
    """Take what the message takes. The ghost of a trigger's own control group takes no more than
    the trigger's cooldown: its user keeps all other messages."""
    trigger, items = candidate.trigger, candidate.items
    key = bytes.fromhex(delivery)
    counts = trigger.marketing and ghost is not Reason.CONTROL
    category, overrun = take(program, candidate, state, at, counts=counts)
    if overrun:
        out.evicted["cooldowns"] += 1
    text, text_before = take_turn(trigger, state, at)
    step = _step_of(trigger, candidate, at)
    expires_at = _expires_at(candidate, step, at)
    if len(trigger.steps) > 1:
        _remember_said(state, candidate, at)
    state.pending.append(
        Pending(
            delivery=key,
            trigger=trigger.id,
            per=candidate.per,
            at=at,
            counts=counts,
            drop_at=max(expires_at, at) + program.outcome_within_ms,
            fields=candidate.kept if trigger.unless or trigger.still is not None else {},
            others=[waiting.per for waiting in items[1:]] if items else [],
            before=candidate.said_at,
            category=category,
            text=text,
            text_before=text_before,
            revision=trigger.revision,
            variant=variant,
        )
    )
    if len(state.pending) > PENDING_MAX:
        lost(candidate.user, state.pending.pop(0), at, out)
        out.evicted["pending"] += 1
    out.deliveries.append(
        Admitted(
            trigger=trigger,
            user=candidate.user,
            activation=candidate.activation,
            delivery_id=delivery,
            decided_at_ms=at,
            expires_at_ms=expires_at,
            caused_at_ms=caused_at,
            devices=tuple((device.token, device.platform) for device in reachable(state)),
            start_fields=candidate.start_fields,
            event_fields=candidate.event_fields,
            step=candidate.step,
            text=text or (step.text if step else ""),
            items=tuple(bundles.fields_of(trigger, waiting.fields) for waiting in items)
            if items
            else (),
            category=category,
            zone=zone_of(trigger.policy, state) if trigger.asks_zone else None,
            closed=closed_times(candidate, state, at, expires_at),
            variant=variant,
            ghost=ghost or "",
        )
    )


def _expires_at(candidate: Candidate, step: Step | None, at: int) -> int:
    """Held time does not count (design.md T6)."""
    held_ms = at - candidate.held_at if candidate.held_at else 0
    expires_ms = step.expires_ms if step else candidate.trigger.expires_ms
    return candidate.due_ms + held_ms + expires_ms


def _step_of(trigger: CompiledTrigger, candidate: Candidate, at: int) -> Step | None:
    """A step; the last one when an edit has made the series shorter."""
    steps = trigger.steps
    if trigger.arm_steps:
        steps = trigger.steps_for(trigger.arm_of(candidate.user, candidate.start_e, at))
    return steps[min(candidate.step, len(steps) - 1)] if steps else None


def after_said(candidate: Candidate, at: int, out: Effects) -> Candidate:
    """A step that comes out of a settle window, or a hold, right behind another of its series."""
    if not candidate.settled or len(candidate.trigger.steps) < 2:
        return candidate
    for said in reversed(out.deliveries):
        if said.decided_at_ms != at or said.user != candidate.user:
            break
        if (said.trigger.id, said.activation) == (candidate.trigger.id, candidate.activation):
            return msgspec.structs.replace(candidate, said_at=at)
    return candidate


def _remember_said(state: UserState, candidate: Candidate, at: int) -> None:
    """The next step of the series does not run into the cooldown of this one."""
    following: list[Settling | Held] = [*state.settling, *state.held]
    for other in following:
        first = other.waiting[0]
        mine = (other.trigger, first.per, first.activation)
        if mine == (candidate.trigger.id, candidate.per, candidate.activation):
            other.said_at = at
    instance = absence.find(state, candidate.trigger.id, candidate.per)
    if instance is not None and instance.activation == candidate.activation:
        progress = instance.progress or Progress()
        instance.progress = msgspec.structs.replace(progress, said_at=at)


def recall_untrue(program: Program, state: UserState, a: int, out: Effects) -> None:
    """Call back the pending deliveries whose `still` the user's traits no longer fulfil."""
    for pending in state.pending:
        trigger = program.triggers.get(pending.trigger)
        if trigger is None or trigger.still is None or pending.cancelled:
            continue
        verdict = trigger.still.judge(state, a, pending.fields)
        if verdict is None:
            out.unevaluated[trigger.id, Unevaluated.COULD_NOT_EVALUATE] += 1
        if not verdict:
            pending.cancelled = True
            out.cancelled.append(Recall(pending.delivery.hex(), a, Reason.NO_LONGER_TRUE))
