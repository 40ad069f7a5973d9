"""Texts: what a template may say, what it reads, what happens when a value is missing."""

from typing import Any

import pytest

from triggers.filling import fill_text
from triggers.texts import (
    OUTPUT_BYTES_MAX,
    MessageAborted,
    RenderError,
    TextError,
    compile_text,
    declared_paths,
    pick_text,
    scope_of,
)


def render(source: str, **start: Any) -> str:
    """`start` by dotted path, with `__` for the dots."""
    fields = {f"properties.{name.replace('__', '.')}": value for name, value in start.items()}
    return compile_text(source).render(scope_of({"start": fields}, "cart"))


def test_a_text_reads_the_start_the_event_and_the_id_of_its_trigger() -> None:
    text = compile_text("{{ start.properties.a }} {{ event.context.b }} {{ trigger.id }}")
    scope = scope_of({"start": {"properties.a": 1}, "event": {"context.b": "x"}}, "cart")
    assert text.render(scope) == "1 x cart"
    assert text.paths == (("start", "properties.a"), ("event", "context.b"))


def test_a_missing_value_is_an_error_and_never_an_empty_string() -> None:
    for source in (
        "{{ start.properties.name }}",
        "{{ start.properties.name | upcase }}",
        "{% if start.properties.name %}x{% endif %}",
        "{% for x in start.properties.name %}x{% endfor %}",
        "{{ event.properties.a }}",
    ):
        with pytest.raises(RenderError, match="undefined"):
            render(source)


def test_the_default_filter_says_what_stands_for_a_missing_value() -> None:
    text = compile_text('{{ start.properties.name | default: "it" }} waits')
    assert text.render(scope_of({}, "t")) == "it waits"
    assert text.render(scope_of({"start": {"properties.name": "Kettle"}}, "t")) == "Kettle waits"


def test_what_is_read_of_the_first_item_is_declared_as_of_every_item() -> None:
    for item in ("items.first", "items.last", "items[0]"):
        text = compile_text(f"{{{{ {item}.start.properties.name }}}}")
        assert text.paths == (("start", "properties.name"),)


def test_nested_paths_become_nested_values_again() -> None:
    assert render("{{ start.properties.a.b.c }}", a__b__c=5) == "5"
    assert render("{{ start.properties.a.b }}{{ start.properties.a.c }}", a__b=1, a__c=2) == "12"


@pytest.mark.parametrize("order", [("a", "a__b"), ("a__b", "a")])
def test_a_path_and_one_below_it_do_not_hide_each_other(order: tuple[str, str]) -> None:
    values = {"a": {"b": 1, "c": 2}, "a__b": 1}
    source = "{{ start.properties.a.b }}{{ start.properties.a.c }}"
    assert render(source, **{name: values[name] for name in order}) == "12"


def test_elements_of_lists_are_within_reach() -> None:
    text = compile_text("{{ start.properties.items[1].name }}")
    assert text.paths == (("start", "properties.items"),)
    assert render("{{ start.properties.items[1].name }}", items=[{}, {"name": "Shoe"}]) == "Shoe"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ user.name }}", "unknown value 'user'"),
        ("{{ trigger.name }}", "unknown value 'trigger'"),
        ("{{ now }}", "unknown value 'now'"),
        ("{{ start }}", "needs a path below it"),
        ("{{ start.properties }}", "needs a name below it"),
        ("{{ start.name }}", "did you mean 'properties.name'"),
        ("{{ start.properties[start.properties.a] }}", "needs a name below it"),
        ("{{ start.properties.a", "not a valid Liquid text"),
        ("{% if %}", "not a valid Liquid text"),
        ("{% include 'x' %}", "include"),
        ("{% render 'x' %}", "render"),
        ("{{ start.properties.a | upcaze }}", "unknown filter 'upcaze'"),
    ],
)
def test_what_a_text_may_not_say_is_refused_when_it_is_compiled(
    source: str, complaint: str
) -> None:
    with pytest.raises(TextError, match=complaint):
        compile_text(source)


def test_names_that_the_text_sets_itself_are_its_own() -> None:
    assert render("{% assign n = start.properties.a %}{{ n | plus: 1 }}", a=1) == "2"
    assert render("{% for x in (1..3) %}{{ x }}{% endfor %}") == "123"


@pytest.mark.parametrize("letter", ["a", "ы", "😀"])
def test_output_is_limited_in_bytes(letter: str) -> None:
    fits = OUTPUT_BYTES_MAX // len(letter.encode())
    assert render("{{ start.properties.a }}", a=letter * fits) == letter * fits
    with pytest.raises(RenderError, match="limit"):
        render("{{ start.properties.a }}", a=letter * (fits + 1))


def test_loops_are_limited() -> None:
    with pytest.raises(RenderError, match="limit"):
        render("{% for x in (1..1001) %}{% endfor %}")


def test_a_text_may_abort_its_message() -> None:
    text = "{% if start.properties.left == 0 %}{% abort_message %}{% endif %}{{ trigger.id }}"
    assert render(text, left=1) == "cart"
    with pytest.raises(MessageAborted):
        render(text, left=0)
    assert compile_text(text).paths == (("start", "properties.left"),)
    with pytest.raises(TextError, match="takes no value"):
        compile_text("{% abort_message 'why' %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ start.properties.a | divided_by: 0 }}",
        "{{ start.properties.a | slice: 'x' }}",
        "{{ start.properties.a | ceil: 2 }}",
        "{{ 'x' | split: '' | concat: start.properties.a }}",
    ],
)
def test_a_filter_that_cannot_do_it_is_a_render_error(source: str) -> None:
    with pytest.raises(RenderError):
        render(source, a=5)


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("ru-KZ", "kz"),
        ("ru_KZ", "kz"),
        ("ru-RU", "ru"),
        ("ru", "ru"),
        ("de", "en"),
        ("", "en"),
        (None, "en"),
        (5, "en"),
    ],
)
def test_the_text_of_the_locale_is_chosen_then_of_its_language_then_the_first(
    locale: object, text: str
) -> None:
    assert pick_text({"en": "en", "ru": "ru", "ru-KZ": "kz"}, locale)[0] == text
    assert pick_text("same", locale) == ("same", "")


def test_the_paths_of_all_texts_and_locales_are_declared() -> None:
    texts: list[str | dict[str, str]] = [
        "{{ start.properties.a }}",
        {"en": "{{ event.properties.b }}", "ru": "{{trigger.id}}"},
    ]
    assert declared_paths(texts) == {
        "start": ("properties.a",),
        "event": ("context.locale", "properties.b"),
    }


@pytest.mark.parametrize(
    ("use", "value"),
    [
        ("", 10**5_000),
        ("| times: start.properties.x", 10**4_000),
        ("| ceil", "1e999"),
        ("| sum", [1, "a"]),
        ("| date", 67 * 10**18),
        ("| money: 'EUR'", 10**5_000),
    ],
    ids=["digits", "times", "ceil", "sum", "date", "money"],
)
def test_a_value_that_cannot_be_said_fails_its_text_and_nothing_else(
    use: str, value: object
) -> None:
    with pytest.raises(RenderError):
        fill_text(f"{{{{ start.properties.x {use} }}}}", {"start": {"properties.x": value}}, "cart")
