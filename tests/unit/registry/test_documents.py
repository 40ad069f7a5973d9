"""What triggers share, places say, is registered with them and keeps its revisions."""

from typing import Any

from engine.registry.changes import Change, Plan, plan_apply
from engine.registry.versions import Versions
from tests.unit.registry.made import Topic
from triggers.definition import TriggerDefinition

NEAR = TriggerDefinition.model_validate(
    {"id": "near", "state": "live", "when": {"place": "stores", "radius_km": 2}}
)
ABAY: dict[str, Any] = {"id": "abay", "lat": 43.24, "lon": 76.9}
DOSTYK: dict[str, Any] = {"id": "dostyk", "lat": 43.3, "lon": 76.95}


def plan_of(topic: Topic, *places: dict[str, Any], prune: bool = False, near: bool = True) -> Plan:
    documents = {"place": {"stores": list(places)}} if places else {}
    wanted = {"near": NEAR} if near else {}
    return plan_apply(topic.history, wanted, {}, documents, prune=prune, now_ms=5_000)


def changes_of(plan: Plan) -> list[tuple[str, str, Change, int]]:
    return [(row.kind, row.name, row.change, row.revision) for row in plan.rows]


def test_places_are_registered_and_read_back() -> None:
    topic = Topic()
    number = topic.append_plan(plan_of(topic, ABAY), "one").number
    for history in (topic.history, topic.reread()):
        versions = Versions(history)
        assert versions.version(number).documents == {"place": {"stores": [ABAY]}}
        assert "near" in versions.program(number).triggers


def test_only_a_change_makes_a_new_revision_and_old_versions_keep_theirs() -> None:
    topic = Topic()
    first = topic.append_plan(plan_of(topic, ABAY), "one").number
    same = plan_of(topic, ABAY)
    assert not same.changes
    changed = plan_of(topic, ABAY, DOSTYK)
    assert ("place", "stores", Change.CHANGED, 2) in changes_of(changed)
    second = topic.append_plan(changed, "two").number
    versions = Versions(topic.reread())
    assert versions.version(first).documents == {"place": {"stores": [ABAY]}}
    assert versions.version(second).documents == {"place": {"stores": [ABAY, DOSTYK]}}


def test_places_that_are_not_in_the_folder_stay_unless_pruned() -> None:
    topic = Topic()
    topic.append_plan(plan_of(topic, ABAY), "one")
    kept = plan_of(topic, near=False)
    assert ("place", "stores", Change.KEPT, 1) in changes_of(kept)
    assert kept.contents.documents == {("place", "stores"): 1}
    pruned = plan_of(topic, near=False, prune=True)
    assert ("place", "stores", Change.REMOVED, 1) in changes_of(pruned)
    assert pruned.contents.documents == {}
