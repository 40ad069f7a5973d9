"""Misbehaviour on command: which rule applies to a request, and what it asks for."""

import random
from enum import StrEnum
from typing import Annotated, Final

import msgspec

RULES_MAX: Final = 1_000


class Action(StrEnum):
    """What the stand-in does with a request."""

    ANSWER = "answer"
    HANG = "hang"
    """Read the request, never answer."""
    RESET = "reset"
    """APNs: RST_STREAM with `h2_error`. FCM: the connection is aborted."""
    ACCEPT_THEN_RESET = "accept_then_reset"
    """Take the push (the journal says accepted), then reset as above."""
    CLOSE_MID_RESPONSE = "close_mid_response"
    """Send the status and a part of the body, then cut the connection."""
    GOAWAY = "goaway"
    """APNs: GOAWAY naming the stream before this one as the last; the connection ends once the
    earlier streams are answered. FCM: as `RESET`."""
    DROP_CONNECTION = "drop_connection"
    """Cut the connection without a word (APNs: every stream on it)."""


class Delay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Time before the answer, milliseconds: uniform between `low` and `high`, plus an exponential
    tail of mean `tail`."""

    low: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 0
    high: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 0
    tail: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 0

    def sample_s(self, source: random.Random) -> float:
        """One delay in seconds."""
        ms = self.low
        if self.high > self.low:
            ms += (self.high - self.low) * source.random()
        if self.tail:
            ms += source.expovariate(1 / self.tail)
        return ms / 1000


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One misbehaviour. The first rule that matches a request decides it.

    `token_prefix` "" matches all. `every` n applies to each n-th matching request, `first` n to the
    first n of those; a request the rule lets pass goes to the next rule. `status` None with
    `ANSWER` means the normal answer (with this rule's delay). `body` replaces the provider's error
    body; `empty_body` sends none; `split_body` sends it in two pieces.
    """

    token_prefix: str = ""
    every: Annotated[int, msgspec.Meta(ge=1)] = 1
    first: Annotated[int, msgspec.Meta(ge=1)] | None = None
    action: Action = Action.ANSWER
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    reason: str | None = None
    retry_after: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    timestamp_ms: int | None = None
    body: str | None = None
    empty_body: bool = False
    split_body: bool = False
    h2_error: int = 2
    delay: Delay | None = None

    @property
    def answered_status(self) -> int | None:
        """The status the client gets to see, None when it sees none."""
        if self.action in (Action.ANSWER, Action.CLOSE_MID_RESPONSE):
            return self.status or 200
        return None

    @property
    def accepts(self) -> bool:
        """Whether the push counts as taken by the provider."""
        return self.action is Action.ACCEPT_THEN_RESET or self.answered_status == 200


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /standin/rules`; it replaces all rules and their counters."""

    rules: Annotated[list[Rule], msgspec.Meta(max_length=RULES_MAX)]


NORMAL: Final = Rule()


class RuleBook:
    """The rules in force and how often each has been met."""

    def __init__(self, rules: list[Rule], delay: Delay, seed: int = 1) -> None:
        self._source = random.Random(seed)
        self._delay = delay
        self._rules: list[Rule] = []
        self._met: list[int] = []
        self._applied: list[int] = []
        self.replace(rules)

    def replace(self, rules: list[Rule]) -> None:
        """Put `rules` in force; counters start at zero."""
        self._rules = list(rules)
        self._met = [0] * len(rules)
        self._applied = [0] * len(rules)

    def match(self, token: str) -> Rule:
        """The rule for a request to `token`; `NORMAL` when none applies."""
        for index, rule in enumerate(self._rules):
            if not token.startswith(rule.token_prefix):
                continue
            self._met[index] += 1
            if self._met[index] % rule.every:
                continue
            if rule.first is not None and self._applied[index] >= rule.first:
                continue
            self._applied[index] += 1
            return rule
        return NORMAL

    def delay_s(self, rule: Rule) -> float:
        """Seconds before the answer under `rule`."""
        return (rule.delay or self._delay).sample_s(self._source)
