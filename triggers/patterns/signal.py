"""`{signal: name, where}`: somebody says so: an entry by API, by a campaign, by a model's score.

A signal is a record of the engine in the user's shard (`schemas.records.SignalRecord`), so that no
emitter can forge one. It is not something the user did: neither activity nor a lesson about them.
"""

from pydantic import Field

from triggers.conditions import compile_filter
from triggers.fields import SignalName, Where
from triggers.names import signal_name
from triggers.patterns.base import Pattern, PatternContext, PatternKind, Want, When
from triggers.patterns.event import EventPattern


class SignalWhen(When):
    """`{signal, where}`: each signal of that name completes the pattern at once."""

    name: SignalName = Field(alias="signal")
    """The name of the signal."""
    where: Where | None = None
    """What the properties of the signal have to fulfil."""


def _build(when: SignalWhen, context: PatternContext) -> Pattern:
    want = Want(signal_name(when.name), compile_filter(when.where))
    return EventPattern((want,), context.keep_start)


SIGNAL = PatternKind("signal", SignalWhen, _build, one_event=True)
