"""`{outcome: clicked, trigger: welcome}`: what became of a message of ours.

How a delivery ended is told by its outcome record, the first of which counts; what followed it by
the client's events (`triggers.attribution`), the first of each stage and delivery. The core hands
both to the pattern under a name that no emitter can use.
"""

from typing import Literal

from pydantic import Field

from triggers.conditions import compile_filter
from triggers.fields import Id
from triggers.names import outcome_name
from triggers.patterns.base import Pattern, PatternContext, PatternKind, Want, When
from triggers.patterns.event import EventPattern

Stage = Literal[
    "accepted",
    "rejected",
    "unregistered",
    "provider_error",
    "unknown",
    "expired",
    "cancelled",
    "template_error",
    "template_abort",
    "delivered",
    "opened",
    "clicked",
    "converted",
    "unsubscribed",
]


class OutcomeWhen(When):
    """`{outcome, trigger}`: a stage that deliveries of that trigger reach."""

    stage: Stage = Field(alias="outcome")
    """The stage a message has reached."""
    trigger: Id
    """The trigger whose message it was."""


def _build(when: OutcomeWhen, context: PatternContext) -> Pattern:
    want = Want(outcome_name(when.trigger, when.stage), compile_filter(None))
    return EventPattern((want,), context.keep_start)


OUTCOME = PatternKind("outcome", OutcomeWhen, _build, one_event=True)
