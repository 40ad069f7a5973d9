"""Patterns: what has to happen before a trigger has something to say.

Three primitives meet here. A `Pattern` watches one user: it names the events it wants, is told of
each match (`on_event`), and may ask to be woken (`due`, `on_due`). It answers with an `Activation`
when it is complete, else None. `Want` is an event name with its filter.

A new pattern is one file here, with its model, its class and its `PatternKind`, and one row in
`KINDS`. Absence is no pattern: `unless` + `wait` turns the completed activation of any pattern
into a pending instance (`triggers.absence`).
"""

from triggers.patterns.base import Activation, Occasion, Pattern, PatternKind, Want, When
from triggers.patterns.count import COUNT
from triggers.patterns.date import DATE
from triggers.patterns.event import EVENT, EventPattern, EventWhen
from triggers.patterns.idle import IDLE, IdlePattern, IdleWhen
from triggers.patterns.item import ITEM
from triggers.patterns.outcome import OUTCOME
from triggers.patterns.place import PLACE
from triggers.patterns.schedule import SCHEDULE
from triggers.patterns.sequence import SEQUENCE
from triggers.patterns.session import SESSION
from triggers.patterns.signal import SIGNAL
from triggers.patterns.trait import TRAIT

__all__ = [
    "KINDS",
    "Activation",
    "EventPattern",
    "EventWhen",
    "IdlePattern",
    "IdleWhen",
    "Occasion",
    "Pattern",
    "PatternKind",
    "Want",
    "When",
    "kind_of",
]

KINDS: tuple[PatternKind, ...] = (
    EVENT,
    COUNT,
    SEQUENCE,
    IDLE,
    TRAIT,
    DATE,
    SESSION,
    PLACE,
    SIGNAL,
    OUTCOME,
    ITEM,
    SCHEDULE,
)


def kind_of(when: When) -> PatternKind:
    """The kind of a pattern's model."""
    return _BY_MODEL[type(when)]


_BY_MODEL = {kind.model: kind for kind in KINDS}
