"""Shared documents in the registry: revisions of their own, kept, pruned, compiled."""

from typing import Any

import pytest

from engine.registry.changes import Change, Plan, plan_apply
from engine.registry.entries import BodyKey, SharedBody
from engine.registry.history import Fate
from engine.registry.versions import UnreadableDefinitionError, Versions
from tests.unit.registry.made import Topic, trigger
from triggers.compile import NotCompilable
from triggers.workspace import load_documents

SEGMENTS: dict[str, Any] = {
    "loyal": {"did": {"event": "Ordered", "count": {"gte": 5}}},
    "dormant": {"idle": "30d"},
    "groups": {"lifecycle": {"exclusive": ["loyal", "dormant"]}},
    "features": {"orders": {"compute": "count", "event": "Ordered"}},
}
RELATIONS: dict[str, Any] = {"cart": {"add": "Added", "item": "properties.sku"}}
ASKING = trigger("asking", audience={"segment": "loyal", "has": {"cart": {"gte": 1}}})


def documents(segments: dict[str, Any] = SEGMENTS) -> dict[str, dict[str, Any]]:
    return load_documents([], {}, {"segments": segments, "relations": RELATIONS}).documents


def plan_of(topic: Topic, held: dict[str, Any], *triggers: Any, prune: bool = False) -> Plan:
    wanted = {made.id: made for made in triggers}
    return plan_apply(topic.history, wanted, {}, held, prune=prune, now_ms=5_000)


def applied() -> Topic:
    topic = Topic()
    assert topic.append_plan(plan_of(topic, documents(), ASKING), "one").fate is Fate.ACCEPTED
    return topic


def rows(plan: Plan) -> dict[tuple[str, str], tuple[Change, int]]:
    return {
        (row.kind, row.name): (row.change, row.revision)
        for row in plan.rows
        if row.kind != "trigger"
    }


def test_every_document_is_created_under_its_kind_and_name() -> None:
    plan = plan_of(Topic(), documents(), ASKING)
    assert rows(plan) == {
        ("feature", "orders"): (Change.CREATED, 1),
        ("group", "lifecycle"): (Change.CREATED, 1),
        ("relation", "cart"): (Change.CREATED, 1),
        ("segment", "dormant"): (Change.CREATED, 1),
        ("segment", "loyal"): (Change.CREATED, 1),
    }
    assert (BodyKey("segment", "dormant", 1), SharedBody({"idle": "30d"})) in plan.bodies


def test_only_the_document_that_changed_gets_a_new_revision() -> None:
    topic = applied()
    assert not plan_of(topic, documents(), ASKING).changes
    plan = plan_of(topic, documents({**SEGMENTS, "dormant": {"idle": "60d"}}), ASKING)
    assert plan.bodies == [(BodyKey("segment", "dormant", 2), SharedBody({"idle": "60d"}))]
    assert rows(plan)["segment", "dormant"] == (Change.CHANGED, 2)
    assert rows(plan)["segment", "loyal"] == (Change.UNCHANGED, 1)


def test_an_apply_from_elsewhere_keeps_documents_and_prune_removes_them() -> None:
    topic = applied()
    kept = plan_of(topic, {}, trigger("other"))
    assert set(rows(kept).values()) == {(Change.KEPT, 1)}
    assert kept.contents.documents == topic.history.contents(topic.history.latest).documents
    pruned = plan_of(topic, {}, trigger("other"), prune=True)
    assert set(rows(pruned).values()) == {(Change.REMOVED, 1)}
    assert pruned.contents.documents == {}


def test_a_version_gives_its_documents_to_the_program() -> None:
    topic = applied()
    versions = Versions(topic.reread())
    number = topic.history.latest
    assert versions.version(number).documents == documents()
    program = versions.program(number)
    assert set(program.relations) == {"cart"}
    assert len(program.features) == 1


def test_a_program_follows_an_edit_of_a_segment_alone() -> None:
    topic = applied()
    before = Versions(topic.history).program(topic.history.latest)
    changed = {**SEGMENTS, "loyal": {"traits.plan": "pro"}}
    topic.append_plan(plan_of(topic, documents(changed), ASKING), "two")
    after = Versions(topic.history).program(topic.history.latest)
    assert (len(before.features), before.traits) == (1, ())
    assert (len(after.features), after.traits) == (0, ("plan",))


def test_an_earlier_version_keeps_the_revisions_it_named() -> None:
    topic = applied()
    first = topic.history.latest
    changed = {**SEGMENTS, "dormant": {"idle": "60d"}}
    topic.append_plan(plan_of(topic, documents(changed), ASKING), "two")
    assert Versions(topic.reread()).version(first).documents == documents()


def test_a_plan_whose_documents_do_not_fit_what_stays_is_refused() -> None:
    topic = applied()
    cycle = {"segment": {"dormant": {"segment": "loyal"}, "loyal": {"segment": "dormant"}}}
    with pytest.raises(NotCompilable, match="depends on itself"):
        plan_of(topic, cycle, trigger("other"))
    with pytest.raises(NotCompilable, match="unknown segment 'loyal'"):
        plan_of(Topic(), {}, ASKING)


def test_a_document_of_a_newer_release_makes_the_version_unreadable() -> None:
    topic = Topic()
    plan = plan_of(topic, documents(), ASKING)
    newer = SharedBody({"weather": "sunny"})
    plan.bodies = [
        (key, newer if (key.kind, key.name) == ("segment", "dormant") else body)
        for key, body in plan.bodies
    ]
    topic.append_plan(plan, "one")
    with pytest.raises(UnreadableDefinitionError, match="not readable by this release"):
        Versions(topic.history).program(topic.history.latest)
