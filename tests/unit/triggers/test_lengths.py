"""Texts held against the `text` limits of their policy."""

from typing import Any

import pytest

from triggers.lengths import graphemes, least_length
from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors, load_documents

LONG = "b" * 4_000 + "{{ trigger.id }}"
POLICY = "default: {text: {title_max: 10, body_max: 20}}\nwide: {text: {title_max: 50}}\n"


def hints(push: str, *more: str) -> list[str]:
    lines = ["id: hello", "when: {event: Opened}", *more, "message:", f"  push: {push}"]
    files = {"triggers/hello.yaml": "\n".join(lines) + "\n", "policy.yaml": POLICY}
    return [str(hint) for hint in load_workspace(files).hints]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("abc", 3),
        ("a\r\nb", 3),
        ("Ещё", 3),
        ("cafe\u0301", 4),
        ("\U0001f1f0\U0001f1ff", 1),  # a flag
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", 1),  # a family
        ("\U0001f44d\U0001f3fd!", 2),  # a thumb with its skin, and a mark
    ],
)
def test_what_a_reader_takes_for_one_character_counts_once(text: str, count: int) -> None:
    assert graphemes(text) == count


@pytest.mark.parametrize(
    ("source", "least"),
    [
        ("Still thinking?", (15, True)),
        ("a{% comment %}not said{% endcomment %}b", (2, True)),
        ("Hello {{ start.properties.name }}!", (7, False)),
        ("{% if start.properties.a %}perhaps{% endif %} so", (3, False)),
        ("{{ start.properties.name -}}   !", (1, False)),
    ],
)
def test_a_template_is_as_long_as_what_it_says_whatever_is_filled_in(
    source: str, least: Any
) -> None:
    assert least_length(source) == least


def test_a_written_text_over_its_limit_is_warned_of_where_it_stands() -> None:
    assert hints("{title: Still thinking, body: ok}") == [
        "triggers/hello.yaml:4:17: this title is 14 characters long: its policy wants 10 at most "
        "(`text.title_max`)"
    ]


def test_a_text_of_just_the_limit_is_not_warned_of() -> None:
    assert hints("{title: ten signs., body: twenty signs no more}") == []


def test_each_locale_is_warned_of_by_itself() -> None:
    found = hints("{title: {en: Short, ru: Ещё подумаете}, body: {en: twenty-one signs here.}}")
    assert [hint.split(" ")[0] for hint in found] == [
        "triggers/hello.yaml:4:33:",
        "triggers/hello.yaml:4:60:",
    ]
    assert "this title is 13 characters long" in found[0]


def test_with_a_placeholder_only_what_is_said_in_any_case_counts() -> None:
    assert hints("{title: 'Hello {{ start.properties.name }}', body: ok}") == []
    (found,) = hints("{title: 'Hello there, {{ start.properties.name }}', body: ok}")
    assert found.endswith(
        "this title is at least 13 characters long, before its values are filled in: its policy "
        "wants 10 at most (`text.title_max`)"
    )


def test_the_limits_are_those_of_the_policy_the_trigger_names() -> None:
    assert hints("{title: Still thinking, body: ok}", "policy: wide") == []


def test_the_text_of_a_variant_and_of_a_series_are_warned_of_too() -> None:
    variant = "{weight: 50%, set: {message: {push: {title: Still thinking, body: ok}}}}"
    experiment = f"experiment: {{variants: {{a: 50%, b: {variant}}}, until: 28d}}"
    (found,) = hints("{title: ok, body: ok}", experiment)
    assert found.startswith("triggers/hello.yaml:3:")
    text = (
        "id: s\nwhen: {event: Opened}\nseries: [{after: 1d, message: m1}]\n"
        "messages:\n  m1: {push: {title: Still thinking, body: ok}}\n"
    )
    (hint,) = load_workspace({"triggers/s.yaml": text, "policy.yaml": POLICY}).hints
    assert str(hint).startswith("triggers/s.yaml:5:22: this title is 14")


@pytest.mark.parametrize(
    ("message", "least"),
    [
        ({"push": {"title": "t" * 100, "body": "b" * 3_997}}, 4_097),
        ({"push": {"title": "t", "body": "ы" * 2_040}, "link": "app://cart/0123456"}, 4_099),
        (
            {"push": {"title": "t", "body": "b" * 4_000 + "{{ trigger.id }}", "image": "i" * 96}},
            4_097,
        ),
    ],
)
def test_a_message_that_no_provider_takes_is_refused(message: dict[str, Any], least: int) -> None:
    assert refused(message) == [
        f"trigger 'hello': message: this message has at least {least} bytes: "
        "providers take 4096, title, body, link and picture together"
    ]


def test_a_locale_that_is_too_large_by_itself_is_refused_and_one_of_just_the_limit_is_not() -> None:
    body = {"en": "b" * 4_095, "ru": "ы" * 2_040}
    assert refused({"push": {"title": {"en": "t", "ru": "ы" * 9}, "body": body}}) == [
        "trigger 'hello': message: this message has at least 4098 bytes in ru: "
        "providers take 4096, title, body, link and picture together"
    ]
    assert refused({"push": {"title": "t", "body": body}}) == []


def refused(message: dict[str, Any]) -> list[str]:
    document = {"id": "hello", "when": {"event": "Opened"}, "message": message}
    try:
        load_documents([document])
    except DefinitionErrors as errors:
        return [str(error) for error in errors.errors]
    return []
