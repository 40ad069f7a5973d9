"""Consent at work: what a statement changes at once, and who decides for a user without profiling.

`hear` notes what an event says and calls back what is on its way. Who refuses profiling is decided
by transactional triggers alone: `who_decides` narrows the program to them and to what they ask for.
What was learnt for the others goes (`forget_profile`); what protects the user stays: consent,
cooldowns, spacing, caps and what is on its way.
"""

from dataclasses import replace

from schemas.events import Event, occurred_at_ms
from schemas.reasons import Outcome, Reason, Unevaluated
from triggers import holding, instances
from triggers.answers import Answer
from triggers.consent import PROFILING, Statement, refusal_of, say, statements_of
from triggers.devices import (
    PUSH_DISABLED,
    PUSH_ENABLED,
    UNINSTALLED,
    note_permission,
    reachable,
    register_device,
)
from triggers.effects import Effects, Journal, Recall
from triggers.endings import ended, ended_waiting
from triggers.exposure import is_marketing
from triggers.funnel import conclude
from triggers.notes import MESSAGES
from triggers.program import Hits, Program, build_program
from triggers.state import Bundle, Consent, Held, Settling, UserState

#: The line of the journal, and of `explain`, that tells a change.
CHANGED = "CONSENT"
_PERMISSION = frozenset({PUSH_DISABLED, PUSH_ENABLED, UNINSTALLED})


def hear(program: Program, user: str, state: UserState, event: Event, a: int, out: Effects) -> bool:
    """Apply an event that tells consent or permission; True when the state changed."""
    e = occurred_at_ms(event, a)
    if event.event in _PERMISSION and event.type == "track":
        off, known = _withdrawn(state), {device.token for device in state.devices}
        changed = note_permission(state, event, e, a)
        if off != _withdrawn(state) or not known.issubset(one.token for one in state.devices):
            out.journal.append(Journal(user, a, "", CHANGED, str(event.event)))
            recall_forbidden(program, state, a, out)
        return changed
    changed = event.type == "track" and register_device(state, event, a)
    said = [statement for statement in statements_of(event) if say(state, statement, e)]
    for statement in said:
        out.journal.append(Journal(user, a, "", CHANGED, statement.text))
    if any(not statement.given for statement in said):
        recall_forbidden(program, state, a, out)
    if Statement(PROFILING, "", given=False) in said:
        forget_profile(program, user, state, a, out)
    return changed or bool(said)


def _withdrawn(state: UserState) -> set[str]:
    return set() if state.consent is None else set(state.consent.devices)


def recall_forbidden(program: Program, state: UserState, a: int, out: Effects) -> None:
    """Call back what is on its way and may not be sent any more. Of a trigger that is not
    registered any more all that is marketing: its category is not known."""
    if state.pending and not reachable(state):
        forbidden = list(state.pending)
    elif state.consent is None:
        return
    else:
        forbidden = [
            pending
            for pending in state.pending
            if (
                is_marketing(pending)
                if (trigger := program.triggers.get(pending.trigger)) is None
                else refusal_of(state.consent, trigger)
            )
        ]
    for pending in forbidden:
        if not pending.cancelled:
            pending.cancelled = True
            out.cancelled.append(Recall(pending.delivery.hex(), a, Reason.CONSENT))


def refuses_profiling(consent: Consent | None) -> bool:
    """The user does not want behaviour to lead to messages."""
    return consent is not None and consent.profiling < 0


def program_of(program: Program, state: UserState) -> Program:
    """The part of the program that decides for this user."""
    return narrowed(program) if refuses_profiling(state.consent) else program


def who_decides(
    program: Program, state: UserState, hits: Hits, e: int, out: Effects
) -> tuple[Program, Hits]:
    """The part of the program, and of the roles of an event of client time `e`, that counts.

    What happened before the user agreed to profiling starts and teaches nothing either, when it
    arrives late; but it cancels, as every event does (design.md T4).
    """
    consent = state.consent
    if consent is None or not (consent.profiling < 0 or e < consent.profiling):
        return program, hits
    narrow = narrowed(program)
    for role in hits.starts:
        if role.trigger.marketing:
            out.unevaluated[role.trigger.id, Unevaluated.CONSENT] += 1
    return narrow, Hits(
        hits.cancels
        if consent.profiling > 0
        else tuple(role for role in hits.cancels if not role.trigger.marketing),
        tuple(role for role in hits.starts if not role.trigger.marketing),
        tuple(trigger for trigger in hits.errors if not trigger.marketing),
        tuple(
            role
            for role in hits.notes
            if role.note.key in narrow.features or role.note.key in narrow.relations
        ),
        _answer(consent, hits.answer),
        hits.consent,
    )


def _answer(consent: Consent, answer: Answer | None) -> Answer | None:
    """Goals are behaviour; what was opened, and that the user left, is about our own messages."""
    if answer is None or consent.profiling > 0:
        return answer
    return answer._replace(goals=()) if answer.stages or answer.leaves else None


def narrowed(program: Program) -> Program:
    """The same version with its transactional triggers alone; made once, when it is needed."""
    if program.narrowed is None:
        kept = (trigger for trigger in program.triggers.values() if not trigger.marketing)
        found = build_program(program.number, kept)
        # All the rest stays: cooldowns and what is on its way outlive the agreement.
        program.narrowed = replace(
            program,
            by_event=found.by_event,
            watching=found.watching,
            granule_ms=program.granule_ms if found.granule_ms else 0,
            traits=found.traits,
            zoned=found.zoned,
            notes=found.notes,
            features=found.features,
            relations=found.relations,
            habits=found.habits,
        )
    return program.narrowed


def forget_profile(program: Program, user: str, state: UserState, a: int, out: Effects) -> None:
    """End what is pending of marketing triggers, and forget what was learnt for them alone."""
    narrow = narrowed(program)
    _end_pending(program, user, state, a, out)
    for kept_by_trigger in (state.memory, state.patterns, state.idle_fired):
        for name in [name for name in kept_by_trigger if not _stays(program, name)]:
            del kept_by_trigger[name]
    state.traits = {path: kept for path, kept in state.traits.items() if path in narrow.traits}
    state.features = {
        key: kept for key, kept in state.features.items() if key in (*narrow.features, MESSAGES)
    }
    state.relations = {
        name: kept for name, kept in state.relations.items() if name in narrow.relations
    }
    if not (narrow.features or narrow.relations):
        state.features.pop(MESSAGES, None)
    if not narrow.habits:
        state.usual = []
    if not narrow.zoned:
        state.zone = ""
    if not narrow.granule_ms:
        state.seen = 0


def _stays(program: Program, name: str) -> bool:
    trigger = program.triggers.get(name)
    return trigger is not None and not trigger.marketing


def _end_pending(program: Program, user: str, state: UserState, a: int, out: Effects) -> None:
    how, reason = Outcome.CANCELLED, Reason.CONSENT
    for instance in list(state.instances):
        if _stays(program, instance.trigger):
            continue
        instances.remove(state, instance, out)
        trigger = program.triggers.get(instance.trigger)
        revision = trigger.revision if trigger else instance.revision
        conclude(out, ended(instance, user, revision, a, how, reason))
        out.journal.append(Journal(user, a, instance.trigger, how, CHANGED))
    collected: list[Bundle | Settling | Held] = [*state.bundles, *state.settling, *state.held]
    for waits in collected:
        if _stays(program, waits.trigger):
            continue
        trigger = program.triggers.get(waits.trigger)
        revision = trigger.revision if trigger else 0
        for waiting in waits.waiting:
            conclude(
                out, ended_waiting(waits.trigger, waiting, user, revision, a, how, reason, None)
            )
            out.journal.append(Journal(user, a, waits.trigger, how, CHANGED))
        if isinstance(waits, Held):
            holding.remove(state, waits, out)
    state.bundles = [one for one in state.bundles if _stays(program, one.trigger)]
    state.settling = [one for one in state.settling if _stays(program, one.trigger)]
