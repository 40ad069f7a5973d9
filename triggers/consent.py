"""What a user agrees to and refuses, and what that forbids. Nothing of it is ever forgotten.

Statements come from events (`Unsubscribed`, `Subscribed`) and from preference records; the device's
own permission is `triggers.devices`'. A refusal counts from the moment it is in the log, whenever
it was made; an agreement only when it was made later than the last refusal (client time), so that
what arrives late or twice never undoes one. Between two profiles of a user the refusal wins.
"""

from typing import Any, NamedTuple, Protocol, TypeGuard

from schemas.events import Event
from schemas.records import given_of
from triggers.fields import CATEGORY_PATTERN
from triggers.policy import CompiledPolicy
from triggers.state import Consent, UserState

SUBSCRIBED = "Subscribed"
UNSUBSCRIBED = "Unsubscribed"

#: Those of the language, whether this version sends over them or not: a refusal has to last.
CHANNELS = ("push", "webpush", "inbox", "email", "sms", "webhook")
#: What this version sends over.
SENT_OVER = ("push",)
#: Of one user. With more of them refused everything counts as refused.
CATEGORIES_MAX = 64

#: Segment's specification of email events has no channel: one of these says which it is.
_OF_EMAIL = frozenset({"email_id", "email_subject", "list_id", "list_name"})

ALL, PROFILING, CHANNEL, CATEGORY = "all", "profiling", "channel", "category"


class Statement(NamedTuple):
    """One thing said. `kind`: all, profiling, channel or category; `name` of the last two."""

    kind: str
    name: str
    given: bool

    @property
    def text(self) -> str:
        """`category reminders: out`."""
        what = f"{self.kind} {self.name}" if self.name else self.kind
        return f"{what}: {'in' if self.given else 'out'}"


class Refusal(NamedTuple):
    """Why a message is forbidden: what was said, and when (ms); None: an agreement is missing."""

    kind: str
    name: str
    since_ms: int | None

    @property
    def text(self) -> str:
        """`category reminders`."""
        return f"{self.kind} {self.name}" if self.name else self.kind


class Asking(Protocol):
    """What is asked of a trigger."""

    @property
    def marketing(self) -> bool: ...
    @property
    def category(self) -> str: ...
    @property
    def policy(self) -> CompiledPolicy: ...


def statements_of(event: Event) -> list[Statement]:
    """What an event says about consent, in a fixed order; what cannot be meant is left out."""
    said = event.properties or {}
    if event.type == "preference":
        return _preference(said)
    given = event.event == SUBSCRIBED
    category, channel = said.get("category"), said.get("channel")
    if is_category(category):
        return [Statement(CATEGORY, category, given)]
    if isinstance(channel, str) and category is None:
        return [Statement(CHANNEL, channel, given)] if channel in CHANNELS else []
    if category is None and channel is None and not _OF_EMAIL.isdisjoint(said):
        return [Statement(CHANNEL, "email", given)]
    # A refusal that cannot be read is one of everything; such an agreement is none.
    unread = category is not None or channel is not None
    return [] if given and unread else [Statement(ALL, "", given)]


def _preference(said: dict[str, Any]) -> list[Statement]:
    found = []
    for kind in (ALL, PROFILING):
        given = given_of(said.get(kind))
        if given:
            found.append(Statement(kind, "", given == "in"))
    for kind, field in ((CHANNEL, "channels"), (CATEGORY, "categories")):
        values = said.get(field)
        named: dict[str, Any] = values if isinstance(values, dict) else {}
        for name in sorted(named):
            given = given_of(named[name])
            known = name in CHANNELS if kind == CHANNEL else is_category(name)
            if given and known:
                found.append(Statement(kind, name, given == "in"))
    return found


def leaves(state: UserState, event: Event) -> bool:
    """Whether a preference refuses what was not refused before. Who saves the same settings again
    does not leave again."""
    consent = Consent() if state.consent is None else state.consent
    said = statements_of(event)
    return any(not one.given and _known(consent, one) >= 0 for one in said)


def is_category(name: Any) -> TypeGuard[str]:
    """Whether a trigger could have this category."""
    return isinstance(name, str) and CATEGORY_PATTERN.fullmatch(name) is not None


def say(state: UserState, statement: Statement, e: int) -> bool:
    """Note a statement of client time `e`; False when it changes nothing."""
    consent = Consent() if state.consent is None else state.consent
    known = _known(consent, statement)
    said = _later(known, max(e, 1) if statement.given else -max(e, 1))
    if said == known:
        return False
    state.consent = consent
    _put(consent, statement.kind, statement.name, said)
    return True


def _known(consent: Consent, statement: Statement) -> int:
    kind, name = statement.kind, statement.name
    if kind == ALL:
        return consent.everything
    if kind == PROFILING:
        return consent.profiling
    return (consent.channels if kind == CHANNEL else consent.categories).get(name, 0)


def _later(known: int, said: int) -> int:
    """Of what is known and what is said now (> 0 in, < 0 out, 0 nothing) what holds."""
    if said < 0:
        return min(known, said) if known < 0 else said
    if known < 0:
        return said if said > -known else known
    return known or said


def _put(consent: Consent, kind: str, name: str, said: int) -> None:
    if kind == ALL:
        consent.everything = said
    elif kind == PROFILING:
        consent.profiling = said
    elif kind == CHANNEL:
        consent.channels[name] = said
    else:
        consent.categories[name] = said
        _bound(consent)


def _bound(consent: Consent) -> None:
    """Overflow errs towards silence: agreements go first, then everything counts as refused."""
    categories = consent.categories
    while len(categories) > CATEGORIES_MAX:
        oldest = min(categories, key=lambda name: (categories[name] < 0, abs(categories[name])))
        if categories[oldest] < 0:
            consent.everything = _later(consent.everything, categories[oldest])
        del categories[oldest]


def unite(mine: Consent | None, other: Consent | None) -> Consent | None:
    """Of two profiles of one user: a refusal of either holds, the later one of two."""
    if mine is None or other is None:
        return other if mine is None else mine
    both = Consent(
        _stricter(mine.everything, other.everything), _stricter(mine.profiling, other.profiling)
    )
    for united, one, two in (
        (both.channels, mine.channels, other.channels),
        (both.categories, mine.categories, other.categories),
    ):
        for name in sorted({*one, *two}):
            united[name] = _stricter(one.get(name, 0), two.get(name, 0))
    for token in sorted({*mine.devices, *other.devices}):
        both.devices[token] = max(mine.devices.get(token, 0), other.devices.get(token, 0))
    _bound(both)
    return both


def _stricter(one: int, two: int) -> int:
    """The later refusal, else the earlier agreement."""
    if one < 0 or two < 0:
        return min(one, two)
    return min(one, two) or max(one, two)


def refusal_of(consent: Consent | None, trigger: Asking) -> Refusal | None:
    """What forbids a message of the trigger; None: it may go.

    Nobody opts out of transactional messages. An agreement to everything stands for the channels
    and categories of which nothing was said.
    """
    policy = trigger.policy
    if not trigger.marketing or (consent is None and not policy.opt_in):
        return None
    said = Consent() if consent is None else consent
    channels = [name for name in SENT_OVER if said.channels.get(name, 0) >= 0]
    for kind, name, known in (
        (PROFILING, "", said.profiling),
        (ALL, "", said.everything),
        (CATEGORY, trigger.category, said.categories.get(trigger.category, 0)),
        (CHANNEL, SENT_OVER[0], 0 if channels else said.channels[SENT_OVER[0]]),
    ):
        if known < 0:
            return Refusal(kind, name, -known)
    if said.everything > 0 or not policy.opt_in:
        return None
    if trigger.category in policy.opt_in_categories and trigger.category not in said.categories:
        return Refusal(CATEGORY, trigger.category, None)
    asked = [name for name in channels if name in policy.opt_in_channels]
    if len(asked) == len(channels) and not any(name in said.channels for name in asked):
        return Refusal(CHANNEL, asked[0], None)
    return None
