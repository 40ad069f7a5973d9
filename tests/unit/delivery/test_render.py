"""What is said."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.delivery.render import Rendered, Renderer, fill
from schemas.deliveries import Delivery, DeviceRef
from triggers.definition import TriggerDefinition
from triggers.texts import RenderError, compile_text, scope_of

NAME = "{{ start.properties.name }}"


def delivery(**changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery_id": "d" * 32,
        "user": "ann",
        "trigger": "cart",
        "revision": 1,
        "activation": "a",
        "shard": 0,
        "registry": 1,
        "decided_at_ms": 1,
        "expires_at_ms": 2,
        "appended_at_ms": 0,
        "marketing": True,
        "devices": [DeviceRef("t", "android")],
    }
    return Delivery(**(fields | changes))


def renderer(**message: Any) -> Renderer:
    push = {"title": {"en": "Hello", "ru": "Привет"}, "body": f"{NAME} waits"} | message
    definition = TriggerDefinition.model_validate(
        {"id": "cart", "when": {"event": "X"}, "message": {"link": "app://cart", "push": push}}
    )
    return Renderer(lambda trigger, revision: definition if revision == 1 else None)


def rendered(**changes: Any) -> Rendered:
    values = {"start": {"properties.name": "A coat"}, "event": {"context.locale": "ru-KZ"}}
    return renderer().render(delivery(**({"fields": values} | changes)))


def test_texts_are_filled_in_the_users_language() -> None:
    message = rendered()
    assert (message.title, message.body, message.link) == ("Привет", "A coat waits", "app://cart")


def test_a_language_that_is_not_written_gets_the_first_one() -> None:
    values = {"start": {"properties.name": "A coat"}, "event": {"context.locale": "fr"}}
    assert rendered(fields=values).title == "Hello"


def test_a_missing_value_is_an_error_not_an_empty_text() -> None:
    with pytest.raises(RenderError):
        rendered(fields={})


def test_a_revision_that_is_not_registered_is_an_error() -> None:
    with pytest.raises(RenderError, match="revision 2"):
        rendered(revision=2)


def test_marketing_collapses_by_trigger_and_transactional_replaces_only_itself() -> None:
    assert rendered().collapse_key == "cart"
    assert rendered(marketing=False).collapse_key == "d" * 32


def test_only_the_low_lane_is_not_urgent() -> None:
    lanes = ("critical", "high", "normal", "low")
    assert [rendered(lane=lane).urgent for lane in lanes] == [True, True, True, False]


def test_a_push_carries_the_device_the_expiry_and_the_trigger() -> None:
    push = rendered().to("d" * 32, "token", 99)
    assert (push.delivery_id, push.token, push.expires_at_ms) == ("d" * 32, "token", 99)
    assert push.data == {"trigger": "cart"}


SOURCES = (
    "",
    "plain",
    f"{NAME}",
    f"a {NAME} b {{{{start.properties.size}}}}, {{{{ event.properties.first }}}}!",
    f"{{{{- start.properties.name -}}}} {NAME}",
    "{{ start.properties.name | upcase }}",
    "{% if start.properties.name %}x{% endif %}{{ start.properties.name }}",
    "{{ start.properties['name'] }} }} { {",
    "{{ trigger.id }} {{ start.properties.name }}",
    "{{ start.properties.a.last }} {{ start.properties.a.b }}",
)


@given(
    source=st.sampled_from(SOURCES),
    values=st.dictionaries(
        st.sampled_from(
            [f"properties.{n}" for n in ("name", "size", "first", "last", "a.last", "a.b")]
        ),
        st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.none(), st.floats()),
    ),
)
@example(source=NAME, values={"properties.name": "a\r\nb\rc"})
def test_filling_in_directly_gives_what_liquid_gives(
    source: str, values: dict[str, object]
) -> None:
    sent = delivery(fields={"start": values, "event": values})
    expected = _outcome(lambda: compile_text(source).render(scope_of(sent.fields, sent.trigger)))
    assert _outcome(lambda: fill(source, sent)) == expected


def test_a_long_text_meets_liquids_limit() -> None:
    sent = delivery(fields={"start": {"properties.name": "x" * 5_000}})
    with pytest.raises(RenderError):
        fill(NAME, sent)


def _outcome(render: Any) -> str | None:
    try:
        return str(render())
    except RenderError:
        return None


VARIED: dict[str, Any] = {
    "id": "cart",
    "when": {"event": "X"},
    "message": {"link": "app://cart", "push": {"title": "Hello", "body": "b"}},
    "experiment": {
        "control": "10%",
        "variants": {
            "a": "30%",
            "linked": {"weight": "30%", "set": {"link": "app://other"}},
            "said": {"weight": "30%", "set": {"message": {"push": {"title": "Hey", "body": "c"}}}},
        },
    },
}


@pytest.mark.parametrize(
    ("variant", "title", "link"),
    [
        ("", "Hello", "app://cart"),
        ("control", "Hello", "app://cart"),
        ("a", "Hello", "app://cart"),
        ("linked", "Hello", "app://other"),
        ("said", "Hey", "app://cart"),
        ("gone", "Hello", "app://cart"),
    ],
)
def test_a_variant_says_what_it_sets_and_otherwise_what_the_trigger_says(
    variant: str, title: str, link: str
) -> None:
    definition = TriggerDefinition.model_validate(VARIED)
    message = Renderer(lambda trigger, revision: definition).render(delivery(variant=variant))
    assert (message.title, message.link) == (title, link)


def test_a_link_of_a_variant_is_that_of_every_message_of_a_series() -> None:
    series = {
        "id": "cart",
        "when": {"event": "X"},
        "series": [{"after": "1h", "message": "m1"}],
        "messages": {"m1": VARIED["message"]},
        "experiment": {"variants": {"a": {"weight": "100%", "set": {"link": "app://a"}}}},
    }
    definition = TriggerDefinition.model_validate(series)
    found = Renderer(lambda trigger, revision: definition)
    assert found.render(delivery(text="m1", variant="a")).link == "app://a"


PRODUCT = "https://shop.example/p/{{ start.properties.id }}"


def addressed(values: dict[str, Any], message: dict[str, Any], **fields: Any) -> Rendered:
    definition = TriggerDefinition.model_validate(
        {
            "id": "cart",
            "when": {"event": "X"},
            "message": {"push": {"title": "t", "body": "b"} | message.pop("push", {}), **message},
            **fields,
        }
    )
    given = delivery(fields={"start": values, "event": {}}, variant="a")
    return Renderer(lambda trigger, revision: definition).render(given)


def test_a_link_and_a_picture_are_filled_in_like_texts() -> None:
    found = addressed({"properties.id": "A 1"}, {"link": PRODUCT, "push": {"image": PRODUCT}})
    assert found.link == "https://shop.example/p/A%201"
    assert found.data == {"trigger": "cart", "image": "https://shop.example/p/A%201"}


def test_a_link_that_says_nothing_is_left_out_and_one_without_its_value_is_an_error() -> None:
    own = '{{ start.properties.link | default: "" }}'
    found = addressed({}, {"link": own, "push": {"image": own}}, utm={})
    assert (found.link, found.data) == (None, {"trigger": "cart"})
    with pytest.raises(RenderError):
        addressed({}, {"link": PRODUCT})


def test_a_link_that_is_the_same_for_everybody_stays_as_it_is_written() -> None:
    assert addressed({}, {"link": "https://shop.example/пальто?q=a b"}).link == (
        "https://shop.example/пальто?q=a b"
    )


def test_a_link_says_where_it_comes_from_when_the_trigger_has_utm() -> None:
    found = addressed({"properties.id": "1"}, {"link": f"{PRODUCT}?q=1#top"}, utm={"source": "x"})
    assert found.link == (
        "https://shop.example/p/1?q=1&utm_source=x&utm_medium=push&utm_campaign=cart&utm_content=a#top"
    )
