import pytest

from engine.registry.changes import plan_apply, plan_pause
from engine.registry.entries import TriggerBody
from engine.registry.versions import (
    VERSIONS_KEPT_MAX,
    UnknownVersionError,
    UnreadableDefinitionError,
    Versions,
)
from tests.unit.registry.made import Topic, policy, trigger
from triggers.definition import TriggerDefinition


def put(topic: Topic, apply_id: str, *triggers: TriggerDefinition) -> int:
    wanted = {made.id: made for made in triggers}
    limits = {"default": policy(spacing="2h")}
    plan = plan_apply(topic.history, wanted, limits, prune=False, now_ms=7_000)
    return topic.append_plan(plan, apply_id).number


def test_version_zero_is_empty() -> None:
    versions = Versions(Topic().history)
    assert versions.version(0).triggers == {}
    assert versions.program(0).triggers == {}


def test_a_version_holds_definitions_as_they_were_written() -> None:
    topic = Topic()
    wanted = trigger("a", message={"push": {"title": "Still thinking?", "body": "It waits"}})
    number = put(topic, "one", wanted)
    version = Versions(topic.history).version(number)
    held = version.triggers["a"]
    assert held.definition == wanted
    assert (held.revision, held.state, held.registered_at_ms) == (1, "live", 7_000)
    assert version.policies == {"default": policy(spacing="2h")}


def test_the_state_of_the_manifest_overrides_the_documents() -> None:
    topic = Topic()
    put(topic, "one", trigger("a"))
    number = topic.append_plan(plan_pause(topic.history, "a"), "pause").number
    versions = Versions(topic.history)
    assert versions.version(number).triggers["a"].state == "paused"
    assert versions.version(number).triggers["a"].definition.state == "live"
    assert versions.program(number).triggers["a"].state == "paused"


def test_a_program_knows_its_number_and_leaves_drafts_out() -> None:
    topic = Topic()
    number = put(topic, "one", trigger("a"), trigger("b", state="draft"))
    versions = Versions(topic.history)
    program = versions.program(number)
    assert program.number == number
    assert set(program.triggers) == {"a"}
    assert set(versions.version(number).triggers) == {"a", "b"}


def test_a_version_is_compiled_once_and_the_last_few_are_kept() -> None:
    topic = Topic()
    numbers = [
        put(topic, f"apply{priority}", trigger("a", priority=priority))
        for priority in range(VERSIONS_KEPT_MAX + 1)
    ]
    versions = Versions(topic.history)
    first = versions.program(numbers[0])
    assert versions.program(numbers[0]) is first
    for number in numbers[1:]:
        versions.program(number)
    again = versions.program(numbers[0])
    assert again is not first
    assert again.triggers["a"].priority == 0


def test_a_version_is_the_same_whichever_was_read_before_it() -> None:
    topic = Topic()
    numbers = [put(topic, "one", trigger("a"), trigger("b"))]
    numbers.append(topic.append_plan(plan_pause(topic.history, "a"), "two").number)
    numbers.append(put(topic, "three", trigger("b", priority=1)))
    pruned = plan_apply(topic.history, {"c": trigger("c")}, {}, prune=True, now_ms=8_000)
    numbers.append(topic.append_plan(pruned, "four").number)
    alone = {number: Versions(topic.history).version(number) for number in numbers}
    for order in (numbers, numbers[::-1]):
        versions = Versions(topic.history)
        assert {number: versions.version(number) for number in order} == alone
    assert [(alone[number].triggers["a"].state) for number in numbers[:2]] == ["live", "paused"]


def test_every_revision_stays_readable() -> None:
    topic = Topic()
    for priority in range(3):
        put(topic, f"apply{priority}", trigger("a", priority=priority))
    versions = Versions(topic.history)
    found = [versions.definition("a", revision) for revision in (1, 2, 3)]
    assert [item.priority for item in found if item is not None] == [0, 1, 2]
    assert versions.definition("a", 4) is None
    assert versions.definition("b", 1) is None


def test_a_number_that_is_no_version_is_unknown() -> None:
    topic = Topic()
    number = put(topic, "one", trigger("a"))
    with pytest.raises(UnknownVersionError):
        Versions(topic.history).version(number + 1)


def test_a_definition_of_a_newer_release_is_refused_by_name() -> None:
    topic = Topic()
    plan = plan_apply(topic.history, {"a": trigger("a")}, {}, prune=False, now_ms=1)
    document = {**trigger("a").to_document(), "from_the_future": True}
    plan.bodies[0] = (plan.bodies[0][0], TriggerBody(document, 1))
    number = topic.append_plan(plan, "newer").number
    versions = Versions(topic.history)
    with pytest.raises(UnreadableDefinitionError, match=r"trigger a revision 1.*from_the_future"):
        versions.version(number)
