"""Definitions and topics made for tests of the registry."""

from typing import Any

from engine.registry.changes import Plan
from engine.registry.entries import Manifest, body_key, encode, manifest_key
from engine.registry.history import Fate, History, Read
from triggers.definition import Policy, TriggerDefinition


def trigger(name: str, **fields: Any) -> TriggerDefinition:
    """A live absence; `fields` replace or add to its document."""
    document: dict[str, Any] = {
        "id": name,
        "state": "live",
        "when": {"event": "Product Added"},
        "unless": [{"event": "Order Completed"}],
        "wait": "2h",
        **fields,
    }
    return TriggerDefinition.model_validate(document)


def policy(**fields: Any) -> Policy:
    """A policy; `fields` are its document."""
    return Policy.model_validate(fields)


def manifest_of(plan: Plan) -> Manifest:
    """The manifest that writes a plan down."""
    contents = plan.contents
    return Manifest(
        plan.base,
        "ann",
        1_000,
        "",
        contents.triggers,
        contents.policies,
        contents.cancelled_to,
        contents.documents_by_kind,
    )


class Topic:
    """A registry topic in memory: what was appended can be read from its start any time."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None]] = []
        self.history = History()

    def append(self, key: bytes | None, value: bytes | None) -> Read:
        self.records.append((key, value))
        return self.history.feed(len(self.records) - 1, key, value)

    def append_bodies(self, plan: Plan, apply_id: str) -> None:
        for key, body in plan.bodies:
            assert self.append(body_key(key, apply_id), encode(body)).fate is Fate.BODY

    def append_manifest(self, plan: Plan, apply_id: str) -> Read:
        return self.append(manifest_key(apply_id), encode(manifest_of(plan)))

    def append_plan(self, plan: Plan, apply_id: str) -> Read:
        self.append_bodies(plan, apply_id)
        return self.append_manifest(plan, apply_id)

    def reread(self) -> History:
        """What a process that starts now makes of the topic."""
        history = History()
        for offset, (key, value) in enumerate(self.records):
            history.feed(offset, key, value)
        return history
