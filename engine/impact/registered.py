"""What is registered, and what would be after an apply, as definitions to compare."""

from engine.backtest.session import Definitions
from engine.registry.folder import Folder
from engine.registry.versions import RegistryVersion
from triggers.definition import TriggerDefinition
from triggers.overrides import override_policies


def in_force(version: RegistryVersion | None) -> Definitions:
    """The triggers in the states they have now: one stopped by hand is paused."""
    if version is None:
        return Definitions({}, override_policies({}, []))
    triggers = {
        name: _in_state(held.definition, held.state) for name, held in version.triggers.items()
    }
    return Definitions(triggers, override_policies(version.policies, []), version.documents)


def after_apply(version: RegistryVersion | None, wanted: Folder, *, prune: bool) -> Definitions:
    """The definitions after `tripline apply`: what the folder lacks stays unless `prune`, and what
    was stopped by hand stays stopped until its file says another state."""
    if version is None:
        return Definitions(
            wanted.triggers, override_policies(wanted.policies, []), wanted.documents
        )
    triggers = {} if prune else dict(in_force(version).triggers)
    for name, definition in wanted.triggers.items():
        held = version.triggers.get(name)
        if held is not None and held.definition.state == definition.state:
            triggers[name] = _in_state(definition, held.state)
        else:
            triggers[name] = definition
    kept = {} if prune else version.policies
    documents = {kind: dict(found) for kind, found in wanted.documents.items()}
    if not prune:
        for kind, found in version.documents.items():
            documents[kind] = {**found, **documents.get(kind, {})}
    return Definitions(triggers, override_policies({**kept, **wanted.policies}, []), documents)


def _in_state(definition: TriggerDefinition, state: str) -> TriggerDefinition:
    return (
        definition if definition.state == state else definition.model_copy(update={"state": state})
    )
