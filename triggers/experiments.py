"""Experiments and the global control group, as their authors write them.

Whom an arm gets is `triggers.arms`; when a user begins to count is `triggers.exposure`. Source of
the rules: the sections "Experiments" and "Control groups" of docs/language.md.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from triggers.arms import CONTROL
from triggers.buckets import BUCKETS
from triggers.fields import Channel, Id, Share, Url, WaitMs, WindowMs, share_text
from triggers.hours import SendAt
from triggers.messages import Message
from triggers.model import Model, refusal
from triggers.problems import Location, Problem

VARIANTS_MAX = 20
CHANNELS_MAX = 10
#: An experiment ends after four weeks unless it says otherwise.
UNTIL_MS = 28 * 86_400_000


class Channels(Model):
    """The channels of a message in their order."""

    order: Annotated[tuple[Channel, ...], Field(min_length=1, max_length=CHANNELS_MAX)]
    """The channels, the first one first."""
    send: Literal["first", "all"] = "first"
    """first: the next one only when the one before has failed for certain; all of them."""


class VariantSet(Model):
    """What a variant changes of its trigger."""

    row = "variant_set"

    message: Message | None = None
    """Instead of the trigger's message; without a `link` that one's link stays."""
    link: Url | None = None
    """What opens on a tap, instead of the trigger's; Liquid."""
    channels: Channels | None = None
    """Instead of the trigger's."""
    wait_ms: WaitMs | None = Field(default=None, alias="wait")
    """Instead of the trigger's `wait`: users then count from the instance's start."""
    send_at: SendAt | None = None
    """Instead of the trigger's `send_at`: users then count from the start, too."""

    @property
    def changes_time(self) -> bool:
        """The arms part when an instance starts, not when it is decided."""
        return self.wait_ms is not None or self.send_at is not None

    def cross_problems(self) -> Iterable[Problem]:
        if not self.model_fields_set:
            yield Problem((), "`set` says what the variant changes, such as {link: ...}")


class Variant(Model):
    """One variant: its share of the users and what it changes."""

    weight: Share
    """Its share of the users."""
    set_: VariantSet | None = Field(default=None, alias="set")
    """What it changes; without it the variant is the trigger as it is written."""


def _as_variant(value: Any) -> Any:
    return {"weight": value} if isinstance(value, str | int | float) else value


def _not_control(variants: dict[str, Variant]) -> dict[str, Variant]:
    if CONTROL in variants:
        message = "`control` stands beside `variants`, a variant has another name"
        raise refusal([Problem((CONTROL,), message, at_key=True)])
    return variants


_Variant = Annotated[Variant, BeforeValidator(_as_variant, json_schema_input_type=Share | Variant)]


class Experiment(Model):
    """Who gets which variant of a trigger, and who gets nothing; the shares sum to 100%."""

    row = "experiment"

    control: Share = 0
    """The share of users who get nothing, and are measured like the others."""
    variants: Annotated[
        dict[Id, _Variant],
        Field(min_length=1, max_length=VARIANTS_MAX),
        AfterValidator(_not_control),
    ]
    """The variants by name: a share, or {weight: ..., set: {...}}."""
    until_ms: WindowMs = Field(default=UNTIL_MS, alias="until")
    """How long it runs from the registration of its revision; then everyone gets the trigger as
    it is written."""

    def cross_problems(self) -> Iterable[Problem]:
        total = self.control + sum(variant.weight for variant in self.variants.values())
        if total != BUCKETS:
            message = "`control` and the weights of `variants` sum to 100%"
            yield Problem((), f"{message}, not {share_text(total)}")

    @property
    def changes_time(self) -> bool:
        """Users count from the instance's start: a variant changes when it is decided."""
        return any(one.set_ is not None and one.set_.changes_time for one in self.variants.values())

    def sets(self, variant: str) -> VariantSet | None:
        """What a variant changes, None for nothing or for no such variant."""
        found = self.variants.get(variant)
        return None if found is None else found.set_

    def problems_beside(
        self,
        *,
        transactional: bool,
        has_message: bool,
        wait_ms: int | None,
        in_series: bool,
        in_turns: bool,
        restart_at_most_ms: int | None,
    ) -> Iterable[Problem]:
        """What does not fit the rest of the trigger, located from the experiment on."""
        if transactional and self.control:
            message = "a transactional message is withheld from nobody: no `control`"
            yield Problem((CONTROL,), message, at_key=True)
        for name, variant in self.variants.items():
            if variant.set_ is None:
                continue
            at: Location = ("variants", name, "set")
            if variant.set_.message is not None and (in_series or in_turns):
                kind = "series" if in_series else "rotate"
                message = f"the messages of a `{kind}` stand in `messages`: no `message` here"
                yield Problem((*at, "message"), message, at_key=True)
            for field in ("message", "link"):
                if getattr(variant.set_, field) is not None and not has_message:
                    message = f"the trigger has no message that `{field}` could change"
                    yield Problem((*at, field), message, at_key=True)
            yield from _wait_problems(
                variant.set_.wait_ms, (*at, "wait"), wait_ms, in_series, restart_at_most_ms
            )


def _wait_problems(
    own_ms: int | None,
    at: Location,
    wait_ms: int | None,
    in_series: bool,
    restart_at_most_ms: int | None,
) -> Iterable[Problem]:
    if own_ms is None:
        return
    if in_series:
        yield Problem(at, "`series` says when: a variant cannot change `wait`", at_key=True)
    elif wait_ms is None:
        message = "the trigger has no `wait` that the variant could change"
        yield Problem(at, message, at_key=True)
    elif restart_at_most_ms is not None and own_ms > restart_at_most_ms:
        yield Problem(at, "`restart_at_most` of the trigger is at least each `wait`")


class GlobalControlGroup(Model):
    """The users who get no marketing message at all, a slowly changing share of everybody."""

    size: Share = 1_000
    """The share of the users."""
    rotate: Share = 200
    """The share that leaves and is replaced at the beginning of each month, UTC."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.size and self.rotate > self.size:
            yield Problem(("rotate",), f"`rotate` is at most `size`, {share_text(self.size)}")
