"""A canary beside the revision of everyone else, by the same days."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.report.counters import Counted
from engine.report.funnel import Funnel, funnel_of
from triggers.buckets import BUCKETS
from triggers.fields import share_text

CANARY: Final = "canary"
LIVE: Final = "live"


class Canary(NamedTuple):
    """A canary of the registry: `share` of the users (in buckets) get `revision`, the others
    `live`; it was registered on `since`, a UTC day since 1970."""

    revision: int
    live: int
    share: int
    since: int


class Side(NamedTuple):
    """One of the two revisions. `role`: `canary` or `live`; `share` in buckets."""

    role: str
    revision: int
    share: int
    funnel: Funnel

    @property
    def name(self) -> str:
        """`canary revision 7, 10 % of users`."""
        share = share_text(self.share).replace("%", " %")
        return f"{self.role} revision {self.revision}, {share} of users"


class Compared(NamedTuple):
    """Both revisions from the UTC day `since` on."""

    since: int
    sides: tuple[Side, Side]


def side_by_side(rows: Iterable[Counted], canary: Canary, since: int | None) -> Compared:
    """The counters of one trigger from the canary's first day on, or from `since` if that is
    later."""
    first = canary.since if since is None else max(since, canary.since)
    found = [row for row in rows if row.day >= first]

    def side(role: str, revision: int, share: int) -> Side:
        funnel = funnel_of(row for row in found if row.revision == revision)
        return Side(role, revision, share, funnel)

    return Compared(
        first,
        (
            side(CANARY, canary.revision, canary.share),
            side(LIVE, canary.live, BUCKETS - canary.share),
        ),
    )
