"""Amounts and times in texts, as their reader writes them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stream.building import Origin, delivery_of
from schemas.topics import Topics
from tests.unit.triggers.user import User, program_of
from triggers.filling import fill_text
from triggers.formats import Reader, reader_of
from triggers.texts import NOBODY, RenderError, TextError, compile_text, declared_paths, tells_time

EVENING = "2026-11-23T20:30:00Z"


def said(use: str, value: Any, reader: Reader = NOBODY, currency: str = "EUR") -> str:
    fields = {"start": {"properties.x": value, "properties.currency": currency}}
    return fill_text(f"{{{{ start.properties.x | {use} }}}}", fields, "cart", (), reader)


@pytest.mark.parametrize(
    ("locale", "value", "currency", "text"),
    [
        ("en-US", 1899.5, "USD", "$1,899.50"),
        ("ru-KZ", 18990, "KZT", "18\xa0990,00\xa0₸"),
        ("de", "19.99", "EUR", "19,99\xa0€"),
        ("ja-JP", 1899, "JPY", "￥1,899"),
        ("", 19.99, "EUR", "€19.99"),
        ("xx-YY", 0, "EUR", "€0.00"),
        ("zh_Hant_TW", -5, "TWD", "-$5.00"),
    ],
)
def test_an_amount_is_written_as_the_reader_writes_it(
    locale: str, value: object, currency: str, text: str
) -> None:
    assert said(f"money: '{currency}'", value, Reader(locale)) == text


def test_the_currency_may_be_a_value_of_the_event() -> None:
    assert said("money: start.properties.currency", 5, currency="GBP") == "£5.00"
    with pytest.raises(RenderError, match="'ABC' is no currency"):
        said("money: start.properties.currency", 5, currency="ABC")


@pytest.mark.parametrize("value", [True, None, "", "soon", "nan", [], {}, 1e300, "1e999999999"])
def test_what_is_no_amount_fails_the_text(value: object) -> None:
    with pytest.raises(RenderError, match=r"is no amount|has too many digits"):
        said("money: 'EUR'", value)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        ("date", "24 нояб. 2026\u202fг."),
        ("date: 'long'", "24 ноября 2026\u202fг."),
        ("date: '%d.%m'", "24.11"),
        ("time", "01:30"),
        ("time: '%H h'", "01 h"),
    ],
)
@pytest.mark.parametrize(
    "value", [EVENING, "2026-11-23T20:30:00", 1_795_465_800, 1_795_465_800_000, 1795465800.5]
)
def test_a_moment_is_told_in_the_readers_language_and_zone(
    use: str, text: str, value: object
) -> None:
    told = said(use, value, Reader("ru-KZ", "Asia/Almaty"))
    assert told.replace("\xa0", "\u202f") == text


def test_a_day_without_a_time_is_that_day_everywhere() -> None:
    assert said("date", "2026-11-23", Reader("en", "Pacific/Kiritimati")) == "Nov 23, 2026"
    with pytest.raises(RenderError, match="a day, not a time"):
        said("time", "2026-11-23")


@pytest.mark.parametrize(
    "value", [True, None, "now", "today", "23.11.2026", [], "x" * 999, 1e40, 67 * 10**18]
)
@pytest.mark.parametrize("use", ["date", "time"])
def test_what_is_no_moment_fails_the_text(use: str, value: object) -> None:
    with pytest.raises(RenderError):
        said(use, value)


@pytest.mark.parametrize(
    ("use", "why"),
    [
        ("money", "money: takes one argument"),
        ("money: 'EUR', 2", "money: takes one argument"),
        ("money: 'euro'", "money: 'euro' is no currency: three letters such as KZT"),
        ("money: currency: 'EUR'", "money: takes no names of arguments"),
        ("date: 'huge'", "date: 'huge' is none of short, medium, long, full"),
        ("upcase | time: 'now'", "time: 'now' is none of"),
    ],
)
@pytest.mark.parametrize(
    "text", ["{{{{ {0} }}}}", "{{% if start.properties.a %}}{{% assign y = {0} %}}{{% endif %}}"]
)
def test_a_wrong_argument_is_found_when_a_trigger_is_registered(
    text: str, use: str, why: str
) -> None:
    with pytest.raises(TextError, match=why):
        compile_text(text.format(f"start.properties.x | {use}"))


@pytest.mark.parametrize(
    ("language", "locale", "reads"),
    [
        ("", "ru-KZ", "ru-KZ"),
        ("", None, ""),
        ("ru", "ru-KZ", "ru-KZ"),
        ("ru_RU", "ru-KZ", "ru-KZ"),
        ("en", "ru-KZ", "en"),
        ("en", None, "en"),
        ("ru", 7, "ru"),
    ],
)
def test_a_reader_has_the_language_of_the_text_and_the_users_region(
    language: str, locale: object, reads: str
) -> None:
    assert reader_of(language, locale, "UTC") == Reader(reads, "UTC")


def test_a_text_that_writes_for_its_reader_keeps_the_locale() -> None:
    money = "{{ start.properties.x | money: 'EUR' }}"
    date = "{{ start.properties.x | date }}"
    assert declared_paths([money])["event"] == ("context.locale",)
    assert declared_paths(["{{ start.properties.x | upcase }}"])["event"] == ()
    assert [tells_time([one]) for one in (money, date, {"en": money, "ru": date})] == [
        False,
        True,
        True,
    ]


@given(
    use=st.sampled_from(["money: 'EUR'", "date", "date: 'full'", "time", "date: '%Y'"]),
    value=st.one_of(
        st.text(max_size=30),
        st.integers(),
        st.floats(),
        st.datetimes().map(lambda moment: moment.isoformat()),
        st.none(),
        st.booleans(),
    ),
    locale=st.text(max_size=12) | st.sampled_from(["ar-EG", "kk", "he_IL", "-", "a" * 300]),
)
def test_any_value_of_any_reader_is_said_or_fails_the_text(
    use: str, value: object, locale: str
) -> None:
    try:
        text = said(use, value, Reader(locale, "Asia/Almaty"))
    except RenderError as error:
        text = str(error)
    assert 0 < len(text) < 300


@pytest.mark.parametrize(("use", "zone"), [("date", "Asia/Almaty"), ("money: 'EUR'", "")])
def test_a_delivery_says_where_its_reader_is_when_a_text_tells_a_time(use: str, zone: str) -> None:
    push = {"title": "Hi", "body": f"{{{{ start.properties.x | {use} }}}}"}
    hello = {"id": "hello", "when": {"event": "hello"}, "state": "live"}
    program = program_of({**hello, "message": {"push": push}}, zone="Asia/Almaty")
    user = User(program)
    user.event("0s", "hello", x=1)
    (admitted,) = user.effects.deliveries
    assert delivery_of(admitted, Origin(0, 1, Topics())).zone == zone
