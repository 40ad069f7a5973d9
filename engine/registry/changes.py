"""What an apply, a pause or a resume would change: pure, from a history and definitions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from engine.registry.entries import (
    POLICY,
    TRIGGER,
    Body,
    BodyKey,
    PolicyBody,
    SharedBody,
    State,
    TriggerBody,
    TriggerRef,
    decode_shared,
)
from engine.registry.history import Contents, History
from engine.registry.versions import UnreadableDefinitionError, Versions
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.fields import share_text
from triggers.shared import NO_DOCUMENTS, Documents


class Change(StrEnum):
    """What became of a trigger or a policy. KEPT: registered, but not in the folder."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    REMOVED = "removed"


class Row(NamedTuple):
    """One line of the difference. `before`: the revision until now, 0 for none; `state` is empty
    for policies; `note`: what the author may not expect."""

    kind: str
    name: str
    change: Change
    revision: int
    before: int
    state: str = ""
    note: str = ""


@dataclass(slots=True)
class Plan:
    """A version to be: made from version `base`; `bodies` are the revisions new in it."""

    base: int
    contents: Contents
    rows: list[Row] = field(default_factory=list)
    bodies: list[tuple[BodyKey, Body]] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """False when the version would be equal to the one it is made from."""
        return any(row.change not in (Change.UNCHANGED, Change.KEPT) for row in self.rows)

    @property
    def edited(self) -> list[Row]:
        """The triggers that it changes or removes: what they have armed may still be pending."""
        edits = (Change.CHANGED, Change.REMOVED)
        return [row for row in self.rows if row.kind == TRIGGER and row.change in edits]


class NotRegisteredError(Exception):
    """No trigger of that id in the latest version."""


class WrongStateError(Exception):
    """A trigger in this state can be neither paused nor resumed, or has and gets no canary."""


def plan_apply(
    history: History,
    triggers: Mapping[str, TriggerDefinition],
    policies: Mapping[str, Policy],
    documents: Documents = NO_DOCUMENTS,
    *,
    prune: bool,
    now_ms: int,
    cancel_pending: bool = False,
    canary_share: int = 0,
) -> Plan:
    """The latest version with these definitions in it; with `prune` nothing else is left.

    With a `canary_share` (in buckets) edited triggers keep their revision, and the new one is for
    the users below that share. Else a definition that runs as a canary stays one, and any other
    ends the canary of its trigger. An edited draft that stays one has no canary; WrongStateError
    where it would become something else.

    With `cancel_pending` it withdraws the instances that triggers changed or removed by it have
    armed so far; else their deadlines stay, and the current revision decides.

    The version is compiled as a proof, so what raises here would have stopped every shard. Raises
    UnreadableDefinitionError when a trigger that stays was registered by a newer release, and
    NotCompilable when what stays does not fit what is new.
    """
    before = history.contents(history.latest)
    plan = Plan(history.latest, Contents({}, {}, {}, dict(before.cancelled_to)))
    versions = Versions(history)
    for name in sorted(triggers):
        _plan_trigger(
            plan, history, versions, before, triggers[name], now_ms, canary_share, cancel_pending
        )
    for name in sorted(policies):
        _plan_policy(plan, history, versions, before, name, policies[name])
    for kind in sorted(documents):
        for name in sorted(documents[kind]):
            _plan_document(plan, history, before, kind, name, documents[kind][name])
    _plan_rest(plan, before, prune)
    if cancel_pending:
        # Every revision before, also those of canaries: what they have armed may be pending, too.
        last = {row.name: history.next_revision(TRIGGER, row.name) - 1 for row in plan.edited}
        plan.contents.cancelled_to.update(last)
    _prove(plan, versions, triggers, policies, documents)
    return plan


def plan_pause(history: History, trigger_id: str) -> Plan:
    """Raises NotRegisteredError, WrongStateError for a draft."""
    ref, _ = _registered(history, trigger_id)
    if ref.state == "draft":
        raise WrongStateError(f"{trigger_id} is a draft: there is nothing to pause")
    return _plan_state(history, trigger_id, ref, "paused")


def plan_resume(history: History, trigger_id: str) -> Plan:
    """Back to the state its file gives it, or to live where the file says paused.

    Raises NotRegisteredError, WrongStateError for a draft.
    """
    ref, own = _registered(history, trigger_id)
    if ref.state == "draft":
        raise WrongStateError(f"{trigger_id} is a draft: set its state in its file and apply")
    if ref.state != "paused":
        return _plan_state(history, trigger_id, ref, ref.state)
    return _plan_state(history, trigger_id, ref, "live" if own in ("paused", "draft") else own)


def plan_promote(history: History, trigger_id: str) -> Plan:
    """The canary becomes the revision of all users. Raises NotRegisteredError, WrongStateError for
    a trigger without a canary."""
    ref, own = _registered(history, trigger_id)
    definition = Versions(history).definition(trigger_id, _canary_of(trigger_id, ref))
    assert definition is not None  # an accepted version names no revision without a body
    state = ref.state if definition.state == own else definition.state
    row = Row(TRIGGER, trigger_id, Change.CHANGED, ref.canary, ref.revision, state)
    return _plan_ref(history, TriggerRef(ref.canary, state), row)


def plan_abort(history: History, trigger_id: str) -> Plan:
    """The canary ends: its users get the revision of all others. Raises as `plan_promote`."""
    ref, _ = _registered(history, trigger_id)
    canary = _canary_of(trigger_id, ref)
    row = Row(TRIGGER, trigger_id, Change.CHANGED, ref.revision, canary, ref.state)
    return _plan_ref(history, TriggerRef(ref.revision, ref.state), row)


def _canary_of(trigger_id: str, ref: TriggerRef) -> int:
    if not ref.canary:
        raise WrongStateError(f"{trigger_id} has no canary: start one by `apply --canary 5%`")
    return ref.canary


def _plan_ref(history: History, ref: TriggerRef, row: Row) -> Plan:
    contents = history.contents(history.latest)
    contents.triggers[row.name] = ref
    return Plan(history.latest, contents, [row])


def _registered(history: History, trigger_id: str) -> tuple[TriggerRef, State]:
    ref = history.contents(history.latest).triggers.get(trigger_id)
    if ref is None:
        raise NotRegisteredError(f"no trigger {trigger_id} is registered")
    definition = Versions(history).definition(trigger_id, ref.revision)
    assert definition is not None  # an accepted version names no revision without a body
    return ref, definition.state


def _plan_state(history: History, trigger_id: str, ref: TriggerRef, state: State) -> Plan:
    change = Change.UNCHANGED if state == ref.state else Change.CHANGED
    row = Row(TRIGGER, trigger_id, change, ref.revision, ref.revision, state)
    return _plan_ref(history, msgspec.structs.replace(ref, state=state), row)


def _plan_trigger(
    plan: Plan,
    history: History,
    versions: Versions,
    before: Contents,
    wanted: TriggerDefinition,
    now_ms: int,
    canary_share: int,
    cancel_pending: bool,
) -> None:
    ref = before.triggers.get(wanted.id)
    held = None if ref is None else _readable(versions, wanted.id, ref.revision)
    if ref is not None and held != wanted:
        running = _readable(versions, wanted.id, ref.canary) if ref.canary else None
        if (canary_share and not _is_draft(ref, wanted)) or running == wanted:
            _plan_canary(plan, history, ref, running, wanted, now_ms, canary_share)
            return
    # Definitions are compared, not documents: a release that writes one more field with its old
    # meaning must not make a new revision of every trigger.
    # What a canary that ends has armed is of a later revision than the one that stays, and ending
    # instances takes those of a revision and of all before it.
    again = cancel_pending and ref is not None and bool(ref.canary)
    if ref is not None and held == wanted and not again:
        change = Change.CHANGED if ref.canary else Change.UNCHANGED
        revision = ref.revision
    else:
        revision = history.next_revision(TRIGGER, wanted.id)
        change = Change.CREATED if ref is None else Change.CHANGED
        body = TriggerBody(wanted.to_document(), now_ms)
        plan.bodies.append((BodyKey(TRIGGER, wanted.id, revision), body))
    state: State = wanted.state
    if ref is not None and held is not None and held.state == wanted.state:
        # A trigger stopped by hand stays stopped until its file changes its state or it is resumed:
        # an edit of its text must not start it again.
        state = ref.state
    note = "" if state == wanted.state else f"its file says {wanted.state}"
    if ref is not None and ref.canary:
        note = f"its canary, revision {ref.canary}, ends"
    plan.contents.triggers[wanted.id] = TriggerRef(revision, state)
    previous = 0 if ref is None else ref.revision
    plan.rows.append(Row(TRIGGER, wanted.id, change, revision, previous, state, note))


def _is_draft(ref: TriggerRef, wanted: TriggerDefinition) -> bool:
    """Nobody is decided by it, now or then: an edit is for everyone. Raises WrongStateError."""
    if ref.state != "draft":
        return False
    if wanted.state != "draft":
        raise WrongStateError(
            f"{wanted.id} is a draft, and so would be its canary: nobody would get a message; "
            "apply it without --canary (`rollout: 5%` begins with a share of the users)"
        )
    return True


def _plan_canary(
    plan: Plan,
    history: History,
    ref: TriggerRef,
    running: TriggerDefinition | None,
    wanted: TriggerDefinition,
    now_ms: int,
    canary_share: int,
) -> None:
    """Beside the revision that stays, in its state: a new canary, or the one that runs already,
    for another share of the users or for the same."""
    share = canary_share or ref.canary_share
    revision = ref.canary
    if running != wanted:
        revision = history.next_revision(TRIGGER, wanted.id)
        body = TriggerBody(wanted.to_document(), now_ms)
        plan.bodies.append((BodyKey(TRIGGER, wanted.id, revision), body))
    made = msgspec.structs.replace(ref, canary=revision, canary_share=share)
    plan.contents.triggers[wanted.id] = made
    change = Change.UNCHANGED if made == ref else Change.CHANGED
    note = f"canary for {share_text(share)}, the others keep revision {ref.revision}"
    if ref.state != wanted.state:
        note += f"; both are {ref.state}, its file says {wanted.state}"
    plan.rows.append(Row(TRIGGER, wanted.id, change, revision, ref.revision, ref.state, note))


def _plan_policy(
    plan: Plan, history: History, versions: Versions, before: Contents, name: str, wanted: Policy
) -> None:
    previous = before.policies.get(name, 0)
    if previous and _readable_policy(versions, name, previous) == wanted:
        revision, change = previous, Change.UNCHANGED
    else:
        revision = history.next_revision(POLICY, name)
        change = Change.CHANGED if previous else Change.CREATED
        plan.bodies.append((BodyKey(POLICY, name, revision), PolicyBody(wanted.to_document())))
    plan.contents.policies[name] = revision
    plan.rows.append(Row(POLICY, name, change, revision, previous))


def _plan_document(
    plan: Plan, history: History, before: Contents, kind: str, name: str, wanted: dict[str, Any]
) -> None:
    previous = before.documents.get((kind, name), 0)
    body = history.body(BodyKey(kind, name, previous))
    if body is not None and decode_shared(body).document == wanted:
        revision, change = previous, Change.UNCHANGED
    else:
        revision = history.next_revision(kind, name)
        change = Change.CHANGED if previous else Change.CREATED
        plan.bodies.append((BodyKey(kind, name, revision), SharedBody(wanted)))
    plan.contents.documents[kind, name] = revision
    plan.rows.append(Row(kind, name, change, revision, previous))


def _plan_rest(plan: Plan, before: Contents, prune: bool) -> None:
    change = Change.REMOVED if prune else Change.KEPT
    for name in _missing(before.triggers, plan.contents.triggers):
        ref = before.triggers[name]
        if not prune:
            plan.contents.triggers[name] = ref
        plan.rows.append(Row(TRIGGER, name, change, ref.revision, ref.revision, ref.state))
    for name in _missing(before.policies, plan.contents.policies):
        revision = before.policies[name]
        if not prune:
            plan.contents.policies[name] = revision
        plan.rows.append(Row(POLICY, name, change, revision, revision))
    for key in sorted(before.documents.keys() - plan.contents.documents.keys()):
        revision = before.documents[key]
        if not prune:
            plan.contents.documents[key] = revision
        plan.rows.append(Row(*key, change, revision, revision))


def _prove(
    plan: Plan,
    versions: Versions,
    triggers: Mapping[str, TriggerDefinition],
    policies: Mapping[str, Policy],
    documents: Documents,
) -> None:
    definitions = dict(triggers)
    for name, ref in plan.contents.triggers.items():
        kept = versions.definition(name, ref.revision) if name not in definitions else None
        if kept is not None:
            definitions[name] = kept
    kept_policies = {
        name: versions.policy(name, revision)
        for name, revision in plan.contents.policies.items()
        if name not in policies
    }
    # Drafts are compiled too: the day they go live is no time to find out.
    registered = [RegisteredTrigger(made, 1, "live", 0) for made in definitions.values()]
    for name, ref in plan.contents.triggers.items():
        # Both sides of a canary have to fit what is new; one of them is proved already.
        if ref.canary:
            sides = [versions.definition(name, number) for number in (ref.revision, ref.canary)]
            registered += [RegisteredTrigger(one, 1, "live", 0) for one in sides if one is not None]
    stay = [key for key in plan.contents.documents if key[1] not in documents.get(key[0], {})]
    held: dict[str, dict[str, Any]] = {kind: dict(bodies) for kind, bodies in documents.items()}
    for kind, name in stay:
        revision = plan.contents.documents[kind, name]
        held.setdefault(kind, {})[name] = versions.document(kind, name, revision)
    compile_program(plan.base, registered, {**kept_policies, **policies}, held)


def documents_by_kind(contents: Contents) -> dict[str, dict[str, int]]:
    """Revisions of shared documents as a manifest holds them."""
    found: dict[str, dict[str, int]] = {}
    for (kind, name), revision in contents.documents.items():
        found.setdefault(kind, {})[name] = revision
    return found


def _missing(before: Iterable[str], after: Mapping[str, object]) -> list[str]:
    return sorted(name for name in before if name not in after)


def _readable(versions: Versions, trigger_id: str, revision: int) -> TriggerDefinition | None:
    """None for one this release cannot read, which then counts as changed."""
    try:
        return versions.definition(trigger_id, revision)
    except UnreadableDefinitionError:
        return None


def _readable_policy(versions: Versions, name: str, revision: int) -> Policy | None:
    try:
        return versions.policy(name, revision)
    except UnreadableDefinitionError:
        return None
