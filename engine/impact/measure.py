"""Both definitions over the same events, and what differs in the outcome."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final, NamedTuple

from engine.backtest.run import Backtest
from engine.backtest.session import Definitions, make_run
from engine.backtest.spill import Row, Spill
from engine.backtest.tally import TriggerTally
from schemas.events import Event
from schemas.reasons import Outcome
from triggers.state import DAY_MS

#: Events decided by one side before the other has its turn.
_CHUNK: Final = 2_000
MONTH_DAYS: Final = 30
#: What of a candidate that was sent before is not there at all any more.
NOT_A_CANDIDATE: Final = "NOT_A_CANDIDATE"


class Side(NamedTuple):
    """What one trigger, or all, did with one of the definitions. `days` is the length of the
    history."""

    candidates: int
    admitted: int
    suppressed: int
    days: float

    @property
    def per_day(self) -> float:
        """Sends a day."""
        return self.admitted / self.days

    @property
    def per_month(self) -> float:
        """Sends in 30 days."""
        return self.per_day * MONTH_DAYS


class PerUserDay(NamedTuple):
    """Messages a user gets on a day (UTC) with any; `over`: users with more than `limit` a day."""

    p99: int
    most: int
    over: int


@dataclass(slots=True)
class TriggerImpact:
    """Activations: `sent` before, `lost` by reason what of that is not sent now, `gained` sent now
    and not before."""

    before: Side
    after: Side
    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gained: int = 0


class Pair(NamedTuple):
    """A trigger kept back by a message of another, before and after."""

    kept_back: str
    by: str
    reason: str
    before: int
    after: int


@dataclass(slots=True)
class Impact:
    """`over`: the messages a day that `PerUserDay.over` counts beyond."""

    events: int
    users: int
    days: float
    over: int
    triggers: dict[str, TriggerImpact]
    total: TriggerImpact
    per_user_day: tuple[PerUserDay, PerUserDay]
    collisions: list[Pair]
    runs: tuple[Backtest, Backtest]


def measure(
    before: Definitions,
    after: Definitions,
    events: Iterable[tuple[int, Event]],
    *,
    over: int,
    assume_devices: bool = True,
) -> Impact:
    """Backtest both over `events` (append time, event), pending timers left pending."""
    spills = Spill(_by_activation), Spill(_by_activation)
    runs = (
        make_run(before, spills[0].add, assume_devices=assume_devices),
        make_run(after, spills[1].add, assume_devices=assume_devices),
    )
    rows = iter(events)
    while chunk := list(islice(rows, _CHUNK)):
        for run in runs:
            run.feed(chunk)
    for run in runs:
        run.finish(drain=False)
    first_ms = runs[0].tally.first_ms
    span_ms = 0 if first_ms is None else runs[0].watermark_ms - first_ms
    days = max(1.0, span_ms / DAY_MS)
    triggers, total = _triggers(runs, days)
    for name, sent_before, lost in _moved(*spills):
        for found in (triggers[name], total):
            found.sent += sent_before
            found.gained += not sent_before
            if lost:
                found.lost[lost] += 1
    return Impact(
        events=runs[0].tally.events,
        users=runs[0].users,
        days=days,
        over=over,
        triggers=triggers,
        total=total,
        per_user_day=(_per_user_day(runs[0], over), _per_user_day(runs[1], over)),
        collisions=_collisions(runs),
        runs=runs,
    )


def _by_activation(row: Row) -> tuple[str, str, str]:
    _, user, trigger, activation, *_ = row
    return trigger, user, activation


def _triggers(
    runs: tuple[Backtest, Backtest], days: float
) -> tuple[dict[str, TriggerImpact], TriggerImpact]:
    none = TriggerTally()
    before, after = runs[0].tally.triggers, runs[1].tally.triggers
    found = {
        name: TriggerImpact(
            _side([before.get(name, none)], days), _side([after.get(name, none)], days)
        )
        for name in sorted(before | after)
    }
    return found, TriggerImpact(_side(before.values(), days), _side(after.values(), days))


def _side(tallies: Iterable[TriggerTally], days: float) -> Side:
    found = list(tallies)
    return Side(
        sum(one.candidates for one in found),
        sum(one.admitted for one in found),
        sum(one.suppressed.total() for one in found),
        days,
    )


def _moved(before: Spill, after: Spill) -> Iterator[tuple[str, bool, str]]:
    """(trigger, was it sent before, why it is not now) for each activation that either sent."""
    sides = [groupby(spill.rows(), _by_activation) for spill in (before, after)]
    heads = [next(side, None) for side in sides]
    while heads[0] is not None or heads[1] is not None:
        key = min(head[0] for head in heads if head is not None)
        sent: list[bool] = []
        reasons: list[str] = []
        for number, head in enumerate(heads):
            rows = list(head[1]) if head is not None and head[0] == key else []
            outcomes = {row[4]: row[5] for row in rows}
            sent.append(Outcome.ADMITTED.value in outcomes)
            reasons = [row[5] or row[4] for row in rows]
            if rows:
                heads[number] = next(sides[number], None)
        if any(sent):
            lost = "" if sent[1] else (reasons[0] if reasons else NOT_A_CANDIDATE)
            yield key[0], sent[0], lost


def _per_user_day(run: Backtest, over: int) -> PerUserDay:
    days = +run.tally.user_days
    users = sum(1 for slot in run.held.slots.values() if slot.day_most > over)
    return PerUserDay(percentile(days, 0.99), max(days, default=0), users)


def percentile(counts: Counter[int], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed; 0 without any."""
    left = share * counts.total()
    for value in sorted(counts):
        left -= counts[value]
        if left <= 1e-9:
            return value
    return 0


def _collisions(runs: tuple[Backtest, Backtest]) -> list[Pair]:
    found: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for number, run in enumerate(runs):
        for pair, count in run.tally.collisions.items():
            found[pair][number] = count
    pairs = [Pair(*pair, *counts) for pair, counts in found.items()]
    return sorted(pairs, key=lambda pair: (-abs(pair.after - pair.before), -pair.after, pair))
