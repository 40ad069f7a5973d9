"""Definitions: triggers and policies as their authors write them, validated and frozen.

`TriggerDefinition` and `Policy` accept the document form (`model_validate`; the field names of the
language), and `to_document` gives it back, complete: every default is written out, so that a stored
definition keeps its meaning when a default changes. A pattern is a `When` (`triggers.patterns`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, StrictInt

from triggers.audience import AudienceDocument, StillDocument
from triggers.conditions import compile_filter
from triggers.durations import format_duration
from triggers.experiments import Channels, Experiment, GlobalControlGroup, VariantSet
from triggers.fields import (
    Category,
    Channel,
    Day,
    DurationMs,
    EventNames,
    Id,
    Name,
    PathToOne,
    Per,
    SettleMs,
    Share,
    WaitMs,
    Weight,
    Where,
    WhereOfInstance,
    WindowMs,
    Zone,
)
from triggers.filters import BOTH
from triggers.hours import Hold, Quiet, SendAt
from triggers.links import Utm
from triggers.messages import Message
from triggers.model import Model, refusal
from triggers.patterns import KINDS, IdleWhen, When, kind_of
from triggers.problems import Problem, quoted, suggestion
from triggers.testcases import Tests, pairing_problems

UNLESS_MAX = 20
CAPS_MAX = 20
CAP_COUNT_MAX = 100
SERIES_MAX = 20
MESSAGES_MAX = 50
BUNDLE_MAX = 50
OPT_IN_MAX = 100
DEFAULT_POLICY = "default"
GOAL_WITHIN_MS = 7 * 86_400_000
EXPIRES_MIN_MS = 600_000


#: For the schema alone: `_select_pattern` takes the model by its telling field.
_ANY_PATTERN: Any = Union[tuple(kind.model for kind in KINDS)]  # noqa: UP007


def _select_pattern(value: Any) -> When:
    if isinstance(value, When):
        return value
    fields = [kind.field for kind in KINDS]
    if not isinstance(value, Mapping):
        raise refusal([Problem((), f"`when` is a mapping with one of {quoted(fields)}")])
    found = [kind for kind in KINDS if kind.field in value]
    wider = frozenset[str]().union(*(kind.wider for kind in found))
    found = [kind for kind in found if kind.field not in wider]
    if len(found) == 1:
        return found[0].model.model_validate(value)
    if found:
        names = quoted(kind.field for kind in found)
        raise refusal([Problem((), f"`when` holds exactly one pattern, but found {names}")])
    names = quoted(str(name)[:100] for name in value) or "nothing"
    hint = next(filter(None, (suggestion(str(name), fields) for name in value)), "")
    message = f"`when` holds exactly one pattern ({quoted(fields)}), but found {names}{hint}"
    raise refusal([Problem((), message)])


class Unless(Model):
    """An event that cancels the pending instance; `where` may refer to `$start` and
    `$event`."""

    events: EventNames = Field(alias="event")
    """The event that cancels, or a list of them."""
    where: WhereOfInstance | None = None
    """Only if this holds; a value may be `$start.<path>`."""


class Cooldown(Model):
    """The least time between two messages of this trigger to a user, and for one `per` value."""

    user_ms: DurationMs | None = Field(default=None, alias="user")
    """Since its last message to the user."""
    per_ms: DurationMs | None = Field(default=None, alias="per")
    """Since its last message for the same `per` value."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.user_ms is None and self.per_ms is None:
            yield Problem((), "`cooldown` is a duration or {user: ..., per: ...}")


class Active(Model):
    """The first and the last day of a trigger, in the zone of its policy; both inclusive."""

    from_: Day | None = Field(default=None, alias="from")
    """The first day."""
    until: Day | None = None
    """The last day."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.from_ is None and self.until is None:
            yield Problem((), "`active` has `from`, `until` or both, such as {until: 2026-12-31}")
        elif self.from_ is not None and self.until is not None and self.until < self.from_:
            yield Problem(("until",), f"`until` is before `from`, {self.from_}")


class Goal(Model):
    """What the message is for: an event within a time, and the path to what it is worth."""

    events: EventNames = Field(alias="event")
    """The event that is hoped for, or a list of them."""
    where: Where | None = None
    """Only if this holds."""
    within_ms: WindowMs = Field(default=GOAL_WITHIN_MS, alias="within")
    """How long after the message it still counts."""
    value: PathToOne | None = None
    """Where the event says what it is worth."""


def _texts_differ(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(texts)) < len(texts):
        raise ValueError("a text stands in `texts` once")
    return texts


class Rotate(Model):
    """Several texts that take turns: each message is the one said to the user longest ago."""

    texts: Annotated[
        tuple[Id, ...], Field(min_length=1, max_length=MESSAGES_MAX), AfterValidator(_texts_differ)
    ]
    """Names of `messages`; of those never said the first one comes first."""
    no_repeat_ms: DurationMs = Field(default=0, alias="no_repeat")
    """No text comes again within this time; when none is left, NO_FRESH_TEXT."""


class Step(Model):
    """One message of a series: `after` the start, the text of that name in `messages`."""

    after_ms: WaitMs = Field(alias="after")
    """How long after the start."""
    message: Id
    """The name of its message in `messages`."""


class Bundle(Model):
    """Candidates of a user within `window` become one message, `max` of them at most."""

    window_ms: WaitMs = Field(alias="window")
    """How long to collect, from the first one."""
    max_count: Annotated[StrictInt, Field(ge=2, le=BUNDLE_MAX)] = Field(default=10, alias="max")
    """So many at most; the message goes at once then."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


_SomeUnless = Annotated[tuple[Unless, ...], Field(min_length=1, max_length=UNLESS_MAX)]


def _as_cooldown(value: Any) -> Any:
    return {"user": value} if isinstance(value, str | int | float) else value


class TriggerDefinition(Model):
    """One trigger: what to wait for, whom to tell, what to say."""

    row = "trigger"

    id: Id
    """The trigger's own name, unique in the workspace; cooldowns and reports go by it."""
    name: Name | None = None
    """What people call it."""
    owner: Name | None = None
    """Whom to ask about it."""
    state: Literal["draft", "shadow", "live", "paused"] = "draft"
    """draft: not evaluated; shadow: decides and records, sends nothing; live; paused."""
    class_: Literal["transactional", "marketing"] = Field(default="marketing", alias="class")
    """transactional: no spacing, no caps, no policy cooldown and no opt-out."""
    category: Category | None = None
    """The consent category it belongs to."""
    priority: Annotated[StrictInt, Field(ge=0, le=100)] = 50
    """0 to 100: of several candidates at one moment the higher is admitted first."""
    lane: Literal["critical", "high", "normal", "low"] = "normal"
    """Its place in the queue of what is sent; critical goes before everything else."""
    active: Active | None = None
    """The days it starts and admits on."""
    rollout: Share | None = None
    """The share of users it reaches; the others end as NOT_ROLLED_OUT."""
    when: Annotated[
        SerializeAsAny[When],
        BeforeValidator(_select_pattern, json_schema_input_type=_ANY_PATTERN),
    ]
    """What has to happen: exactly one pattern."""
    unless: Annotated[
        tuple[Unless, ...],
        BeforeValidator(_as_list, json_schema_input_type=Unless | _SomeUnless),
        Field(min_length=1, max_length=UNLESS_MAX),
    ] = ()
    """Events that must not happen within `wait`: the pattern becomes an absence."""
    wait_ms: WaitMs | None = Field(default=None, alias="wait")
    """How long to wait for `unless`, from the event that completed the pattern."""
    series: Annotated[tuple[Step, ...], Field(min_length=1, max_length=SERIES_MAX)] = ()
    """Several messages of one match, each so long after it."""
    per: Per = "user"
    """What has an instance of its own: user, event, or the value at a path."""
    on_repeat: Literal["restart", "keep"] | None = None
    """A new start while one is pending: restart (the wait begins anew) or keep."""
    restart_at_most_ms: WaitMs | None = Field(default=None, alias="restart_at_most")
    """A chain of restarts fires at the latest then."""
    bundle: Bundle | None = None
    """Several instances of one user become one message; its texts get `items`."""
    audience: AudienceDocument | None = None
    """Whom it is for, asked at every admission."""
    still: StillDocument | None = None
    """What has to hold until the message is sent."""
    send_at: SendAt = "now"
    """now, {between: [from, until]} in the user's time zone, or usual_hour."""
    hold: Hold | None = None
    """What it waits for when it may not be sent at the moment; by default both, at most a day."""
    cooldown: (
        Annotated[
            Cooldown,
            BeforeValidator(_as_cooldown, json_schema_input_type=DurationMs | Cooldown),
        ]
        | None
    ) = None
    """The least time since the last message of this trigger."""
    expires_ms: WindowMs | None = Field(default=None, alias="expires")
    """How late it may still be sent; else half of `wait`, at least 10 minutes."""
    policy: Id = DEFAULT_POLICY
    """The policy it follows, by its name in policy.yaml."""
    goal: Goal | None = None
    """What the message is for."""
    experiment: Experiment | None = None
    """Variants of the message, and users who get none, to measure what it is worth."""
    message: Message | None = None
    """What is said."""
    messages: Annotated[dict[Id, Message], Field(default_factory=dict, max_length=MESSAGES_MAX)]
    """The messages of a `series` or a `rotate`, by name."""
    rotate: Rotate | None = None
    """Texts that take turns."""
    channels: Channels | None = None
    """Where it is said: by push."""
    utm: Utm | None = None
    """What is added to the links of its messages for web analytics."""
    tests: Tests = ()
    """Events in, outcomes out; `tripline test` runs them in virtual time."""

    @classmethod
    def prepare(cls, document: dict[str, Any]) -> dict[str, Any]:
        """What waits restarts unless it says otherwise; nothing else repeats at all."""
        waits = "wait" in document or "series" in document
        if waits and "on_repeat" not in document:
            return {**document, "on_repeat": "restart"}
        return document

    @property
    def waits(self) -> bool:
        """True when a match becomes an instance that is pending for a while."""
        return self.wait_ms is not None or bool(self.series)

    def expires_after_ms(self, wait_ms: int) -> int:
        """How late a message may still be sent: `expires`, else max(wait / 2, 10 minutes)."""
        return max(wait_ms // 2, EXPIRES_MIN_MS) if self.expires_ms is None else self.expires_ms

    @property
    def all_messages(self) -> tuple[Message, ...]:
        """Every message the trigger may send."""
        own = () if self.message is None else (self.message,)
        varied = tuple(one.message for one in self._sets if one.message is not None)
        return own + tuple(self.messages.values()) + varied

    @property
    def all_texts(self) -> Iterator[str | Mapping[str, str]]:
        """Every template of its messages."""
        links = [one.link for one in self._sets]
        for message in self.all_messages:
            yield message.push.title
            yield message.push.body
            links += (message.link, message.push.image)
        yield from (link for link in links if link is not None)

    @property
    def _sets(self) -> list[VariantSet]:
        variants = () if self.experiment is None else self.experiment.variants.values()
        return [variant.set_ for variant in variants if variant.set_ is not None]

    def message_of(self, text: str = "", variant: str = "") -> Message | None:
        """What is said: the message of a series named `text` (or the only one), as `variant` has
        it; None where there is none."""
        message = self.messages.get(text) if text else self.message
        changed = None if self.experiment is None else self.experiment.sets(variant)
        if message is None or changed is None:
            return message
        said = changed.message or message
        return said.model_copy(update={"link": changed.link or said.link or message.link})

    def cross_problems(self) -> Iterable[Problem]:
        yield from self._pattern_problems()
        if isinstance(self.when, IdleWhen):
            yield from self._idle_problems()
        elif self.unless and not self.waits:
            yield _misplaced("unless", "`unless` needs `wait`: how long to wait for it")
        yield from self._series_problems()
        yield from self._rotate_problems()
        if self.waits:
            first_ms = self.series[0].after_ms if self.series else self.wait_ms
            yield from self._restart_problems(first_ms or 0)
        else:
            if self.on_repeat is not None:
                yield _misplaced("on_repeat", "`on_repeat` goes with `wait` or `series` only")
            if self.restart_at_most_ms is not None:
                yield _misplaced("restart_at_most", "`restart_at_most` goes with `wait` only")
        if self.per in ("user", "event") and self.cooldown and self.cooldown.per_ms is not None:
            message = "`cooldown.per` needs a path in `per`, such as properties.product_id"
            yield Problem(("cooldown", "per"), message, at_key=True)
        if self.experiment is not None:
            yield from self._experiment_problems(self.experiment)
        yield from pairing_problems(self.id, self.tests)

    def _idle_problems(self) -> Iterable[Problem]:
        if self.unless:
            yield _misplaced("unless", "`idle` is cancelled by any activity: no `unless`")
        if self.wait_ms is not None:
            yield _misplaced("wait", "`idle` is the wait itself: no `wait`")
        if self.series:
            yield _misplaced("series", "`idle` is the wait itself: no `series`")

    def _pattern_problems(self) -> Iterable[Problem]:
        kind = kind_of(self.when)
        if self.when.of_user and self.per != "user":
            yield _misplaced("per", f"`{kind.field}` is about the user: no `per`")
        if kind.later and self.state != "draft":
            message = f"`{kind.field}` runs with {kind.later}: until then it stays `draft`"
            yield Problem(("when", kind.field), message, at_key=True)
        if not self.when.of_event:
            for number, clause in enumerate(self.unless):
                compiled = compile_filter(clause.where, references=BOTH)
                if compiled.start_paths or compiled.completing_paths:
                    message = f"`{kind.field}` has no event that `$start` could be"
                    yield Problem(("unless", number, "where"), message)

    def _series_problems(self) -> Iterable[Problem]:
        if self.series and self.wait_ms is not None:
            yield _misplaced("wait", "`series` says when: no `wait` beside it")
        if self.series and self.bundle is not None:
            yield _misplaced("bundle", "`bundle` makes one message of many, `series` many of one")
        if self.series and self.message is not None:
            yield _misplaced("message", "the messages of a `series` stand in `messages`")
        before_ms = 0
        for number, step in enumerate(self.series):
            if step.message not in self.messages:
                hint = suggestion(step.message, self.messages)
                message = f"there is no '{step.message}' in `messages`{hint}"
                yield Problem(("series", number, "message"), message)
            if step.after_ms <= before_ms:
                message = "each step of a series is later than the one before"
                yield Problem(("series", number, "after"), message)
            before_ms = step.after_ms
        used = {step.message for step in self.series}
        used |= set(() if self.rotate is None else self.rotate.texts)
        for name in sorted(set(self.messages) - used):
            message = f"no step of a series sends '{name}', nor does `rotate`"
            yield Problem(("messages", name), message, at_key=True)

    def _rotate_problems(self) -> Iterable[Problem]:
        if self.rotate is None:
            return
        if self.series:
            yield _misplaced("rotate", "`series` says which message comes when: no `rotate`")
        if self.message is not None:
            yield _misplaced("message", "the texts of a `rotate` stand in `messages`")
        for number, name in enumerate(self.rotate.texts):
            if name not in self.messages:
                hint = suggestion(name, self.messages)
                message = f"there is no '{name}' in `messages`{hint}"
                yield Problem(("rotate", "texts", number), message)

    def _experiment_problems(self, experiment: Experiment) -> Iterable[Problem]:
        found = experiment.problems_beside(
            transactional=self.class_ == "transactional",
            has_message=bool(self.message or self.messages),
            wait_ms=self.wait_ms,
            in_series=bool(self.series),
            in_turns=self.rotate is not None,
            restart_at_most_ms=self.restart_at_most_ms,
        )
        for problem in found:
            yield replace(problem, location=("experiment", *problem.location))

    def _restart_problems(self, wait_ms: int) -> Iterable[Problem]:
        if self.restart_at_most_ms is None:
            return
        if self.on_repeat != "restart":
            yield _misplaced("restart_at_most", "`restart_at_most` needs `on_repeat: restart`")
        elif self.restart_at_most_ms < wait_ms:
            message = f"`restart_at_most` is at least `wait`, {format_duration(wait_ms)}"
            yield Problem(("restart_at_most",), message)

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; validating it gives an equal definition."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: value for name, value in document.items() if value not in ([], {})}


def _misplaced(name: str, message: str) -> Problem:
    return Problem((name,), message, at_key=True)


class CapLimit(Model):
    """At most `max_count` marketing messages in any window of `per_ms`, or in each `calendar`
    window; channel and category None: all of them."""

    max_count: Annotated[StrictInt, Field(ge=1, le=CAP_COUNT_MAX)] = Field(alias="max")
    """So many messages at most."""
    per_ms: WindowMs | None = Field(default=None, alias="per")
    """In any window of this length."""
    calendar: Literal["day", "week", "month"] | None = None
    """In each day, week (from Monday) or month of the user's time zone."""
    channel: Channel | None = None
    """Only messages of this channel."""
    category: Category | None = None
    """Only messages of triggers of this category."""

    def cross_problems(self) -> Iterable[Problem]:
        one = "a cap has `per` (such as 7d) or `calendar` (such as day)"
        if self.per_ms is None and self.calendar is None:
            yield Problem((), f"{one}: this one has neither")
        elif self.per_ms is not None and self.calendar is not None:
            yield Problem((), f"{one}, not both: for both write two caps")


class TextLimits(Model):
    """Lengths in graphemes over which a text is warned about."""

    title_max: Annotated[StrictInt, Field(ge=1, le=1000)] = 40
    """Graphemes of a title."""
    body_max: Annotated[StrictInt, Field(ge=1, le=4000)] = 110
    """Graphemes of a body."""
    over: Literal["warn"] = "warn"
    """What a longer text leads to."""


class OptIn(Model):
    """What needs the user's agreement first; everything else is sent until they refuse it."""

    channels: Annotated[tuple[Channel, ...], Field(max_length=OPT_IN_MAX)] = ()
    """Channels that nothing is sent over before."""
    categories: Annotated[tuple[Category, ...], Field(max_length=OPT_IN_MAX)] = ()
    """Categories of which nothing is sent before."""

    def cross_problems(self) -> Iterable[Problem]:
        if not (self.channels or self.categories):
            yield Problem((), "`opt_in` has `channels`, `categories` or both")


class Worth(Model):
    """What one goal and one unsubscribe weigh in the CRM score, in any unit."""

    goal: Weight = 1
    """What a goal is worth."""
    unsubscribe: Weight = 5
    """What an unsubscribe costs."""

    def cross_problems(self) -> Iterable[Problem]:
        if not (self.goal or self.unsubscribe):
            yield Problem((), "`goal` or `unsubscribe` is more than 0")


def _caps_differ(caps: tuple[CapLimit, ...]) -> tuple[CapLimit, ...]:
    windows = [(cap.per_ms, cap.calendar, cap.channel, cap.category) for cap in caps]
    if len(set(windows)) < len(windows):
        raise ValueError(
            "two caps have the same window, channel and category: keep the smaller one"
        )
    return caps


class Policy(Model):
    """What holds for all triggers that name it: how often a user may be spoken to."""

    row = "policy"

    spacing_ms: DurationMs = Field(default=0, alias="spacing")
    """The least time since any marketing message."""
    cooldown_ms: DurationMs = Field(default=0, alias="cooldown")
    """The cooldown of marketing triggers without their own."""
    caps: Annotated[
        tuple[CapLimit, ...], Field(max_length=CAPS_MAX), AfterValidator(_caps_differ)
    ] = ()
    """How many messages in a window of time."""
    settle_ms: SettleMs = Field(default=0, alias="settle")
    """So long candidates of a user are collected; the first by priority is sent."""
    quiet: Quiet = ()
    """No marketing message from the first to the second time of the user's day."""
    opt_in: OptIn | None = None
    """What is sent only to users who have agreed to it."""
    global_control: GlobalControlGroup | None = None
    """The users who get nothing, to measure what all messages together are worth."""
    zone: Zone = "UTC"
    """The time zone of users whose own is unknown."""
    grace_ms: DurationMs | None = Field(default=None, alias="grace")
    """A cancel so long after a deadline still counts; else a tenth of the wait, at most 1m."""
    text: TextLimits = TextLimits()
    """Lengths of texts over which `validate` warns."""
    worth: Worth = Worth()
    """What goals and unsubscribes weigh in reports; it changes no decision."""

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; validating it gives an equal policy."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
