"""The seven stages of a message, and why candidates did not become one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from engine.report.counters import Counted, add_up
from engine.report.plans import CONTROL, GLOBAL_CONTROL
from schemas.reasons import REACTIONS, Outcome, Reason

#: What becomes of messages, in order, with the counter of each stage.
STAGES: Final = {
    "prepared": Outcome.ADMITTED.value,
    "handed_over": Reason.ACCEPTED.value,
    "delivered": "DELIVERED",
    "opened": "OPENED",
    "clicked": "CLICKED",
    "converted": "CONVERTED",
    "unsubscribed": "UNSUBSCRIBED",
}
_MATCHED: Final = "MATCHED"
_VALUE: Final = "VALUE"
_VALUE_UNIT: Final = 1_000_000
_ENDED_BEFORE: Final = (Outcome.CANCELLED, Outcome.EXPIRED)
_REASONS: Final = frozenset({*Reason, Outcome.BUNDLED} - REACTIONS)


class Funnel(NamedTuple):
    """Counts of messages, `value` in units. `suppressed`: candidates by reason. `failed`: prepared
    messages that were not handed over, by reason. `expired`: candidates that were held too long;
    `cancelled`: what waited and never became one. `ghost`: what followed messages that a control
    group did not get, whose candidates are suppressed."""

    matched: int
    suppressed: dict[str, int]
    stages: dict[str, int]
    failed: dict[str, int]
    value: float
    cancelled: int
    expired: int
    ghost_converted: int
    ghost_value: float


def funnel_of(rows: Iterable[Counted]) -> Funnel:
    """Add up the counters of whatever rows these are."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    ghosts: Counter[str] = Counter()
    for row in rows:
        if not row.channel:
            before[row.stage] += row.number
        elif row.variant in (CONTROL, GLOBAL_CONTROL):
            ghosts[row.stage] += row.number
        else:
            after[row.stage] += row.number
    return Funnel(
        matched=before[_MATCHED],
        suppressed=_reasons(before, set(_ENDED_BEFORE)),
        stages={name: after[stage] for name, stage in STAGES.items()},
        failed=_reasons(after, {Reason.ACCEPTED}),
        value=after[_VALUE] / _VALUE_UNIT,
        cancelled=before[Outcome.CANCELLED],
        expired=before[Outcome.EXPIRED],
        ghost_converted=ghosts[STAGES["converted"]],
        ghost_value=ghosts[_VALUE] / _VALUE_UNIT,
    )


def add_funnels(funnels: Sequence[Funnel]) -> Funnel:
    """The funnel of all their rows."""
    return Funnel(
        matched=sum(funnel.matched for funnel in funnels),
        suppressed=_most_first(add_up(funnel.suppressed for funnel in funnels)),
        stages={name: sum(funnel.stages[name] for funnel in funnels) for name in STAGES},
        failed=_most_first(add_up(funnel.failed for funnel in funnels)),
        value=sum(funnel.value for funnel in funnels),
        cancelled=sum(funnel.cancelled for funnel in funnels),
        expired=sum(funnel.expired for funnel in funnels),
        ghost_converted=sum(funnel.ghost_converted for funnel in funnels),
        ghost_value=sum(funnel.ghost_value for funnel in funnels),
    )


def funnel_json(funnel: Funnel) -> dict[str, Any]:
    """The fields of docs/interfaces.md, Report."""
    fields = funnel._asdict()
    stages = fields.pop("stages")
    return {"matched": fields.pop("matched"), **stages, **fields}


def _reasons(counts: Counter[str], without: Set[str]) -> dict[str, int]:
    found = Counter({stage: counts[stage] for stage in counts if stage in _REASONS - without})
    return _most_first(+found)


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
