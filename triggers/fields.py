"""The types of definition fields: each checks its own value and says what is wrong with it."""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
)

from triggers.durations import DURATION_PATTERN, format_duration, parse_duration
from triggers.filters import BOTH, START, TEXT_CHARS_MAX, parse_where
from triggers.model import refusal, unknown
from triggers.paths import check_path
from triggers.problems import Location, Problem, suggestion
from triggers.texts import TextError, compile_text

TEXT_BYTES_MAX = 4096
LOCALES_MAX = 50
EVENTS_MAX = 100
#: No two points of the Earth are farther apart than about this.
RADIUS_KM_MAX = 20_000
WEIGHT_MAX = 1_000_000
_NUMBER_MAX = 1e300

ID_PATTERN = "[a-z0-9][a-z0-9-]{0,63}"
_ID = re.compile(ID_PATTERN)
CATEGORY_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_SHARE = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?%")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_SIGNAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:-]{0,127}")
_PERCENT = re.compile(r"[0-9]{1,2}(\.[0-9]{1,4})?%")
_RELEASE = re.compile(r"([1-9][0-9]{0,4}) per unit")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")


def _duration(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("a duration is text with a unit, such as 90s, 2h or 7d")
    return parse_duration(value)


def _at_least(minimum_ms: int) -> AfterValidator:
    def check(duration_ms: int) -> int:
        if duration_ms < minimum_ms:
            raise ValueError(f"this duration is at least {format_duration(minimum_ms)}")
        return duration_ms

    return AfterValidator(check)


def _at_most(maximum_ms: int) -> AfterValidator:
    def check(duration_ms: int) -> int:
        if duration_ms > maximum_ms:
            raise ValueError(f"this duration is at most {format_duration(maximum_ms)}")
        return duration_ms

    return AfterValidator(check)


#: Milliseconds; a duration text in the document.
DurationMs = Annotated[
    int,
    BeforeValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": DURATION_PATTERN,
            "patternErrorMessage": "a duration has units, the longest first: 90s, 2h, 1h30m, 7d",
            "examples": ["30m", "2h", "1h30m", "7d"],
        }
    ),
]


def share_of(value: Any) -> int:
    """Hundredths of a percent of a text such as `0.5%`; raises ValueError."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a share is text in percent with two decimals at most, such as 5% or 0.5%")
    share = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if share > 10_000:
        raise ValueError("a share is at most 100%")
    return share


def share_text(share: int) -> str:
    """The text that `share_of` reads."""
    whole, rest = divmod(share, 100)
    return f"{whole}.{rest:02}".rstrip("0").rstrip(".") + "%" if rest else f"{whole}%"


#: Hundredths of a percent, as `buckets.bucket` counts; `5%` in the document.
Share = Annotated[
    int,
    BeforeValidator(share_of),
    PlainSerializer(share_text),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?%$",
            "patternErrorMessage": "a share is in percent, such as 5% or 0.5%",
            "examples": ["5%", "50%"],
        }
    ),
]


def _date(value: Any) -> str:
    try:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise ValueError
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("a date is year, month and day, such as 2026-11-01") from None
    return value


#: A calendar day, `2026-11-01`.
Day = Annotated[
    str,
    BeforeValidator(_date),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "patternErrorMessage": "a date is year, month and day, such as 2026-11-01",
            "examples": ["2026-11-01"],
        }
    ),
]


def _offset(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("an offset is a duration before or after, such as -3d or 12h")
    amount = parse_duration(value.removeprefix("-").removeprefix("+"))
    return -amount if value.startswith("-") else amount


def _format_offset(offset_ms: int) -> str:
    return f"-{format_duration(-offset_ms)}" if offset_ms < 0 else format_duration(offset_ms)


#: Milliseconds after, or before when negative; `-3d` in the document.
OffsetMs = Annotated[
    int,
    BeforeValidator(_offset),
    PlainSerializer(_format_offset),
    WithJsonSchema({"type": "string", "examples": ["-3d", "12h"]}),
]


def check_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            f"'{value[:100]}' is not an id: lower-case letters, digits and '-', "
            "64 characters at most, the first one not '-'"
        )
    return value


def _check_category(value: str) -> str:
    if not CATEGORY_PATTERN.fullmatch(value):
        raise ValueError("a category is lower-case letters, digits, '-' and '_', at most 64")
    return value


def _check_per(value: str) -> str:
    problem = None if value in ("user", "event") else check_path(value, wild=False)
    if problem is not None:
        near = suggestion(value, ("user", "event"))
        raise ValueError(f"`per` is user, event or a path{near}: {problem}" if near else problem)
    return value


def _check_path_to_one(value: str) -> str:
    problem = check_path(value, wild=False)
    if problem is not None:
        raise ValueError(problem)
    return value


def _check_trait(value: str) -> str:
    problem = check_path(f"traits.{value}", wild=False)
    if problem is not None or value.startswith("traits."):
        short = value.removeprefix("traits.")[:100] or "plan"
        raise ValueError(f"`trait` is the path below traits, such as {short}")
    return value


def _check_date_path(value: str) -> str:
    if not value.startswith("traits."):
        raise ValueError("a date is a trait of the user, such as traits.birthday")
    return _check_path_to_one(value)


def _check_clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError(f"'{value[:100]}' is not a time of the day, such as \"09:30\"")
    return value


def _check_signal(value: str) -> str:
    if not _SIGNAL.fullmatch(value):
        raise ValueError("a signal's name is 1 to 128 letters, digits, spaces and . _ : -")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        if len(value) > TEXT_CHARS_MAX:
            raise ValueError(f"a text has at most {TEXT_CHARS_MAX} characters here")
    elif not isinstance(value, bool | int | float) or not -_NUMBER_MAX <= value <= _NUMBER_MAX:
        raise ValueError("takes one text, number, true or false")
    return value


def _weight(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= WEIGHT_MAX:
        raise ValueError(f"a weight is a number from 0 to {WEIGHT_MAX:,}")
    return float(value)


def _radius(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= RADIUS_KM_MAX:
        raise ValueError(f"a radius is a number of kilometres above 0, at most {RADIUS_KM_MAX}")
    return float(value)


def _share_or_amount(value: Any) -> Any:
    if isinstance(value, str) and _PERCENT.fullmatch(value) and float(value[:-1]) > 0:
        return value
    if type(value) in (int, float) and 0 < value <= _NUMBER_MAX:
        return value
    raise ValueError("takes a share such as 10%, or an amount above 0")


def _check_release(value: str) -> str:
    if not _RELEASE.fullmatch(value):
        raise ValueError("is how many users a unit in stock is worth, such as `3 per unit`")
    return value


def check_zone(value: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("zones")
    if not _ZONE.fullmatch(value) or (known is not None and value not in known):
        near = suggestion(value, known or ())
        raise ValueError(f"'{value[:100]}' is not an IANA time zone, such as Asia/Almaty{near}")
    return value


def _check_channel(value: str) -> str:
    if value != "push":
        raise ValueError(unknown(value, ("push",), row="channel", what="channel"))
    return value


def _text_schema(pattern: str, *examples: str, message: str = "") -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "examples": list(examples)}
    if pattern:
        schema["pattern"] = f"^{pattern}$"
    if message:
        schema["patternErrorMessage"] = message
    return WithJsonSchema(schema)


_PATH = r"(properties|context|traits)\.[^*.]+(\.[^*.]+)*|event|type"

Id = Annotated[
    StrictStr,
    AfterValidator(check_id),
    _text_schema(
        ID_PATTERN, "abandoned-cart", message="an id is lower-case letters, digits and '-'"
    ),
]
Category = Annotated[
    StrictStr, AfterValidator(_check_category), _text_schema(CATEGORY_PATTERN.pattern, "reminders")
]
Per = Annotated[
    StrictStr,
    AfterValidator(_check_per),
    _text_schema(
        f"(user|{_PATH})",
        "user",
        "event",
        "properties.product_id",
        message="`per` is user, event, or a path such as properties.product_id",
    ),
]
PathToOne = Annotated[
    StrictStr,
    AfterValidator(_check_path_to_one),
    _text_schema(f"({_PATH})", "properties.revenue", message="a path, such as properties.revenue"),
]
Zone = Annotated[
    StrictStr, AfterValidator(check_zone), _text_schema(_ZONE.pattern, "Asia/Almaty", "UTC")
]
Channel = Annotated[StrictStr, AfterValidator(_check_channel), WithJsonSchema({"enum": ["push"]})]
TraitPath = Annotated[StrictStr, AfterValidator(_check_trait), _text_schema("", "plan")]
DatePath = Annotated[
    StrictStr, AfterValidator(_check_date_path), _text_schema(r"traits\..+", "traits.birthday")
]
Clock = Annotated[StrictStr, AfterValidator(_check_clock), _text_schema(_CLOCK.pattern, "10:00")]
SignalName = Annotated[
    StrictStr, AfterValidator(_check_signal), _text_schema(_SIGNAL.pattern, "churn-risk")
]
#: One text, number or boolean.
Scalar = Annotated[
    Any, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
RadiusKm = Annotated[float, BeforeValidator(_radius)]
#: What something weighs against something else.
Weight = Annotated[float, BeforeValidator(_weight)]
#: `10%` as text, or an amount.
ShareOrAmount = Annotated[
    Any,
    PlainValidator(_share_or_amount),
    WithJsonSchema({"type": ["string", "number"], "examples": ["10%", 500]}),
]
Release = Annotated[
    StrictStr, AfterValidator(_check_release), _text_schema(_RELEASE.pattern, "3 per unit")
]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{twice[0]}' stands here twice")
    return names


def _one_as_text(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


_EVENT_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 256}
EventName = Annotated[StrictStr, Field(min_length=1, max_length=256)]
#: One event name or a list of them in the document.
EventNames = Annotated[
    tuple[EventName, ...],
    BeforeValidator(_one_or_more),
    Field(min_length=1, max_length=EVENTS_MAX),
    AfterValidator(_each_once),
    PlainSerializer(_one_as_text),
    WithJsonSchema(
        {
            "anyOf": [
                _EVENT_NAME_SCHEMA,
                {
                    "type": "array",
                    "items": _EVENT_NAME_SCHEMA,
                    "minItems": 1,
                    "maxItems": EVENTS_MAX,
                    "uniqueItems": True,
                },
            ],
            "examples": ["Product Added", ["Product Removed", "Cart Emptied"], "Page: Home"],
        }
    ),
]


def _where(*references: str) -> PlainValidator:
    def check(value: Any) -> dict[str, Any]:
        _, problems = parse_where(value, references=references)
        if problems:
            raise refusal(problems)
        return dict(value)

    return PlainValidator(check)


#: `triggers.schema` puts the shape of a filter in its place: it refers to itself.
_WHERE_SCHEMA = WithJsonSchema({"x-shape": "Where"})

#: A filter over one event; compile it with `conditions.compile_filter`.
Where = Annotated[dict[str, Any], _where(), _WHERE_SCHEMA]
#: A filter of a later step: it may refer to the first event as `$start.<path>`.
WhereOfStart = Annotated[dict[str, Any], _where(START), _WHERE_SCHEMA]
#: A filter about a whole instance: it may refer to `$start.<path>` and `$event.<path>`.
WhereOfInstance = Annotated[dict[str, Any], _where(*BOTH), _WHERE_SCHEMA]


def _template_problems(location: Location, text: str) -> list[Problem]:
    try:
        compile_text(text)
    except TextError as error:
        return [Problem(location, str(error))]
    return []


def _localised(value: Any) -> str | dict[str, str]:
    texts = value if isinstance(value, dict) else {"": value}
    problems = []
    if not texts or len(texts) > LOCALES_MAX:
        problems.append(Problem((), f"a text has 1 to {LOCALES_MAX} locales"))
    for locale, text in list(texts.items())[:LOCALES_MAX]:
        location = (locale,) if texts is value else ()
        if location and not (isinstance(locale, str) and _LOCALE.fullmatch(locale)):
            message = f"'{str(locale)[:100]}' is not a locale, such as en, ru or pt-BR"
            problems.append(Problem(location, message, at_key=True))
        if not isinstance(text, str):
            message = (
                "must be text (put it in quotes) or texts by locale, such as {en: ..., ru: ...}"
            )
            problems.append(Problem(location, message))
        elif not text or len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
            problems.append(Problem(location, f"a text has 1 to {TEXT_BYTES_MAX} bytes"))
        else:
            problems += _template_problems(location, text)
    if problems:
        raise refusal(problems)
    return dict(value) if isinstance(value, dict) else str(value)


def _check_template(source: str) -> str:
    compile_text(source)
    return source


#: An address; a Liquid template.
Url = Annotated[StrictStr, Field(min_length=1, max_length=2048), AfterValidator(_check_template)]
#: A text, or texts by locale; Liquid templates.
LocalisedText = Annotated[
    str | dict[str, str],
    PlainValidator(_localised),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "propertyNames": {"pattern": f"^{_LOCALE.pattern}$"},
                    "additionalProperties": {"type": "string", "minLength": 1},
                    "minProperties": 1,
                    "maxProperties": LOCALES_MAX,
                },
            ],
            "examples": [
                "{{ start.properties.name }} is waiting",
                {"en": "Still thinking?", "ru": "Ещё думаете?"},
            ],
        }
    ),
]

WaitMs = Annotated[DurationMs, _at_least(1000)]
WindowMs = Annotated[DurationMs, _at_least(1000)]
SettleMs = Annotated[DurationMs, _at_most(3_600_000)]
IdleMs = Annotated[DurationMs, _at_least(1000)]
