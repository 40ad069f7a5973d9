"""A canary: some users get a new revision of a trigger, the others the one before.

A version of the registry with canaries is one program for each share: the whole version as the
users below that share see it. So everything that decides works with one revision of each trigger,
and `triggers.decide` only chooses the program of the user. Who is below 5 % is below 20 % too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from schemas.events import Event
from triggers.program import NO_HITS, Hits, Program

#: An event that means something to a canary's users, and nothing to the others.
_NOT_OURS = Hits((), (), ())


@dataclass(slots=True)
class SplitProgram(Program):
    """A program with canaries, as those users see it who are in none."""

    def hits(self, event: Event) -> Hits | None:
        """As `Program.hits`, for whoever the user is: None and `NO_HITS` hold for every program."""
        found = Program.hits(self, event)
        if found is not None and found is not NO_HITS:
            return found
        for _, canary in self.canaries:
            other = canary.hits(event)
            if other is not None and other is not NO_HITS:
                return _NOT_OURS
            found = found or other
        return found


def split(program: Program, canaries: Iterable[tuple[int, Program]]) -> Program:
    """`program` with those of users below each share (in buckets), the smallest share first."""
    values = {made.name: getattr(program, made.name) for made in fields(program) if made.init}
    return SplitProgram(**{**values, "canaries": tuple(canaries)})
