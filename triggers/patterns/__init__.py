"""Patterns: what has to happen before a trigger has something to say.

Three primitives meet here. A `Pattern` watches one user: it names the events it wants, is told of
each match (`on_event`), and may ask to be woken (`due`, `on_due`). It answers with an `Activation`
when it is complete, else None. `Want` is an event name with its filter.

A new pattern is one file here and one row in `triggers.compile.COMPILERS`. Absence is no pattern:
`unless` + `wait` turns the completed activation of any pattern into a pending instance
(`triggers.absence`).
"""

from triggers.patterns.base import Activation, Pattern, Want
from triggers.patterns.event import EventPattern
from triggers.patterns.idle import IdlePattern

__all__ = ["Activation", "EventPattern", "IdlePattern", "Pattern", "Want"]
