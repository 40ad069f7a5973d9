"""What came of a run over some users: the report is made of it."""

from collections import Counter
from dataclasses import dataclass, field

from engine.backtest.tally import Tally, earlier
from engine.backtest.timelines import Timeline, Trace, first_followed, shown


@dataclass(slots=True)
class Result:
    """`users` of the events, `known` in all, `pending` instances, `sent`: how many users got how
    many messages; `funnel`: the counters by their stored names; `traces` of those who are followed.
    `known_from_ms`: the first event of this run and of those it continues.

    Those of runs over different users of one history add up to that of a run over all of them.
    """

    tally: Tally = field(default_factory=Tally)
    users: int = 0
    known: int = 0
    pending: int = 0
    sent: Counter[int] = field(default_factory=Counter)
    funnel: Counter[str] = field(default_factory=Counter)
    traces: dict[str, Trace] = field(default_factory=dict)
    known_from_ms: int | None = None
    watermark_ms: int = 0

    def add(self, other: "Result") -> None:
        """Add a run over other users."""
        self.tally.add(other.tally)
        self.users += other.users
        self.known += other.known
        self.pending += other.pending
        self.sent.update(other.sent)
        self.funnel.update(other.funnel)
        self.traces = first_followed({**self.traces, **other.traces})
        self.known_from_ms = earlier(self.known_from_ms, other.known_from_ms)
        self.watermark_ms = max(self.watermark_ms, other.watermark_ms)

    def timelines(self) -> list[Timeline]:
        """Of a few users."""
        return shown(self.traces)
