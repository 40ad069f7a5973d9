"""Amounts and times as their reader writes them: the Liquid filters `money`, `date` and `time`.

Who reads is a `Reader`: the language the text is written in, with the region of the user's own
locale where that is of the same language, and the user's time zone. Rules: CLDR, by Babel.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_currency, is_currency
from liquid import Environment, RenderContext, Token
from liquid.builtin.expressions import PositionalArgument, StringLiteral
from liquid.exceptions import FilterArgumentError, LiquidSyntaxError

#: The root under which a rendering finds its reader; no text may name it.
READER: Final = "reader"
STYLES: Final = ("short", "medium", "long", "full")
#: Names of the filters that say something differently to different readers, and of those that need
#: to know where the reader is.
LOCAL: Final = frozenset({"money", "date", "time"})
TIMED: Final = frozenset({"date", "time"})

_OTHER: Final = "en"
#: An amount beyond is no price, and writing it out would take as long as it is large.
_DIGITS_MAX: Final = 15
_MOMENT_CHARS_MAX: Final = 40
#: Of a locale that a client made up no more is looked at, nor kept.
_LOCALE_CHARS_MAX: Final = 35
_SHOWN_CHARS_MAX: Final = 60
#: Seconds since 1970 are less for three thousand years.
_MILLISECONDS_FROM: Final = 100_000_000_000


class Reader(NamedTuple):
    """`locale` as in `context.locale` (`ru-KZ`) or ""; `zone` an IANA name, "" for UTC."""

    locale: str = ""
    zone: str = ""


def reader_of(language: str, locale: object, zone: str) -> Reader:
    """Who reads a text written in `language` ("": nobody says which)."""
    own = locale if isinstance(locale, str) else ""
    if language and _language(own) != _language(language):
        own = language
    return Reader(own, zone)


def _language(locale: str) -> str:
    return locale.replace("_", "-").split("-")[0].lower()


@lru_cache(maxsize=1_024)
def _locale(name: str) -> Locale:
    """Of a locale Babel does not know its language alone, else English."""
    parts = name.replace("-", "_")
    for known in (parts, parts.split("_")[0], _OTHER):
        try:
            return Locale.parse(known)
        except (UnknownLocaleError, ValueError):
            continue
    raise AssertionError("Babel knows English")


class _Filter:
    """A filter that knows its reader. `checked` raises ValueError for an argument that is never
    right; it is asked when a trigger is registered, too."""

    with_context = True

    def __init__(
        self,
        say: Callable[[Any, str, Locale, str], str],
        checked: Callable[[str], str],
        default: str | None,
    ) -> None:
        self._say = say
        self._checked = checked
        self._default = default

    def __call__(self, value: Any, *given: Any, context: RenderContext) -> str:
        """The value as its reader writes it; raises FilterArgumentError."""
        reader: Reader = context.resolve(READER)
        try:
            argument = self._checked(self._argument(given))
            locale = _locale(reader.locale[:_LOCALE_CHARS_MAX])
            return self._say(value, argument, locale, reader.zone)
        except ValueError as error:
            raise FilterArgumentError(str(error), token=None) from None

    def validate(self, _env: Environment, token: Token, name: str, args: Sequence[Any]) -> None:
        """What can be told of the arguments as they are written."""
        try:
            if not all(isinstance(one, PositionalArgument) for one in args):
                raise ValueError("takes no names of arguments")
            values = [one.value for one in args]
            given = self._argument(values)
            if isinstance(given, StringLiteral):
                self._checked(given.value)
        except ValueError as error:
            raise LiquidSyntaxError(f"{name}: {error}", token=token) from None

    def _argument(self, given: Sequence[Any]) -> Any:
        if len(given) > 1 or (not given and self._default is None):
            raise ValueError("takes one argument")
        return given[0] if given else self._default


def _currency(code: object) -> str:
    if not isinstance(code, str) or not is_currency(code):
        raise ValueError(f"{_short(code)} is no currency: three letters such as KZT")
    return code


def _style(style: object) -> str:
    if not isinstance(style, str) or (style not in STYLES and "%" not in style):
        raise ValueError(f"{_short(style)} is none of {', '.join(STYLES)}, nor a format with %")
    return style


def _money(value: object, currency: str, locale: Locale, _zone: str) -> str:
    try:
        # Of a float its shortest decimals: 19.99 is no 19.989999999999998.
        amount = Decimal(str(value)) if isinstance(value, int | float | str) else None
    except InvalidOperation:
        amount = None
    if amount is None or isinstance(value, bool) or not amount.is_finite():
        raise ValueError(f"{_short(value)} is no amount")
    if amount and not -_DIGITS_MAX <= amount.adjusted() < _DIGITS_MAX:
        raise ValueError(f"{_short(value)} has too many digits")
    return format_currency(amount, currency, locale=locale)


def _date(value: object, style: str, locale: Locale, zone: str) -> str:
    moment = _moment(value, zone)
    return moment.strftime(style) if "%" in style else format_date(moment, style, locale=locale)


def _time(value: object, style: str, locale: Locale, zone: str) -> str:
    moment = _moment(value, zone)
    if not isinstance(moment, datetime):
        raise ValueError(f"{_short(value)} is a day, not a time")
    if "%" in style:
        return moment.strftime(style)
    return format_time(moment, style, tzinfo=moment.tzinfo, locale=locale)


def _moment(value: object, zone: str) -> date:
    """Where the reader is; a day without a time is that day everywhere."""
    here = _zone(zone)
    if isinstance(value, str) and len(value) <= _MOMENT_CHARS_MAX:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{_short(value)} is no ISO 8601 time") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(here)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1_000 if abs(value) >= _MILLISECONDS_FROM else value
        return datetime.fromtimestamp(seconds, here)
    raise ValueError(f"{_short(value)} is no time")


def _zone(name: str) -> tzinfo:
    return ZoneInfo(name) if name else UTC


def _short(value: object) -> str:
    return repr(value)[:_SHOWN_CHARS_MAX]


FILTERS: Final = {
    "money": _Filter(_money, _currency, None),
    "date": _Filter(_date, _style, "medium"),
    "time": _Filter(_time, _style, "short"),
}
