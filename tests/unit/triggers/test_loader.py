"""Workspaces: from texts with positions, from documents without; never anything but the errors."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.triggers.documents import ABSENCE, FULL, IDLE, IMMEDIATE, POLICY
from triggers.definition import Policy
from triggers.loader import load_workspace
from triggers.source import FILE_BYTES_MAX
from triggers.workspace import (
    TRIGGERS_MAX,
    DefinitionError,
    DefinitionErrors,
    Workspace,
    load_documents,
)

CART = """\
id: abandoned-cart
state: live
when: {event: Product Added, where: {properties.price: {gte: 20}}}
unless:
  - event: Order Completed
  - {event: Product Removed, where: {properties.id: $start.properties.id}}
wait: 2h
policy: gentle
message:
  push:
    title: {en: Still thinking?, ru: "Ещё думаете?"}
    body: "{{ start.properties.name }} is waiting"
"""
POLICIES = """\
default: {spacing: 2h}
gentle:
  spacing: 1d
  caps:
    - {max: 3, per: 7d}
"""


def errors_of(files: dict[str, str], **options: Any) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace(files, **options)
    assert str(caught.value).split("\n") == [str(error) for error in caught.value.errors]
    return [str(error) for error in caught.value.errors]


def test_a_workspace_holds_its_triggers_and_policies() -> None:
    files = {
        "triggers/cart.yaml": CART,
        "triggers/two.yaml": "id: one\nwhen: {event: A}\n---\nid: two\nwhen: {idle: 7d}\n",
        "triggers/full.json": json.dumps({**FULL, "id": "full"}, indent="\t"),
        "policy.yaml": POLICIES,
    }
    workspace = load_workspace(files)
    assert set(workspace.triggers) == {"abandoned-cart", "one", "two", "full"}
    assert workspace.policies["gentle"].spacing_ms == 86_400_000
    assert set(workspace.policies) == {"default", "gentle"}


def test_the_default_policy_is_always_present() -> None:
    assert load_workspace({}) == Workspace({}, {"default": Policy()})
    assert set(load_workspace({"policy.yaml": "gentle: {spacing: 1d}"}).policies) == {
        "default",
        "gentle",
    }


def test_yaml_json_and_documents_of_the_same_workspace_are_equal() -> None:
    from_yaml = load_workspace({"triggers/cart.yaml": CART, "policy.yaml": POLICIES})
    triggers = [trigger.to_document() for trigger in from_yaml.triggers.values()]
    policies = {name: policy.to_document() for name, policy in from_yaml.policies.items()}
    stored = json.loads(json.dumps([triggers, policies]))
    assert load_documents(*stored) == from_yaml
    as_json = {"triggers/c.json": json.dumps(triggers[0]), "policy.json": json.dumps(policies)}
    assert load_workspace(as_json) == from_yaml


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("wait: 2h", "witout: 2h", "7:1: unknown field 'witout' (did you mean 'wait'?)"),
        ("state: live", "state: lve", "2:8: `state` is one of draft, shadow, live, paused, "),
        ("state: live", "pace: 5/s", "2:1: `pace` is not available in this version"),
        ("state: live", "id: other", "2:1: 'id' stands here twice"),
        ("state: live", "name:", "2:1: `name` is empty: leave it out"),
        ("id: abandoned-cart\n", "", "1:1: `id` is missing"),
        ("gte", "gtee", "3:57: unknown operator 'gtee' (did you mean 'gte'?)"),
        ("gte: 20", "gte: [20]", "3:62: `gte` takes a number or a text"),
        ("properties.price", "propertis.price", "3:38: unknown path 'propertis.price' (did you"),
        ("event: Product Added", "sequence: []", "3:18: `sequence` has at least 2 entries"),
        ("$start.properties.id", "$strt.properties.id", "6:53: unknown reference '$strt' (did "),
        ("$start.properties.id", "$start", "6:53: a reference names a path"),
        ("wait: 2h", "wait: 2 hours", "7:7: '2 hours' is not a duration"),
        ("wait: 2h\n", "", "4:1: `unless` needs `wait`"),
        ("gentle", "gentel", "8:9: unknown policy 'gentel' (did you mean 'gentle'?)"),
        ("ru:", "RU:", "11:34: 'RU' is not a locale"),
        ("    body:", "    bdy:", "12:5: unknown field 'bdy' (did you mean 'body'?)"),
        ("wait: 2h", "wait: *two", "7:7: anchors (&) and aliases (*)"),
        ("wait: 2h", "wait: 2h: 3", "7:9: not valid YAML: mapping values are not allowed here"),
    ],
)
def test_an_error_stands_at_its_line_and_column(old: str, new: str, expected: str) -> None:
    assert CART.count(old) == 1
    errors = errors_of({"triggers/cart.yaml": CART.replace(old, new), "policy.yaml": POLICIES})
    assert any(error.startswith(f"triggers/cart.yaml:{expected}") for error in errors), errors


def test_a_single_unless_is_located_without_its_list() -> None:
    text = "id: a\nwhen: {event: A}\nunless: {event: B, wher: {}}\nwait: 1h\n"
    assert errors_of({"triggers/a.yaml": text}) == [
        "triggers/a.yaml:3:20: unknown field 'wher' (did you mean 'where'?)"
    ]


def test_all_errors_of_all_files_come_sorted_by_place() -> None:
    files = {
        "triggers/b.yaml": "id: B\nwhen: {event: A}\nlane: hi\n",
        "triggers/a.yaml": "id: a\nwhen: {event: A\n",
        "triggers/c.yml": "",
        "triggers/deep/d.yaml": "",
        "policy.yaml": "default: {spacing: 2x,\n  quiet: [a, b]}\nNot An Id: {}\n",
        "segments.yaml": "a: {idle: 1}",
        "polcy.yaml": "",
    }
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace(files)
    errors = caught.value.errors
    assert errors == sorted(errors)
    assert [(e.file, e.line, e.column, e.message.split(" (")[0][:30]) for e in errors] == [
        ("polcy.yaml", 1, 1, "unknown file 'polcy.yaml'"),
        ("policy.yaml", 1, 20, "'2x' is not a duration: write "),
        ("policy.yaml", 2, 11, "'a' is not a time of the day, "),
        ("policy.yaml", 2, 11, "'b' is not a time of the day, "),
        ("policy.yaml", 3, 1, "'Not An Id' is not an id: lowe"),
        ("segments.yaml", 1, 11, "`idle` is a duration, such as "),
        ("triggers/a.yaml", 3, 1, "not valid YAML: expected ',' o"),
        ("triggers/b.yaml", 1, 5, "'B' is not an id: lower-case l"),
        ("triggers/b.yaml", 3, 7, "`lane` is one of critical, hig"),
        ("triggers/c.yml", 1, 1, "a file name ends in .yaml"),
        ("triggers/deep/d.yaml", 1, 1, "a trigger stands in triggers/<"),
    ]


def test_an_id_is_taken_only_once() -> None:
    files = {
        "triggers/a.yaml": "# first\nid: one\nwhen: {event: A}\n",
        "triggers/b.yaml": "when: {event: A}\nid: one\n",
    }
    assert errors_of(files) == [
        "triggers/b.yaml:2:5: the id 'one' is taken by triggers/a.yaml:2"
    ]  # fmt: skip


def test_an_unreadable_policy_file_does_not_blame_the_triggers_that_name_it() -> None:
    (error,) = errors_of({"triggers/cart.yaml": CART, "policy.yaml": "gentle: ["})
    assert error.startswith("policy.yaml:1:10: not valid YAML")
    (error,) = errors_of({"triggers/cart.yaml": CART, "policy.yaml": "gentle: {spacing: 1}"})
    assert error.startswith("policy.yaml:1:19: a duration is text")


def test_policies_stand_in_one_document_of_one_file() -> None:
    assert errors_of({"policy.yaml": "a: {}\n---\nb: {}\n"}) == [
        "policy.yaml:3:1: policies are one document"
    ]
    assert errors_of({"policy.yaml": "a: {}", "policy.json": "{}"}) == [
        "policy.yaml:1:1: policies stand in policy.json already"
    ]
    assert errors_of({"policy.yaml": "[a]"}) == [
        "policy.yaml:1:1: policies are a mapping from names to policies"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_an_error(text: str) -> None:
    assert errors_of({"triggers/a.yaml": text}) == ["triggers/a.yaml:1:1: the file is empty"]


def test_a_file_that_is_too_big_is_refused() -> None:
    (error,) = errors_of({"triggers/a.yaml": "#" * (FILE_BYTES_MAX + 1)})
    assert "at most 262144 bytes" in error


def test_time_zones_are_checked_against_the_ones_given() -> None:
    files = {"policy.yaml": "default: {zone: Asia/Almty}"}
    load_workspace(files)
    assert errors_of(files, zones={"Asia/Almaty", "UTC"}) == [
        "policy.yaml:1:17: 'Asia/Almty' is not an IANA time zone, such as Asia/Almaty "
        "(did you mean 'Asia/Almaty'?)"
    ]


def test_documents_are_refused_with_the_trigger_and_the_path() -> None:
    triggers = [
        {**ABSENCE, "unless": {"event": "A", "where": {"properties.x": {"gtt": 1}}}},
        {"when": {"event": "A"}},
        7,
        IMMEDIATE,
        IMMEDIATE,
        {**IDLE, "policy": "gentel"},
    ]
    with pytest.raises(DefinitionErrors) as caught:
        load_documents(triggers, {"gentle": POLICY, "x": {"spacing": 1}})
    assert [(error.file, error.message.split(":")[0]) for error in caught.value.errors] == [
        ("policies", "x.spacing"),
        ("trigger 'cart'", "unless.0.where.properties.x.gtt"),
        ("trigger 'silent'", "policy"),
        ("trigger 'welcome'", "id"),
        ("trigger 2", "id"),
        ("trigger 3", "must be a mapping of fields such as `id`, `name`, `owner`, `state`"),
    ]
    assert str(caught.value.errors[2]) == (
        "trigger 'silent': policy: unknown policy 'gentel' (did you mean 'gentle'?)"
    )


def test_a_workspace_has_a_bounded_number_of_triggers() -> None:
    many = [{**IMMEDIATE, "id": f"t{number}"} for number in range(TRIGGERS_MAX + 1)]
    with pytest.raises(DefinitionErrors, match="at most 10000 triggers"):
        load_documents(many)
    assert len(load_documents(many[:-1]).triggers) == TRIGGERS_MAX


def test_an_error_reads_as_compilers_write_theirs() -> None:
    error = DefinitionError("file.yaml", 12, 5, "unknown field 'witout' (did you mean 'without'?)")
    assert str(error) == "file.yaml:12:5: unknown field 'witout' (did you mean 'without'?)"


# --- nothing but DefinitionErrors, whatever the texts hold ---


def load_or_errors(files: dict[str, str]) -> None:
    """Load; every error must point into its file."""
    try:
        load_workspace(files)
    except DefinitionErrors as refused:
        for error in refused.errors:
            lines = files[error.file].splitlines() or [""]
            assert 1 <= error.line <= len(lines) + 1, error
            assert error.column >= 1, error
            assert error.message, error


FILES = ("triggers/a.yaml", "triggers/a.json", "policy.yaml", "policy.json")


@settings(max_examples=150)
@given(st.sampled_from(FILES), st.text(max_size=200))
def test_any_text_is_loaded_or_refused_with_positions(file: str, text: str) -> None:
    load_or_errors({file: text})


YAML_BITS = st.sampled_from(
    ["a", ":", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "'", '"', "|", ">", "&a ", "*a",
     "!!x ", "# ", "? ", "%", "---\n", "\t", "\\x", "1", ".nan", "id", "when: ", "event: ", "~",
     "\u2028", "\ufeff", "\x85", "\\ud800", "<<: ", "@", "`", "...\n", "\r"]
)  # fmt: skip


@settings(max_examples=250)
@given(st.sampled_from(FILES), st.lists(YAML_BITS, max_size=40).map("".join))
def test_any_mixture_of_syntax_is_loaded_or_refused_with_positions(file: str, text: str) -> None:
    load_or_errors({file: text})


TEXTS = {
    "triggers/a.yaml": CART.replace("policy: gentle\n", ""),
    "triggers/a.json": json.dumps(FULL, indent=1, ensure_ascii=False),
    "policy.yaml": POLICIES,
    "policy.json": json.dumps({"default": POLICY}),
}


@settings(max_examples=250)
@given(st.sampled_from(FILES), st.data())
def test_any_damage_to_a_valid_file_is_loaded_or_refused_with_positions(
    file: str, data: st.DataObject
) -> None:
    text = TEXTS[file]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        middle = data.draw(st.one_of(st.just(""), st.text(max_size=5), YAML_BITS))
        text = text[:start] + middle + text[start + length :]
    load_or_errors({file: text})


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["2h", "live", "$start.properties.x", "$start", "properties.*", "event"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["event", "where", "all", "not", "properties.x", "in", "user", "en"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=400)
@given(st.sampled_from([FULL, IDLE]), st.data())
def test_any_value_in_any_field_is_loaded_or_refused(
    document: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([*FULL, "audience", "when.where", "unless.where"]))
    value = data.draw(JSON_VALUES)
    if name == "when.where":
        changed = {**document, "when": {"event": "A", "where": value}}
    elif name == "unless.where":
        changed = {**document, "unless": {"event": "A", "where": value}}
    else:
        changed = {**document, name: value}
    try:
        workspace = load_documents([changed], {"default": value})
    except DefinitionErrors:
        return
    for trigger in workspace.triggers.values():
        assert load_documents([trigger.to_document()]).triggers[trigger.id] == trigger


NEWS = "id: news\nstate: live\ncategory: news\nwhen: {event: A}\n"


def test_a_category_that_needs_an_agreement_and_that_no_trigger_has_is_an_error() -> None:
    policy = "default:\n  opt_in:\n    categories: [news, newz]\n"
    assert errors_of({"triggers/news.yaml": NEWS, "policy.yaml": policy}) == [
        "policy.yaml:3:24: no trigger has the category 'newz' (did you mean 'news'?)"
    ]
    known = policy.replace(", newz", "")
    assert load_workspace({"triggers/news.yaml": NEWS, "policy.yaml": known}).policies


def test_an_unreadable_trigger_does_not_make_its_category_unknown() -> None:
    policy = "default: {opt_in: {categories: [news]}}\n"
    broken = NEWS.replace("when:", "wen:")
    errors = errors_of({"triggers/news.yaml": broken, "policy.yaml": policy})
    assert errors
    assert all(error.startswith("triggers/news.yaml") for error in errors)


def hints_of(files: dict[str, str]) -> list[str]:
    return [str(hint) for hint in load_workspace(files).hints]


def test_a_live_trigger_without_a_message_is_a_hint_and_a_draft_is_none() -> None:
    text = "id: a\nstate: live\nwhen: {event: Product Added}\n"
    assert hints_of({"triggers/a.yaml": text}) == [
        "triggers/a.yaml:2:8: it is live and has no message: whatever it admits ends TEMPLATE_ERROR"
    ]
    assert hints_of({"triggers/a.yaml": text.replace("live", "draft")}) == []
    assert hints_of({"triggers/a.yaml": text + "message: {push: {title: t, body: b}}\n"}) == []


def test_a_cap_of_a_category_that_no_trigger_has_is_a_hint() -> None:
    trigger = "id: a\ncategory: news\nwhen: {event: Product Added}\n"
    policy = "default:\n  caps: [{max: 3, per: 7d, category: CATEGORY}, {max: 9, per: 7d}]\n"

    def found(category: str) -> list[str]:
        files = {"triggers/a.yaml": trigger, "policy.yaml": policy.replace("CATEGORY", category)}
        return hints_of(files)

    assert found("news") == []
    assert found("newz") == [
        "policy.yaml:2:38: no trigger has the category 'newz', so this cap limits nothing "
        "(did you mean 'news'?)"
    ]
