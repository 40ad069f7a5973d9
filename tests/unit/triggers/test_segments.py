"""Segments: named audiences, exclusive groups, cycles, and what a workspace may hold of them."""

from typing import Any

import pytest

from tests.unit.triggers.test_audience import identify, opened
from tests.unit.triggers.user import HELLO, User, program_of
from triggers.compile import NotCompilable, RegisteredTrigger, compile_program
from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors, load_documents

LADDER: dict[str, Any] = {
    "loyal": {"did": {"event": "Ordered", "within": "180d", "count": {"gte": 2}}},
    "buyer": {"did": {"event": "Ordered"}},
    "reader": {"not": {"segment": "buyer"}, "did": {"event": "Read"}},
    "groups": {"lifecycle": {"exclusive": ["loyal", "buyer"]}},
}


def member(name: Any, segments: dict[str, Any] | None = None) -> User:
    """A user of a trigger for this segment."""
    files = {"segments": segments or LADDER}
    return User(program_of({**HELLO, "audience": {"segment": name}}, files=files))


def test_a_segment_is_an_audience_by_name() -> None:
    user = member("loyal")
    user.event("0s", "Ordered")
    assert opened(user, "1s") == "AUDIENCE"
    user.event("2s", "Ordered")
    assert opened(user, "3s") == "ADMITTED"


def test_a_list_of_segments_asks_for_any_of_them() -> None:
    user = member(["loyal", "reader"])
    user.event("0s", "Read")
    assert opened(user, "1s") == "ADMITTED"


def test_a_user_belongs_to_the_first_of_an_exclusive_group_that_fits_only() -> None:
    user = member("buyer")
    user.event("0s", "Ordered")
    assert opened(user, "1s") == "ADMITTED"
    user.event("2s", "Ordered")
    assert opened(user, "3s") == "AUDIENCE"


def test_a_group_whose_first_segment_could_not_be_evaluated_gives_nobody_to_the_later() -> None:
    segments = {
        "adult": {"traits.age": {"gte": 18}},
        "all-others": {"traits.plan": "free"},
        "groups": {"ages": {"exclusive": ["adult", "all-others"]}},
    }
    user = member("all-others", segments)
    identify(user, "0s", age="x", plan="free")
    assert opened(user, "1s") == "AUDIENCE"
    identify(user, "2s", age=3)
    assert opened(user, "3s") == "ADMITTED"


def test_a_segment_may_refer_to_segments_and_what_it_needs_is_kept_through_them() -> None:
    user = member("reader")
    assert len(user.program.features) == 3
    user.event("0s", "Read")
    assert opened(user, "1s") == "ADMITTED"
    user.event("2s", "Ordered")
    assert opened(user, "3s") == "AUDIENCE"


def test_a_segment_explains_which_of_those_named_fit() -> None:
    user = member(["loyal", "buyer"])
    user.event("0s", "Ordered")
    audience = user.program.triggers["hello"].audience
    assert audience is not None
    (clause,) = audience.explain(user.state, user.state.due)
    assert (clause.path, clause.operand, clause.value, clause.result) == (
        "segment",
        ["loyal", "buyer"],
        ["buyer"],
        True,
    )


CASES = [
    ("a: {segment: a}", "1:1: the segment 'a' depends on itself: a -> a"),
    ("a: {segment: b}\nb: {not: {segment: a}}", "1:1: the segment 'a' depends on itself: a -> b"),
    (
        "a: {segment: b}\nb: {idle: 1d}\ngroups: {g: {exclusive: [a, b]}}",
        "depends on itself: a -> b -> a",
    ),
    ("a: {segment: loyla}\nloyal: {idle: 1d}", "1:14: unknown segment 'loyla' (did you mean 'l"),
    ("a: {has: {cart: 1}}", "1:11: unknown relation 'cart': there is none in relations.yaml"),
    ("a: {features.x: 1}", "1:5: unknown feature 'x': there is none in segments.yaml"),
    ("snapshots: {vip: {csv: vip.csv}}", "1:1: `snapshots` (sql, csv) are not available in this"),
    ("A: {idle: 1d}", "1:1: 'A' is not a segment's name"),
    ("a: {idle: 1d, idel: 2d}", "1:15: unknown condition 'idel' in an audience"),
    ("a: {idle: 1d}\ngroups: {g: {exclusive: [a, b]}}", "2:29: unknown segment 'b'"),
    ("a: {idle: 1d}\ngroups: {g: {exclusive: [a]}}", "`exclusive`"),
    ("a: {idle: 1d}\ngroups: [a]", "2:9: `groups` is a mapping"),
    ("features: {f: {compute: last, event: x}}", "1:15: `last` needs `of`"),
    ("features: {f: {compute: lst, event: x}}", "1:25: `compute` is one of count, last, distinct"),
    ("features: {f: {compute: count, event: x, of: properties.x}}", "`count` counts events: no"),
    ("features: {f: {compute: last, event: x, of: properties.y.*.z}}", "1:45: `last` is about one"),
    ("[]", "1:1: segments are a mapping"),
    (
        "a: {idle: 1d}\nb: {idle: 1d}\n"
        "groups: {g: {exclusive: [a, b]}, h: {exclusive: [b, a]}}",
        "the segment 'b' is in the group 'g' already",
    ),
    (
        "\n".join([f"s{n}: {{segment: s{n + 1}}}" for n in range(10)] + ["s10: {idle: 1d}"]),
        "1:1: segments refer to segments at most 10 deep",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), CASES)
def test_a_wrong_segments_file_says_file_line_and_column(text: str, said: str) -> None:
    with pytest.raises(DefinitionErrors) as refused:
        load_workspace({"segments.yaml": text})
    assert all(str(error).startswith("segments.yaml:") for error in refused.value.errors)
    assert said in str(refused.value)


def test_segments_that_come_to_too_many_clauses_are_refused() -> None:
    segments: dict[str, Any] = {"s0": {"any": [{"traits.x": n} for n in range(190)]}}
    for number in range(1, 8):
        segments[f"s{number}"] = {"segment": [f"s{n}" for n in range(number)]}
    with pytest.raises(DefinitionErrors, match="more than 2,000 clauses"):
        load_documents([], {}, {"segments": segments})


def test_a_trigger_that_names_an_unknown_segment_is_refused_at_its_place() -> None:
    files = {
        "triggers/a.yaml": "id: a\nwhen: {event: X}\naudience: {segment: loyla}\n",
        "segments.yaml": "loyal: {idle: 1d}",
    }
    with pytest.raises(DefinitionErrors) as refused:
        load_workspace(files)
    assert str(refused.value) == (
        "triggers/a.yaml:3:21: unknown segment 'loyla' (did you mean 'loyal'?)"
    )


def test_segments_stand_in_one_file() -> None:
    files = {"segments.yaml": "a: {idle: 1d}", "segments.json": '{"b": {"idle": "1d"}}'}
    with pytest.raises(DefinitionErrors, match=r"segments stand in segments.json already"):
        load_workspace(files)


def test_a_faulty_segment_does_not_put_the_blame_on_those_who_name_it() -> None:
    files = {
        "triggers/a.yaml": "id: a\nwhen: {event: X}\naudience: {segment: loyal}\n",
        "segments.yaml": "loyal: {idle: 1}",
    }
    with pytest.raises(DefinitionErrors) as refused:
        load_workspace(files)
    assert [error.file for error in refused.value.errors] == ["segments.yaml"]


def test_documents_of_two_folders_that_do_not_fit_are_not_compiled() -> None:
    loaded = load_documents([{**HELLO, "audience": {"segment": "loyal"}}], {}, {"segments": LADDER})
    registered = [RegisteredTrigger(made, 1, "live", 0) for made in loaded.triggers.values()]
    with pytest.raises(NotCompilable, match="trigger 'hello': unknown segment 'loyal'"):
        compile_program(1, registered, loaded.policies, {})
