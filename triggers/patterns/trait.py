"""`{trait: plan, from: free, to: pro}`: a trait of the user changed.

A trait changes when an identify event, or `context.traits` of another, says something else than is
known, in log order. The first value ever heard is no change: whoever registers such a trigger
would else speak to every user whose next identify repeats what has been so for years. A null takes
the trait away: a change to nothing, after which the next value is a first one again.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from schemas.events import Event
from schemas.reasons import Unevaluated
from triggers.conditions import compile_filter
from triggers.fields import Scalar, TraitPath
from triggers.names import IDENTIFY
from triggers.operators import equals
from triggers.patterns.base import (
    Activation,
    Occasion,
    Pattern,
    PatternContext,
    PatternKind,
    Want,
    When,
    of_one,
)
from triggers.problems import Problem
from triggers.state import UserState
from triggers.traits import UNTOLD, same_value, told_trait


class TraitWhen(When):
    """`{trait, from, to}`: from any known value to any other, unless they are named."""

    trait: TraitPath
    """The path of the trait below traits."""
    from_: Scalar | None = Field(default=None, alias="from")
    """What it was before."""
    to: Scalar | None = None
    """What it is now."""

    def cross_problems(self) -> Iterable[Problem]:
        if self.from_ is not None and self.to is not None and same_value(self.from_, self.to):
            yield Problem(("to",), "`from` and `to` are the same: that is no change")


@dataclass(frozen=True, kw_only=True)
class TraitPattern(Pattern):
    """Compares what an event says with what the state knows until then; remembers nothing."""

    path: str
    before: Any
    after: Any
    wants: tuple[Want, ...]
    traits: tuple[str, ...]
    declared: Callable[[Event], dict[str, Any]]
    remembers: bool = False

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool | Unevaluated:
        event, _, e, _ = occasion
        told = told_trait(self.path, event)
        known = state.traits.get(self.path)
        if told is UNTOLD or known is None or same_value(known, told):
            return False
        if not _is(known, self.before) or not _is(told, self.after):
            return False
        return of_one(event, e, self.declared(event))


def _is(value: Any, wanted: Any) -> bool:
    return wanted is None or (value is not None and equals(value, wanted) is True)


def _build(when: TraitWhen, context: PatternContext) -> Pattern:
    return TraitPattern(
        path=when.trait,
        before=when.from_,
        after=when.to,
        wants=(Want(IDENTIFY, compile_filter(None)),),
        traits=(when.trait,),
        declared=context.keep_start,
    )


TRAIT = PatternKind("trait", TraitWhen, _build, one_event=True)
