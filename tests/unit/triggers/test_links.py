"""Addresses: what is filled in, and what is added for web analytics."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triggers.definition import TriggerDefinition
from triggers.links import Utm, written_address
from triggers.model import problems_of

DEFAULTS = "utm_source=tripline&utm_medium=push&utm_campaign=cart"


def tagged(link: str, said: str = "", **fields: str) -> str:
    return Utm.model_validate(fields).tagged(link, trigger="cart", said=said)


def test_an_empty_utm_says_source_medium_and_campaign() -> None:
    assert tagged("https://shop.example/cart") == f"https://shop.example/cart?{DEFAULTS}"


def test_the_content_is_the_variant_or_text_that_was_said() -> None:
    assert tagged("https://shop.example", "b") == f"https://shop.example?{DEFAULTS}&utm_content=b"


def test_what_is_written_stands_instead_of_what_is_known() -> None:
    fields = {"source": "app", "medium": "mail", "campaign": "a & b", "content": "c", "term": "t"}
    assert dict(parse_qsl(urlsplit(tagged("app://cart", "b", **fields)).query)) == {
        f"utm_{name}": value for name, value in fields.items()
    }


def test_a_parameter_of_the_link_itself_stays_and_is_not_doubled() -> None:
    link = "https://shop.example/?utm_campaign=spring&utm_source="
    assert tagged(link) == f"{link}&utm_medium=push"


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("https://shop.example/?", f"https://shop.example/?{DEFAULTS}"),
        ("https://shop.example/?a=1&", f"https://shop.example/?a=1&{DEFAULTS}"),
        ("https://shop.example/?a=1#top", f"https://shop.example/?a=1&{DEFAULTS}#top"),
        ("https://shop.example/#/cart?a=1", f"https://shop.example/?{DEFAULTS}#/cart?a=1"),
        ("myapp:///cart", f"myapp:///cart?{DEFAULTS}"),
    ],
)
def test_parameters_stand_at_the_end_of_the_query_before_the_fragment(
    link: str, found: str
) -> None:
    assert tagged(link) == found


@given(st.text(max_size=30), st.text(min_size=1, max_size=9), st.text(max_size=9))
def test_nothing_else_of_a_link_changes_and_twice_is_once(
    link: str, campaign: str, said: str
) -> None:
    once = tagged(link, said, campaign=campaign)
    assert tagged(once, said, campaign=campaign) == once
    head, mark, fragment = link.partition("#")
    assert once.startswith(head)
    assert once.endswith(mark + fragment)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("https://shop.example/p/1?a=b&c=%20#d", "https://shop.example/p/1?a=b&c=%20#d"),
        ("https://shop.example/p/A coat", "https://shop.example/p/A%20coat"),
        (
            "https://shop.example/пальто",
            "https://shop.example/%D0%BF%D0%B0%D0%BB%D1%8C%D1%82%D0%BE",
        ),
        ("\n app://cart \n", "app://cart"),
        ('app://"<>\\^`{|}', "app://%22%3C%3E%5C%5E%60%7B%7C%7D"),
        (" ", None),
    ],
)
def test_what_is_filled_in_is_written_as_an_address_has_it(said: str, address: str | None) -> None:
    assert written_address(said) == address


@given(st.text(st.characters(), max_size=30))
def test_an_address_is_of_characters_that_may_stand_in_one_and_writing_it_again_changes_nothing(
    said: str,
) -> None:
    address = written_address(said)
    if address is not None:
        assert address.isascii()
        assert address.isprintable()
        assert " " not in address
        assert written_address(address) == address


@pytest.mark.parametrize(
    ("changes", "location", "said"),
    [
        ({"link": "app://{{ start"}, ("message", "link"), "not a valid Liquid text"),
        ({"link": "app://{{ user.id }}"}, ("message", "link"), "unknown value 'user'"),
        ({"push": {"image": "{% x %}"}}, ("message", "push", "image"), "not a valid Liquid text"),
    ],
)
def test_an_address_that_cannot_be_filled_in_is_refused_with_its_place(
    changes: dict[str, Any], location: tuple[str, ...], said: str
) -> None:
    push = {"title": "t", "body": "b"} | changes.get("push", {})
    document = {"id": "cart", "when": {"event": "X"}, "message": {**changes, "push": push}}
    with pytest.raises(ValidationError) as refused:
        TriggerDefinition.model_validate(document)
    (problem,) = problems_of(refused.value)
    assert problem.location == location
    assert said in problem.message


def test_an_unknown_parameter_and_an_empty_one_are_refused() -> None:
    for fields in ({"sorce": "x"}, {"source": ""}):
        with pytest.raises(ValidationError):
            Utm.model_validate(fields)
