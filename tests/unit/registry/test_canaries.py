"""Canaries in the registry: how they begin, grow, end, and what a version with one compiles to."""

import pytest

from engine.registry.changes import (
    Change,
    NotRegisteredError,
    Plan,
    WrongStateError,
    plan_abort,
    plan_apply,
    plan_pause,
    plan_promote,
)
from engine.registry.entries import TriggerRef
from engine.registry.versions import Versions
from tests.unit.registry.made import Topic, trigger
from triggers.definition import TriggerDefinition
from triggers.program import canary_bucket


def plan_of(topic: Topic, *triggers: TriggerDefinition, share: int = 0) -> Plan:
    wanted = {made.id: made for made in triggers}
    return plan_apply(topic.history, wanted, {}, prune=False, now_ms=5_000, canary_share=share)


def with_canary() -> Topic:
    topic = Topic()
    topic.append_plan(plan_of(topic, trigger("a"), trigger("b")), "first")
    topic.append_plan(plan_of(topic, trigger("a", wait="3h"), trigger("b"), share=500), "second")
    return topic


def ref_of(topic: Topic) -> TriggerRef:
    return topic.history.contents(topic.history.latest).triggers["a"]


def test_a_canary_stands_beside_the_revision_and_only_what_changed_has_one() -> None:
    topic = with_canary()
    assert ref_of(topic) == TriggerRef(1, "live", 2, 500)
    assert topic.history.contents(topic.history.latest).triggers["b"] == TriggerRef(1, "live")
    assert topic.reread().contents(topic.history.latest).triggers["a"].canary == 2


def test_a_version_with_a_canary_compiles_to_both_revisions() -> None:
    topic = with_canary()
    program = Versions(topic.history).program(topic.history.latest)
    names = [f"user-{number}" for number in range(200)]
    inside = next(name for name in names if canary_bucket(name) < 500)
    outside = next(name for name in names if canary_bucket(name) >= 500)
    assert program.for_user(inside).triggers["a"].revision == 2
    assert program.for_user(outside).triggers["a"].revision == 1


def test_a_new_trigger_has_no_canary() -> None:
    topic = with_canary()
    topic.append_plan(plan_of(topic, trigger("c"), share=500), "third")
    assert topic.history.contents(topic.history.latest).triggers["c"] == TriggerRef(1, "live")


def test_a_draft_has_no_canary_and_is_refused_one_that_it_would_start_with() -> None:
    topic = Topic()
    topic.append_plan(plan_of(topic, trigger("a", state="draft")), "first")
    edited = plan_of(topic, trigger("a", state="draft", wait="3h"), share=500)
    assert edited.contents.triggers["a"] == TriggerRef(2, "draft")
    with pytest.raises(WrongStateError, match="a is a draft, and so would be its canary"):
        plan_of(topic, trigger("a", state="live"), share=500)


def test_a_canary_whose_file_says_another_state_says_which_both_are_in() -> None:
    topic = Topic()
    topic.append_plan(plan_of(topic, trigger("a", state="shadow")), "first")
    canary = plan_of(topic, trigger("a"), share=500)
    assert canary.contents.triggers["a"] == TriggerRef(1, "shadow", 2, 500)
    assert canary.rows[0].note.endswith("; both are shadow, its file says live")


def test_the_folder_of_a_canary_again_changes_nothing_and_another_share_changes_the_share() -> None:
    topic = with_canary()
    again = plan_of(topic, trigger("a", wait="3h"), trigger("b"))
    assert not again.changes
    assert again.rows[0].note == "canary for 5%, the others keep revision 1"
    grown = plan_of(topic, trigger("a", wait="3h"), share=2_000)
    assert grown.changes
    assert grown.bodies == []
    assert grown.contents.triggers["a"] == TriggerRef(1, "live", 2, 2_000)


def test_another_edit_replaces_the_canary_or_ends_it() -> None:
    topic = with_canary()
    replaced = plan_of(topic, trigger("a", wait="5h"), share=500)
    assert replaced.contents.triggers["a"] == TriggerRef(1, "live", 3, 500)
    whole = plan_of(topic, trigger("a", wait="5h"))
    assert whole.contents.triggers["a"] == TriggerRef(3, "live")
    back = plan_of(topic, trigger("a"))
    assert (back.contents.triggers["a"], back.rows[0].change) == (
        TriggerRef(1, "live"),
        Change.CHANGED,
    )
    assert back.rows[0].note == "its canary, revision 2, ends"


def test_promoting_gives_the_canary_to_everyone_and_aborting_to_nobody() -> None:
    topic = with_canary()
    promoted, aborted = (plan(topic.history, "a") for plan in (plan_promote, plan_abort))
    assert promoted.contents.triggers["a"] == TriggerRef(2, "live")
    assert aborted.contents.triggers["a"] == TriggerRef(1, "live")
    assert promoted.changes
    assert aborted.changes
    topic.append_plan(promoted, "third")
    program = Versions(topic.history).program(topic.history.latest)
    assert program.triggers["a"].revision == 2
    assert program.canaries == ()


def test_pausing_pauses_both_sides_and_keeps_the_canary() -> None:
    topic = with_canary()
    topic.append_plan(plan_pause(topic.history, "a"), "third")
    assert ref_of(topic) == TriggerRef(1, "paused", 2, 500)
    program = Versions(topic.history).program(topic.history.latest)
    sides = [program, *(canary for _, canary in program.canaries)]
    assert {side.triggers["a"].state for side in sides} == {"paused"}


def test_without_a_canary_there_is_nothing_to_promote_or_abort() -> None:
    topic = with_canary()
    for plan in (plan_promote, plan_abort):
        with pytest.raises(WrongStateError, match="has no canary"):
            plan(topic.history, "b")
        with pytest.raises(NotRegisteredError):
            plan(topic.history, "nobody")


def cancelling(topic: Topic, *triggers: TriggerDefinition, prune: bool = False) -> Plan:
    wanted = {made.id: made for made in triggers}
    return plan_apply(topic.history, wanted, {}, prune=prune, now_ms=5_000, cancel_pending=True)


def test_cancelling_what_is_pending_ends_what_a_canary_armed_too() -> None:
    topic = with_canary()
    edited = cancelling(topic, trigger("a", wait="5h"), trigger("b"))
    assert edited.contents.cancelled_to == {"a": 2}
    assert edited.contents.triggers["a"] == TriggerRef(3, "live")
    removed = cancelling(topic, trigger("b"), prune=True)
    assert removed.contents.cancelled_to == {"a": 2}
    topic.append_plan(plan_abort(topic.history, "a"), "third")
    later = cancelling(topic, trigger("a", wait="5h"), trigger("b"))
    assert later.contents.cancelled_to == {"a": 2}


def test_going_back_from_a_canary_cancels_what_it_armed_and_nothing_that_comes() -> None:
    topic = with_canary()
    back = cancelling(topic, trigger("a"), trigger("b"))
    [row] = back.edited
    assert back.contents.cancelled_to == {"a": 2}
    assert row.revision == back.contents.triggers["a"].revision == 3


def test_cancelling_leaves_what_a_canary_armed_that_goes_on() -> None:
    topic = with_canary()
    again = cancelling(topic, trigger("a", wait="3h"), trigger("b"))
    assert again.contents.cancelled_to == {}
    assert again.contents.triggers["a"] == TriggerRef(1, "live", 2, 500)
