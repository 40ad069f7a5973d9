import pytest

from engine.registry.changes import Plan, plan_apply
from engine.registry.entries import (
    TRIGGER,
    BodyKey,
    Manifest,
    TriggerRef,
    decode_trigger,
    encode,
    manifest_key,
)
from engine.registry.history import UNFINISHED_MAX, Contents, Fate, History
from tests.unit.registry.made import Topic, manifest_of, policy, trigger
from triggers.definition import TriggerDefinition


def plan_of(history: History, *triggers: TriggerDefinition) -> Plan:
    wanted = {made.id: made for made in triggers}
    return plan_apply(history, wanted, {"default": policy()}, prune=False, now_ms=5_000)


def test_the_number_of_a_version_is_its_manifests_offset_plus_one() -> None:
    topic = Topic()
    read = topic.append_plan(plan_of(topic.history, trigger("a"), trigger("b")), "one")
    assert (read.fate, read.number) == (Fate.ACCEPTED, 4)  # three bodies before it
    assert topic.history.latest == 4
    assert topic.history.contents(4).triggers == {
        "a": TriggerRef(1, "live"),
        "b": TriggerRef(1, "live"),
    }
    assert topic.history.about(4).by == "ann"


def test_a_manifest_made_from_a_version_that_is_not_the_latest_is_void() -> None:
    topic = Topic()
    mine = plan_of(topic.history, trigger("a", priority=1))
    theirs = plan_of(topic.history, trigger("a", priority=2))
    topic.append_bodies(mine, "mine")
    topic.append_bodies(theirs, "theirs")
    won = topic.append_manifest(theirs, "theirs")
    lost = topic.append_manifest(mine, "mine")
    assert (won.fate, lost.fate) == (Fate.ACCEPTED, Fate.VOID)
    assert "the latest was" in lost.why
    body = topic.history.body(BodyKey(TRIGGER, "a", 1))
    assert body is not None
    assert decode_trigger(body).document["priority"] == 2
    assert topic.history.void == 1


def test_the_loser_may_plan_again_and_then_wins() -> None:
    topic = Topic()
    lost = plan_of(topic.history, trigger("a", priority=1))
    topic.append_plan(plan_of(topic.history, trigger("a", priority=2)), "theirs")
    topic.append_plan(lost, "mine")
    again = plan_of(topic.history, trigger("a", priority=1))
    assert topic.append_plan(again, "again").fate is Fate.ACCEPTED
    assert topic.history.contents(topic.history.latest).triggers["a"].revision == 2


def test_bodies_without_a_manifest_do_not_count_as_a_revision() -> None:
    topic = Topic()
    plan = plan_of(topic.history, trigger("a"))
    topic.append_bodies(plan, "died")
    assert topic.history.latest == 0
    assert topic.history.body(BodyKey(TRIGGER, "a", 1)) is None
    assert topic.history.next_revision(TRIGGER, "a") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"manifest/one", None),
        (b"manifest/one", b"{"),
        (b"manifest/one", b'{"base": "x"}'),
        (b"trigger/a/1/one", b'{"document": 7, "registered_at_ms": 1}'),
        (b"trigger/a/one/one", b'{"document": {}, "registered_at_ms": 1}'),
        (b"policy/a/1", b'{"document": {}}'),
        (b"\xff", b"{}"),
        (b"", b""),
    ],
)
def test_a_malformed_entry_is_counted_and_changes_nothing(
    key: bytes | None, value: bytes | None
) -> None:
    topic = Topic()
    topic.append_plan(plan_of(topic.history, trigger("a")), "one")
    latest = topic.history.latest
    read = topic.append(key, value)
    assert read.fate is Fate.MALFORMED
    assert read.why
    assert topic.history.malformed == 1
    assert topic.history.latest == latest
    assert topic.append_plan(plan_of(topic.history, trigger("b")), "two").fate is Fate.ACCEPTED


def test_a_manifest_that_names_a_revision_without_a_body_is_void() -> None:
    topic = Topic()
    manifest = Manifest(0, "ann", 1, "", {"a": TriggerRef(1, "live")}, {})
    read = topic.append(manifest_key("one"), encode(manifest))
    assert (read.fate, topic.history.latest) == (Fate.VOID, 0)
    assert "no body" in read.why


def test_a_manifest_with_an_unknown_state_is_malformed() -> None:
    topic = Topic()
    value = encode(manifest_of(Plan(0, Contents({"a": TriggerRef(1, "live")}, {}, {}, {}))))
    read = topic.append(manifest_key("one"), value.replace(b'"live"', b'"sleepy"'))
    assert read.fate is Fate.MALFORMED


def test_every_version_can_be_read_back_long_after_it_was_replaced() -> None:
    topic = Topic()
    expected: dict[int, Contents] = {}
    for priority in range(20):
        wanted = [trigger(f"t{priority % 7}", priority=priority)]
        plan = plan_of(topic.history, *wanted)
        if priority % 5 == 4:
            plan.contents.triggers.pop("t1", None)
        number = topic.append_plan(plan, f"apply{priority}").number
        expected[number] = plan.contents
    history = topic.reread()
    assert {number: history.contents(number) for number in expected} == expected
    assert history.contents(0) == Contents.empty()
    with pytest.raises(KeyError):
        history.contents(max(expected) + 1)


def test_a_revision_number_is_not_used_again_after_a_removal() -> None:
    topic = Topic()
    topic.append_plan(plan_of(topic.history, trigger("a")), "one")
    pruned = plan_apply(topic.history, {}, {}, prune=True, now_ms=1)
    topic.append_plan(pruned, "two")
    back = plan_of(topic.history, trigger("a"))
    assert back.contents.triggers["a"].revision == 2
    assert topic.append_plan(back, "three").fate is Fate.ACCEPTED


def test_who_reads_later_accepts_the_same_manifests() -> None:
    topic = Topic()
    stale = plan_of(topic.history, trigger("a"))
    for number in range(UNFINISHED_MAX + 3):
        topic.append_bodies(stale, f"unfinished{number}")
    topic.append_plan(plan_of(topic.history, trigger("b")), "one")
    topic.append_plan(stale, "late")
    topic.append(b"junk", b"junk")
    topic.append_manifest(stale, "unfinished1")
    later = topic.reread()
    assert later.latest == topic.history.latest
    assert (later.void, later.malformed) == (topic.history.void, topic.history.malformed) == (2, 1)


def test_bodies_of_applies_that_never_end_are_bounded() -> None:
    topic = Topic()
    plan = plan_of(topic.history, trigger("a"))
    topic.append_bodies(plan, "first")
    for number in range(UNFINISHED_MAX):
        topic.append_bodies(plan, f"next{number}")
    assert "no body" in topic.append_manifest(plan, "first").why
    assert topic.append_manifest(plan, "next1").fate is Fate.ACCEPTED


def test_an_offset_that_was_read_is_refused() -> None:
    history = History()
    history.feed(3, b"junk", b"junk")
    with pytest.raises(ValueError, match="offset 3 again"):
        history.feed(3, b"junk", b"junk")
