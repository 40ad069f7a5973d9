"""What an apply, a pause or a resume would change: pure, from a history and definitions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from engine.registry.entries import (
    POLICY,
    TRIGGER,
    Body,
    BodyKey,
    DocumentBody,
    PolicyBody,
    State,
    TriggerBody,
    TriggerRef,
)
from engine.registry.history import Contents, DocumentName, History
from engine.registry.versions import UnreadableDefinitionError, Versions
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
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
    """A trigger in this state can be neither paused nor resumed."""


def plan_apply(
    history: History,
    triggers: Mapping[str, TriggerDefinition],
    policies: Mapping[str, Policy],
    documents: Documents = NO_DOCUMENTS,
    *,
    prune: bool,
    now_ms: int,
    cancel_pending: bool = False,
) -> Plan:
    """The latest version with these definitions in it; with `prune` nothing else is left.

    With `cancel_pending` it withdraws the instances that triggers changed or removed by it have
    armed so far; else their deadlines stay, and the current revision decides.

    The version is compiled as a proof, so what raises here would have stopped every shard. Raises
    UnreadableDefinitionError when a trigger that stays was registered by a newer release.
    """
    before = history.contents(history.latest)
    plan = Plan(history.latest, Contents({}, {}, dict(before.cancelled_to), {}))
    versions = Versions(history)
    for name in sorted(triggers):
        _plan_trigger(plan, history, versions, before, triggers[name], now_ms)
    for name in sorted(policies):
        _plan_policy(plan, history, versions, before, name, policies[name])
    for kind in sorted(documents):
        for name in sorted(documents[kind]):
            _plan_document(plan, history, versions, before, (kind, name), documents[kind][name])
    _plan_rest(plan, before, prune)
    if cancel_pending:
        plan.contents.cancelled_to.update({row.name: row.before for row in plan.edited})
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


def _registered(history: History, trigger_id: str) -> tuple[TriggerRef, State]:
    ref = history.contents(history.latest).triggers.get(trigger_id)
    if ref is None:
        raise NotRegisteredError(f"no trigger {trigger_id} is registered")
    definition = Versions(history).definition(trigger_id, ref.revision)
    assert definition is not None  # an accepted version names no revision without a body
    return ref, definition.state


def _plan_state(history: History, trigger_id: str, ref: TriggerRef, state: State) -> Plan:
    contents = history.contents(history.latest)
    contents.triggers[trigger_id] = TriggerRef(ref.revision, state)
    change = Change.UNCHANGED if state == ref.state else Change.CHANGED
    row = Row(TRIGGER, trigger_id, change, ref.revision, ref.revision, state)
    return Plan(history.latest, contents, [row])


def _plan_trigger(
    plan: Plan,
    history: History,
    versions: Versions,
    before: Contents,
    wanted: TriggerDefinition,
    now_ms: int,
) -> None:
    ref = before.triggers.get(wanted.id)
    held = None if ref is None else _readable(versions, wanted.id, ref.revision)
    # Definitions are compared, not documents: a release that writes one more field with its old
    # meaning must not make a new revision of every trigger.
    if ref is not None and held == wanted:
        revision, change = ref.revision, Change.UNCHANGED
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
    plan.contents.triggers[wanted.id] = TriggerRef(revision, state)
    previous = 0 if ref is None else ref.revision
    plan.rows.append(Row(TRIGGER, wanted.id, change, revision, previous, state, note))


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
    plan: Plan,
    history: History,
    versions: Versions,
    before: Contents,
    which: DocumentName,
    wanted: Any,
) -> None:
    kind, name = which
    previous = before.documents.get(which, 0)
    if previous and versions.document(kind, name, previous) == wanted:
        revision, change = previous, Change.UNCHANGED
    else:
        revision = history.next_revision(kind, name)
        change = Change.CHANGED if previous else Change.CREATED
        plan.bodies.append((BodyKey(kind, name, revision), DocumentBody(wanted)))
    plan.contents.documents[which] = revision
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
    for which in sorted(before.documents.keys() - plan.contents.documents.keys()):
        revision = before.documents[which]
        if not prune:
            plan.contents.documents[which] = revision
        plan.rows.append(Row(*which, change, revision, revision))


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
    registered = (RegisteredTrigger(made, 1, "live", 0) for made in definitions.values())
    shared = {kind: dict(named) for kind, named in documents.items()}
    for (kind, name), revision in plan.contents.documents.items():
        if name not in shared.setdefault(kind, {}):
            shared[kind][name] = versions.document(kind, name, revision)
    compile_program(plan.base, registered, {**kept_policies, **policies}, shared)


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
