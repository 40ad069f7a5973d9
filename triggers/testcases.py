"""Tests of a trigger, as its author writes them under `tests`: events in, outcomes out.

A `TriggerTest` is a user, the events that happen to them and the outcomes that must follow; times
are offsets from `now`. What running it means stands in `engine.testing`; here is only its shape.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictStr,
    WithJsonSchema,
)

from schemas.events import ID_CHARS_MAX, to_ms
from schemas.reasons import REACTIONS, Outcome, Reason
from triggers.durations import format_duration
from triggers.fields import Category, Channel, DurationMs, EventName, Id, Name, SignalName, Zone
from triggers.model import Model, refusal
from triggers.problems import Problem, suggestion

TESTS_MAX = 100
TEST_EVENTS_MAX = 500
EXPECTED_MAX = 500
WITH_MAX = 100
#: All that follows from a test stays far from the end of the calendar.
YEAR_MAX = 2200
#: 2026-01-05T10:00:00Z, a Monday.
NOW_MS: Final = 1_767_607_200_000
TEST_USER: Final = "user"

#: How a delivery ends; a decision never holds these.
_OF_DELIVERIES = frozenset(
    {
        *REACTIONS,
        Reason.ACCEPTED,
        Reason.CANCELLED,
        Reason.DUPLICATE,
        Reason.PROVIDER_ERROR,
        Reason.REJECTED,
        Reason.TEMPLATE_ERROR,
        Reason.UNKNOWN,
        Reason.UNREGISTERED,
    }
)
#: What has a reason although it was no refusal.
_TOLD = (
    (Outcome.CANCELLED, Reason.CONSENT),
    (Outcome.ADMITTED, Reason.TEMPLATE_ABORT),
)
#: What an admitted message says, as it is rendered.
SAID: Final = ("title", "body", "link")
OUTCOMES = tuple(outcome.value for outcome in Outcome)
REASONS = tuple(reason.value for reason in Reason if reason not in _OF_DELIVERIES)


def _moment(value: Any) -> int:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None and 1970 < moment.year < YEAR_MAX:
            return to_ms(moment)
    raise ValueError("a moment is ISO 8601 with its offset, such as 2026-01-05T10:00:00Z")


def _moment_text(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _scalar(value: Any) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("`per` is one text, number, true or false")
    return value


def _one_of(known: tuple[str, ...], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            near = suggestion(value, known) or f": one of {', '.join(known)}"
            raise ValueError(f"unknown {what} '{value[:100]}'{near}")
        return value

    return AfterValidator(check)


#: Milliseconds since the epoch; ISO 8601 in the document.
MomentMs = Annotated[
    int,
    BeforeValidator(_moment),
    PlainSerializer(_moment_text),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-05T10:00:00Z"]}),
]
OutcomeName = Annotated[
    StrictStr, _one_of(OUTCOMES, "outcome"), WithJsonSchema({"enum": list(OUTCOMES)})
]
ReasonName = Annotated[
    StrictStr, _one_of(REASONS, "reason"), WithJsonSchema({"enum": list(REASONS)})
]
#: Fields of an event that a signal and an outcome have none of.
_NOT_OF_SIGNALS = ("event", "type", "traits", "context", "anonymous", "previous")
Values = dict[str, Any]
_Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"], "examples": ["p1"]}),
]
_User = Annotated[StrictStr, Field(min_length=1, max_length=ID_CHARS_MAX)]


class GivenEvent(Model):
    """One message that reaches the log: `event`, `type` for one without a name, or a `signal`; or
    an `outcome`, which is told of the last message of a trigger."""

    row = "test_event"

    at_ms: DurationMs = Field(alias="at")
    """When it reaches the log: an offset from the test's `now`."""
    event: EventName | None = None
    """The name triggers use; `Page: Home` makes a page, `Screen: Cart` a screen."""
    type: Literal["identify", "group", "alias"] | None = None
    """A message without a name, instead of `event`."""
    signal: SignalName | None = None
    """A signal of that name, instead of `event`; `user` and `properties` go with it."""
    outcome: Literal["delivered", "opened", "clicked", "unsubscribed"] | None = None
    """What became of the last message sent to the user, instead of `event`."""
    trigger: Id | None = None
    """Of which trigger that message was, one of `with`; the test's own when left out."""
    properties: Values = Field(default_factory=dict)
    """What `properties.<name>` reads."""
    traits: Values = Field(default_factory=dict)
    """What `traits.<name>` reads, of an identify."""
    context: Values = Field(default_factory=dict)
    """What `context.<name>` reads, such as {locale: ru}; the time zone is the test's."""
    user: _User | None = None
    """The userId; the same user throughout when it is left out."""
    anonymous: _User | None = None
    """The anonymousId; without `user` it is a guest."""
    previous: _User | None = None
    """The previousId of an alias."""
    id: _User | None = None
    """The messageId; the same one twice is a message sent twice."""
    occurred_at_ms: DurationMs | None = Field(default=None, alias="occurred_at")
    """When it happened on the phone, if that is not when it arrived."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.signal is not None:
            yield from self._problems_beside("a signal", (*_NOT_OF_SIGNALS, "outcome"))
        elif self.outcome is not None:
            yield from self._problems_beside("an outcome", (*_NOT_OF_SIGNALS, "properties", "id"))
        elif self.event is None and self.type is None:
            yield Problem((), "an event of a test has `event`, or `type` for one without a name")
        if self.trigger is not None and self.outcome is None:
            yield Problem(("trigger",), "`trigger` goes with `outcome` only", at_key=True)
        if self.event is not None and self.type is not None:
            yield Problem(("type",), "`event` has a type already: leave one out", at_key=True)
        if (self.previous is not None) != (self.type == "alias"):
            yield Problem((), "`previous` and `type: alias` go together")
        if self.occurred_at_ms is not None and self.occurred_at_ms > self.at_ms:
            yield Problem(("occurred_at",), "`occurred_at` is not later than `at`")

    def _problems_beside(self, what: str, told: Iterable[str]) -> Iterable[Problem]:
        for name in told:
            if name in self.model_fields_set:
                yield Problem((name,), f"{what} has no `{name}`: leave it out", at_key=True)


class Expected(Model):
    """One outcome that must follow; what is left out may be anything."""

    row = "test_expect"

    at_ms: DurationMs = Field(alias="at")
    """When it is decided: an offset from the test's `now`, exact."""
    outcome: OutcomeName
    """How the activation ends."""
    reason: ReasonName | None = None
    """Why it was not admitted; any reason when left out."""
    trigger: Id | None = None
    """Of which trigger, one of `with`; the test's own when left out."""
    user: _User | None = None
    """Of which user; anyone when left out."""
    per: _Scalar | None = None
    """The value at the trigger's `per`; any when left out."""
    title: StrictStr | None = None
    """The title as it is rendered for the user."""
    body: StrictStr | None = None
    """The body as it is rendered for the user."""
    link: StrictStr | None = None
    """The link as it is rendered for the user, with its UTM parameters."""
    variant: Id | None = None
    """The arm of the experiment, a variant or control; any when left out."""

    def cross_problems(self) -> Iterable[Problem]:
        told = (self.outcome, self.reason) in _TOLD
        silent = self.outcome in (Outcome.ADMITTED, Outcome.CANCELLED)
        if self.reason is not None and silent and not told:
            message = f"`reason` says why there was no message: {self.outcome} has none"
            yield Problem(("reason",), message, at_key=True)
        if self.outcome != Outcome.ADMITTED:
            for name in SAID:
                if getattr(self, name) is not None:
                    message = f"`{name}` is what an ADMITTED message says"
                    yield Problem((name,), message, at_key=True)


def _in_order(items: tuple[Any, ...]) -> tuple[Any, ...]:
    for number, (one, next_) in enumerate(pairwise(items), start=1):
        if next_.at_ms < one.at_ms:
            message = f"in order of `at`, please: this comes after {format_duration(one.at_ms)}"
            raise refusal([Problem((number, "at"), message)])
    return items


Given = Literal["in", "out"]


class GivenConsent(Model):
    """What the user has agreed to (`in`) or refused (`out`) before the test begins."""

    all: Given | None = None
    """Every marketing message."""
    profiling: Given | None = None
    """That behaviour leads to messages at all."""
    channels: dict[Channel, Given] = Field(default_factory=dict)
    """By channel, such as {push: out}."""
    categories: dict[Category, Given] = Field(default_factory=dict)
    """By category, such as {reminders: out}."""


class TriggerTest(Model):
    """One test: what happens to a user, and exactly what must come of it."""

    row = "test"

    name: Name
    """The sentence that the test proves."""
    now_ms: MomentMs = Field(default=NOW_MS, alias="now")
    """When the test begins: what all offsets count from."""
    zone: Zone = "UTC"
    """The user's time zone."""
    devices: Annotated[tuple[Literal["android", "ios"], ...], Field(max_length=8)] = ("android",)
    """What the user can be reached on; an empty list: on nothing."""
    consent: GivenConsent | None = None
    """What the user said before the test begins; without it they agreed to what needs it."""
    traits: Values = Field(default_factory=dict)
    """What is known of the user before the test begins."""
    with_: Annotated[tuple[Id, ...], Field(max_length=WITH_MAX)] = Field(default=(), alias="with")
    """Other triggers that take part; without it the trigger is alone."""
    events: Annotated[
        tuple[GivenEvent, ...], Field(max_length=TEST_EVENTS_MAX), AfterValidator(_in_order)
    ]
    """What happens, in order."""
    expect: Annotated[
        tuple[Expected, ...], Field(max_length=EXPECTED_MAX), AfterValidator(_in_order)
    ]
    """All outcomes of this trigger and of those named here, in order, and no others."""
    until_ms: DurationMs | None = Field(default=None, alias="until")
    """The test ends here; else when nothing is pending any more."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.until_ms is None:
            return
        timed: dict[str, tuple[GivenEvent | Expected, ...]]
        timed = {"events": self.events, "expect": self.expect}
        for field, items in timed.items():
            for number, item in enumerate(items):
                if item.at_ms > self.until_ms:
                    message = f"the test ends at `until`, {format_duration(self.until_ms)}"
                    yield Problem((field, number, "at"), message)


def _names_differ(tests: tuple[TriggerTest, ...]) -> tuple[TriggerTest, ...]:
    seen: set[str] = set()
    for number, test in enumerate(tests):
        if test.name in seen:
            message = f"another test is called '{test.name}'"
            raise refusal([Problem((number, "name"), message)])
        seen.add(test.name)
    return tests


def _as_written(tests: tuple[TriggerTest, ...]) -> list[dict[str, Any]]:
    """A default of a test means nothing to the engine: only what the author said is stored."""
    return [test.model_dump(mode="json", by_alias=True, exclude_unset=True) for test in tests]


Tests = Annotated[
    tuple[TriggerTest, ...],
    Field(max_length=TESTS_MAX),
    AfterValidator(_names_differ),
    PlainSerializer(_as_written),
]


def pairing_problems(trigger: str, tests: Iterable[TriggerTest]) -> Iterable[Problem]:
    """What is wrong between a trigger and its tests."""
    for number, test in enumerate(tests):
        timed: dict[str, tuple[GivenEvent | Expected, ...]]
        timed = {"events": test.events, "expect": test.expect}
        for field, items in timed.items():
            for position, item in enumerate(items):
                if item.trigger in (None, trigger, *test.with_):
                    continue
                message = f"`{item.trigger}` takes no part in this test: name it in `with`"
                yield Problem(("tests", number, field, position, "trigger"), message)


def partner_problems(tests: Iterable[TriggerTest], known: Iterable[str]) -> list[Problem]:
    """Only triggers of the workspace can take part."""
    ids = set(known)
    return [
        Problem(
            ("tests", number, "with", position),
            f"unknown trigger '{name}'{suggestion(name, ids)}",
        )
        for number, test in enumerate(tests)
        for position, name in enumerate(test.with_)
        if name not in ids
    ]
