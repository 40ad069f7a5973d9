"""Who is in which arm: pure functions of a seed, the user and log time, without any memory.

- `Experiment.arm`: a variant or `control`, by the bucket of the user under the trigger's seed.
- `GlobalControl.holds`: whether a user belongs to the global control group in a month.

The ranges are those of GrowthBook's `getBucketRanges` (SDK specification), in whole buckets: the
first share gets the buckets from 0 on. Control comes first, then the variants by name, so the order
in a file means nothing. The seed holds the trigger's id and nothing that an edit changes: with
other weights most users keep their arm, and only those between the old and the new bounds move.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import accumulate
from typing import NamedTuple

from triggers.buckets import BUCKETS, bucket

#: Its own seed, so that no experiment sees more of the group than its share.
GLOBAL_SEED = "global_control"
#: The arm of a trigger's own control group: no variant can be called so.
CONTROL = "control"


class Experiment(NamedTuple):
    """`ranges`: the first bucket beyond each arm, and the arm. `ends_ms` 0: it runs throughout.

    `lasts_ms`: how long; `from_start`: users part when their instance starts.
    """

    seed: str
    ranges: tuple[tuple[int, str], ...]
    ends_ms: int
    lasts_ms: int
    from_start: bool = False

    def arm(self, user: str, at_ms: int) -> str:
        """The user's arm, "" when the experiment is over."""
        if self.ends_ms and at_ms >= self.ends_ms:
            return ""
        drawn = bucket(self.seed, user)
        for beyond, arm in self.ranges:
            if drawn < beyond:
                return arm
        return ""


def bucket_ranges(shares: Iterable[tuple[str, int]]) -> tuple[tuple[int, str], ...]:
    """(first bucket beyond it, arm) of each arm with its share; those without any are left out."""
    given = [(arm, share) for arm, share in shares if share]
    bounds = accumulate(share for _, share in given)
    return tuple((bound, arm) for bound, (arm, _) in zip(bounds, given, strict=True))


class GlobalControl(NamedTuple):
    """A window of `size` buckets that moves on by `rotate` buckets with each month."""

    size: int
    rotate: int

    def holds(self, user: str, at_ms: int) -> bool:
        """Whether the user is in the group at log time `at_ms`."""
        return (bucket(GLOBAL_SEED, user) - self.starts(at_ms)) % BUCKETS < self.size

    def starts(self, at_ms: int) -> int:
        """The first bucket of the window in the month (UTC) of `at_ms`."""
        moment = datetime.fromtimestamp(at_ms // 1000, UTC)
        return (moment.year * 12 + moment.month) * self.rotate % BUCKETS
