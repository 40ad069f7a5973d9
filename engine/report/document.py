"""The report as a versioned document (docs/interfaces.md, Report)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from engine.report.counters import Counted, stages
from engine.report.funnel import Funnel, funnel_json, funnel_of
from engine.report.plans import Plan
from engine.report.readout import Comparison, Effect, Readout, compare
from engine.report.score import rating
from engine.report.sequences import TUNED_FOR_USERS, Interval
from engine.report.weeks import Week, Year, week_name, weeks_of, year_of


class Days(NamedTuple):
    """UTC days since 1970, from the first to before the second; None: open."""

    since: int | None = None
    before: int | None = None

    def holds(self, day: int) -> bool:
        return (self.since is None or day >= self.since) and not self.are_over(day)

    def are_over(self, day: int) -> bool:
        return self.before is not None and day >= self.before


EVER: Final = Days()


class Group(NamedTuple):
    """What counters of messages are kept apart by. `channel` "": before one was chosen."""

    revision: int
    variant: str
    channel: str
    day: int


class Told(NamedTuple):
    """What became of one trigger. `experiments`: of the revisions that shared users out."""

    funnel: Funnel
    groups: dict[Group, Funnel]
    experiments: dict[int, Readout]


class Report(NamedTuple):
    """`year` None: nobody was reached, or the days end earlier than the counters."""

    days: Days
    triggers: dict[str, Told]
    weeks: list[Week]
    year: Year | None


def make_report(
    rows: Iterable[Counted],
    plans: Mapping[str, Mapping[int, Plan]],
    days: Days = EVER,
    only: str | None = None,
) -> Report:
    """Put counters together. `plans`: of each trigger's revisions. `only`: this trigger alone. An
    experiment counts from its first day on."""
    seen = [row for row in rows if not days.are_over(row.day)]
    late = days.before is not None and any(days.are_over(row.day) for row in rows)
    inside = [row for row in seen if days.holds(row.day)]
    names = sorted({row.trigger for row in inside if row.trigger} | plans.keys())
    return Report(
        days,
        {
            name: Told(
                funnel_of(row for row in inside if row.trigger == name),
                _groups(row for row in inside if row.trigger == name),
                _readouts((row for row in seen if row.trigger == name), plans.get(name, {})),
            )
            for name in names
            if only in (None, name)
        },
        weeks_of(inside) if only is None else [],
        year_of(seen) if only is None and not late else None,
    )


def report_json(report: Report) -> dict[str, Any]:
    """Without the version, which the command adds."""
    since, before = report.days
    return {
        "from": None if since is None else day_text(since),
        "to": None if before is None else day_text(before),
        "triggers": {name: _told(told) for name, told in report.triggers.items()},
        "weeks": [
            {"week": week_name(week.day), **week._asdict(), "day": day_text(week.day)}
            for week in report.weeks
        ],
        "year": None
        if report.year is None
        else {
            "until": day_text(report.year.until_day),
            "unsubscribed": report.year.unsubscribed,
            "reached": report.year.reached,
            "rate": report.year.rate,
        },
    }


def day_text(day: int) -> str:
    """`2026-11-22`."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%d")


def _groups(rows: Iterable[Counted]) -> dict[Group, Funnel]:
    found: dict[Group, list[Counted]] = {}
    for row in rows:
        group = Group(row.revision, row.variant, row.channel, row.day)
        found.setdefault(group, []).append(row)
    made = {group: funnel_of(found[group]) for group in sorted(found)}
    # The counters of an experiment are of users: a group of them alone holds no message.
    return {group: funnel for group, funnel in made.items() if funnel != _NOTHING}


def _readouts(rows: Iterable[Counted], plans: Mapping[int, Plan]) -> dict[int, Readout]:
    counts: dict[int, dict[str, Counter[str]]] = {}
    for (revision, variant), found in stages(rows, lambda row: (row.revision, row.variant)).items():
        counts.setdefault(revision, {})[variant] = found
    return {
        revision: compare(arms, plans.get(revision, _UNKNOWN))
        for revision, arms in sorted(counts.items())
        if any(found["USERS"] for found in arms.values())
    }


def _told(told: Told) -> dict[str, Any]:
    return {
        "funnel": funnel_json(told.funnel),
        "groups": [
            {**group._asdict(), "day": day_text(group.day), **funnel_json(funnel)}
            for group, funnel in told.groups.items()
        ],
        "experiments": [
            {"revision": revision, **_experiment(found)}
            for revision, found in told.experiments.items()
        ],
    }


def _experiment(readout: Readout) -> dict[str, Any]:
    whole = sum(readout.shares.values())
    return {
        "baseline": readout.baseline,
        "confidence": _digits(1 - readout.alpha),
        "tuned_for_users": TUNED_FOR_USERS,
        "sample_ratio": {"p": _digits(readout.balance.p), "mismatch": readout.balance.mismatch},
        "arms": {
            name: {
                "share": readout.shares[name] / whole if name in readout.shares else None,
                "users": arm.users,
                "converters": arm.converters,
                "goals": arm.goals.total,
                "value": _digits(arm.value.total * arm.value.unit),
                "unsubscribers": arm.unsubscribers,
                "value_per_user": _digits(arm.value.mean),
            }
            for name, arm in sorted(readout.arms.items())
        },
        "comparisons": {name: _comparison(found) for name, found in readout.comparisons.items()},
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "verdict": found.verdict.value,
        "conversion": _effect(found.conversion),
        "goals": _effect(found.goals),
        "value": _effect(found.value),
        "unsubscribed": _effect(found.unsubscribed),
        "crm_score": None
        if found.crm is None
        else {**_interval(found.crm), "rating": rating(found.crm.estimate)},
    }


def _effect(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    lifted = None if effect.lift is None else _interval(effect.lift)
    return {"difference": _interval(effect.difference), "lift": lifted}


def _interval(interval: Interval) -> dict[str, Any]:
    return {name: _digits(value) for name, value in interval._asdict().items()}


def _digits(value: float) -> float | None:
    """Nine digits, which every machine's mathematics agree on; None for no bound."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


#: Of a revision whose definition is gone.
_UNKNOWN: Final = Plan({})
_NOTHING: Final = funnel_of(())
