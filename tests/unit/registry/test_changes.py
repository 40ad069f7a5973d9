from typing import Any

import pytest

from engine.registry import changes
from engine.registry.changes import (
    Change,
    NotRegisteredError,
    Plan,
    WrongStateError,
    plan_apply,
    plan_pause,
    plan_resume,
)
from engine.registry.entries import POLICY, TRIGGER, BodyKey, PolicyBody, TriggerBody, TriggerRef
from engine.registry.versions import UnreadableDefinitionError, Versions
from tests.unit.registry.made import Topic, policy, trigger
from triggers.definition import Policy, TriggerDefinition


def plan_of(
    topic: Topic,
    *triggers: TriggerDefinition,
    prune: bool = False,
    policies: dict[str, Policy] | None = None,
) -> Plan:
    wanted = {made.id: made for made in triggers}
    return plan_apply(topic.history, wanted, policies or {}, prune=prune, now_ms=5_000)


def registered(*triggers: TriggerDefinition, policies: dict[str, Policy] | None = None) -> Topic:
    topic = Topic()
    topic.append_plan(plan_of(topic, *triggers, policies=policies), "first")
    return topic


def test_new_definitions_are_created_with_revision_one() -> None:
    plan = plan_of(Topic(), trigger("a"), policies={"default": policy(spacing="2h")})
    assert [(row.kind, row.name, row.change) for row in plan.rows] == [
        (TRIGGER, "a", Change.CREATED),
        (POLICY, "default", Change.CREATED),
    ]
    assert plan.bodies == [
        (BodyKey(TRIGGER, "a", 1), TriggerBody(trigger("a").to_document(), 5_000)),
        (BodyKey(POLICY, "default", 1), PolicyBody(policy(spacing="2h").to_document())),
    ]


def test_the_same_definitions_again_change_nothing() -> None:
    limits = {"default": policy(spacing="2h")}
    topic = registered(trigger("a"), trigger("b"), policies=limits)
    plan = plan_of(topic, trigger("a"), trigger("b"), policies=limits)
    assert not plan.changes
    assert plan.bodies == []
    assert plan.contents == topic.history.contents(topic.history.latest)


def test_only_what_changed_gets_a_new_revision() -> None:
    topic = registered(trigger("a"), trigger("b"), policies={"default": policy()})
    plan = plan_of(
        topic, trigger("a", wait="3h"), trigger("b"), policies={"default": policy(spacing="1h")}
    )
    changed = {row.name: (row.change, row.revision, row.before) for row in plan.rows}
    assert changed == {
        "a": (Change.CHANGED, 2, 1),
        "b": (Change.UNCHANGED, 1, 1),
        "default": (Change.CHANGED, 2, 1),
    }
    assert [key for key, _ in plan.bodies] == [
        BodyKey(TRIGGER, "a", 2),
        BodyKey(POLICY, "default", 2),
    ]


def test_what_the_folder_lacks_is_kept_without_prune_and_removed_with_it() -> None:
    topic = registered(trigger("a"), trigger("b"), policies={"strict": policy()})
    kept = plan_of(topic, trigger("a"))
    assert [(row.name, row.change) for row in kept.rows[1:]] == [
        ("b", Change.KEPT),
        ("strict", Change.KEPT),
    ]
    assert not kept.changes
    assert set(kept.contents.triggers) == {"a", "b"}
    pruned = plan_of(topic, trigger("a"), prune=True)
    assert [(row.name, row.change) for row in pruned.rows[1:]] == [
        ("b", Change.REMOVED),
        ("strict", Change.REMOVED),
    ]
    assert pruned.changes
    assert set(pruned.contents.triggers) == {"a"}
    assert pruned.contents.policies == {}


def test_pause_changes_the_state_and_no_revision() -> None:
    topic = registered(trigger("a"), trigger("b"))
    plan = plan_pause(topic.history, "a")
    assert plan.bodies == []
    assert plan.contents.triggers == {"a": TriggerRef(1, "paused"), "b": TriggerRef(1, "live")}


@pytest.mark.parametrize(
    ("own", "resumed"), [("live", "live"), ("shadow", "shadow"), ("paused", "live")]
)
def test_resume_goes_back_to_the_state_of_the_file(own: str, resumed: str) -> None:
    topic = registered(trigger("a", state=own))
    topic.append_plan(plan_pause(topic.history, "a"), "pause")
    assert plan_resume(topic.history, "a").contents.triggers["a"] == TriggerRef(1, resumed)  # type: ignore[arg-type]


def test_pausing_and_resuming_twice_changes_nothing_the_second_time() -> None:
    topic = registered(trigger("a"))
    assert not plan_resume(topic.history, "a").changes
    topic.append_plan(plan_pause(topic.history, "a"), "pause")
    assert not plan_pause(topic.history, "a").changes


@pytest.mark.parametrize("plan", [plan_pause, plan_resume])
def test_a_draft_can_be_neither_paused_nor_resumed(plan: Any) -> None:
    topic = registered(trigger("a", state="draft"))
    with pytest.raises(WrongStateError):
        plan(topic.history, "a")
    with pytest.raises(NotRegisteredError):
        plan(topic.history, "b")


def test_an_edit_does_not_start_a_trigger_that_was_paused_by_hand() -> None:
    topic = registered(trigger("a"))
    topic.append_plan(plan_pause(topic.history, "a"), "pause")
    for wanted in (trigger("a"), trigger("a", wait="3h")):
        plan = plan_of(topic, wanted)
        assert plan.contents.triggers["a"].state == "paused"
        assert plan.rows[0].note == "its file says live"


def test_a_changed_state_in_the_file_wins_over_a_pause_by_hand() -> None:
    topic = registered(trigger("a"))
    topic.append_plan(plan_pause(topic.history, "a"), "pause")
    plan = plan_of(topic, trigger("a", state="shadow"))
    assert plan.contents.triggers["a"] == TriggerRef(2, "shadow")
    assert plan.rows[0].note == ""


def test_a_version_that_does_not_compile_is_never_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, registered: Any, *_: Any) -> None:
        assert [(item.definition.id, item.state) for item in registered] == [("a", "live")]
        raise ValueError("does not compile")

    monkeypatch.setattr(changes, "compile_program", refuse)
    with pytest.raises(ValueError, match="does not compile"):
        plan_of(Topic(), trigger("a", state="draft"))


def test_a_release_that_cannot_read_a_kept_trigger_does_not_write() -> None:
    topic = Topic()
    plan = plan_of(topic, trigger("a"))
    plan.bodies[0] = (plan.bodies[0][0], TriggerBody({"id": "a", "when": {"new": 1}}, 1))
    topic.append_plan(plan, "newer")
    with pytest.raises(UnreadableDefinitionError, match="trigger a revision 1"):
        plan_of(topic, trigger("b"))
    replaced = plan_of(topic, trigger("a"))
    assert (replaced.rows[0].change, replaced.rows[0].revision) == (Change.CHANGED, 2)


def test_pending_instances_of_changed_and_removed_triggers_are_cancelled_when_told() -> None:
    topic = registered(trigger("a"), trigger("b"), trigger("c"))
    wanted = {"a": trigger("a"), "b": trigger("b", priority=9)}
    keep = plan_apply(topic.history, wanted, {}, prune=True, now_ms=1)
    assert [row.name for row in keep.edited] == ["b", "c"]
    assert keep.contents.cancelled_to == {}
    cancel = plan_apply(topic.history, wanted, {}, prune=True, now_ms=1, cancel_pending=True)
    assert cancel.contents.cancelled_to == {"b": 1, "c": 1}
    topic.append_plan(cancel, "second")
    history = topic.reread()
    assert history.contents(history.latest).cancelled_to == {"b": 1, "c": 1}
    assert Versions(history).program(history.latest).cancelled_to == {"b": 1, "c": 1}
    later = plan_of(topic, trigger("a"), trigger("b", priority=10))
    assert later.contents.cancelled_to == {"b": 1, "c": 1}


def test_what_was_cancelled_is_known_of_every_version() -> None:
    topic = registered(trigger("a"))
    first = topic.history.latest
    wanted = {"a": trigger("a", priority=9)}
    topic.append_plan(
        plan_apply(topic.history, wanted, {}, prune=False, now_ms=1, cancel_pending=True), "second"
    )
    second = topic.history.latest
    topic.append_plan(plan_pause(topic.history, "a"), "third")
    contents = [topic.history.contents(n) for n in (first, second, topic.history.latest)]
    assert [found.cancelled_to for found in contents] == [{}, {"a": 1}, {"a": 1}]
