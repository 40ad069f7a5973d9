"""What stands in for a pattern that can be written and checked, but not run yet.

A definition with such a pattern can only be a draft (`PatternKind.later`), and drafts are not
compiled into what shards run; an apply compiles them as a proof that they are whole.
"""

from typing import Any

from triggers.patterns.base import Pattern, PatternContext, Want


class NotYet(Pattern):
    """Wants nothing and never wakes up."""

    wants: tuple[Want, ...] = ()


def build_not_yet(when: Any, context: PatternContext) -> Pattern:
    """The `build` of a kind that runs later."""
    return NotYet()
