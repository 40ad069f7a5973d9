"""The workspaces of the benches: twelve triggers on disk, the rest made here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from engine.registry.folder import load_folder
from tests.bench.policy_parts import PARTS, Change, bare, changed
from tests.bench.stream import OTHER_CATEGORIES, WEIGHTS
from triggers.definition import Policy, TriggerDefinition

FOLDER = Path(__file__).with_name("workspace")
#: With so short a silence every event of a user moves their last activity and is written.
IDLE_OF_EVERY_EVENT = "10m"
TEN = 10


class Definitions(NamedTuple):
    """What is applied."""

    triggers: dict[str, TriggerDefinition]
    policies: dict[str, Policy]


def twelve() -> Definitions:
    """The workspace beside this file: about 0.3 states are written per event."""
    folder = load_folder(FOLDER)
    return Definitions(folder.triggers, folder.policies)


def twelve_writing_all() -> Definitions:
    """The same, but nearly every event writes the state of its user."""
    triggers, policies = twelve()
    document = triggers["win-back"].to_document()
    document["when"] = {"idle": IDLE_OF_EVERY_EVENT}
    changed = TriggerDefinition.model_validate(document)
    return Definitions({**triggers, changed.id: changed}, policies)


def twelve_with(parts: Iterable[Change]) -> Definitions:
    """The same triggers with these parts of the policy and no other."""
    return Definitions(*changed(*twelve(), [bare, *parts]))


def twelve_full() -> Definitions:
    """The same triggers with every part of the policy."""
    return twelve_with(PARTS.values())


def save(definitions: Definitions, folder: Path) -> None:
    """As a workspace on disk."""
    (folder / "triggers").mkdir(parents=True)
    for name, trigger in definitions.triggers.items():
        (folder / "triggers" / f"{name}.json").write_bytes(orjson.dumps(trigger.to_document()))
    policies = {name: policy.to_document() for name, policy in definitions.policies.items()}
    (folder / "policy.json").write_bytes(orjson.dumps(policies))


def many(count: int) -> Definitions:
    """`count` triggers over the 28 event names, each with one discriminating equality.

    The first ten are those of the ten commonest names with the category that is often there; the
    stream is made so that the others match little. What is compared is the cost of having
    triggers, not of sending messages.
    """
    names = list(WEIGHTS)
    wanted = [(name, 0) for name in names[:TEN]]
    wanted += [(name, number) for number in range(1, OTHER_CATEGORIES + 1) for name in names]
    triggers = {}
    for event, category in wanted[:count]:
        definition = TriggerDefinition.model_validate(_document(event, category))
        triggers[definition.id] = definition
    if len(triggers) != count:
        raise ValueError(f"the event names allow {len(wanted)} triggers, not {count}")
    return Definitions(triggers, twelve().policies)


def _document(event: str, category: int) -> dict[str, Any]:
    return {
        "id": f"{event.lower().replace(' ', '-')}-c{category}",
        "state": "live",
        "category": "news",
        "when": {"event": event, "where": {"properties.category": f"c{category}"}},
        "message": {"push": {"title": "For you", "body": "Category of the day"}},
    }
