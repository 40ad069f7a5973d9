"""The report as a versioned document (docs/interfaces.md, Report)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from engine.report.canaries import Canary, Compared, side_by_side
from engine.report.counters import Counted, stages
from engine.report.funnel import Funnel, funnel_json, funnel_of
from engine.report.plans import Plan
from engine.report.readout import Comparison, Effect, Readout, compare
from engine.report.score import rating
from engine.report.sequences import TUNED_FOR_USERS, Interval
from engine.report.weeks import Week, Year, week_name, weeks_of, year_of
from triggers.buckets import BUCKETS


class Days(NamedTuple):
    """UTC days since 1970, from the first to before the second; None: open."""

    since: int | None = None
    before: int | None = None

    def holds(self, day: int) -> bool:
        return (self.since is None or day >= self.since) and not self.are_over(day)

    def are_over(self, day: int) -> bool:
        return self.before is not None and day >= self.before


EVER: Final = Days()
_NO_CANARIES: Final[Mapping[str, Canary]] = {}


class Group(NamedTuple):
    """What counters of messages are kept apart by. `channel` "": before one was chosen."""

    revision: int
    variant: str
    channel: str
    day: int


class Told(NamedTuple):
    """What became of one trigger. `experiments`: of the revisions that shared users out.
    `canary`: both revisions, while there is one."""

    funnel: Funnel
    groups: dict[Group, Funnel]
    experiments: dict[int, Readout]
    canary: Compared | None = None


class Report(NamedTuple):
    """`year` None: nobody was reached, or the days end earlier than the counters. `notes`: what
    these options leave out, and why."""

    days: Days
    triggers: dict[str, Told]
    weeks: list[Week]
    year: Year | None
    notes: tuple[str, ...] = ()


def make_report(
    rows: Iterable[Counted],
    plans: Mapping[str, Mapping[int, Plan]],
    days: Days = EVER,
    only: str | None = None,
    canaries: Mapping[str, Canary] = _NO_CANARIES,
) -> Report:
    """Put counters together. `plans`: of each trigger's revisions. `only`: this trigger alone.
    `canaries`: those in force. An experiment counts from its first day on."""
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
                _canary((row for row in inside if row.trigger == name), canaries.get(name), days),
            )
            for name in names
            if only in (None, name)
        },
        weeks_of(inside) if only is None else [],
        year_of(seen) if only is None and not late else None,
        tuple(_left_out(seen, days, late=late, only=only)),
    )


def _canary(rows: Iterable[Counted], canary: Canary | None, days: Days) -> Compared | None:
    return None if canary is None else side_by_side(rows, canary, days.since)


def _left_out(seen: list[Counted], days: Days, *, late: bool, only: str | None) -> Iterable[str]:
    """Why tables about users are short or not there."""
    weeks, year = weeks_of(seen), year_of(seen)
    if only is not None:
        if weeks or year is not None:
            yield (
                "messages per user and week and the yearly rate are of all triggers together: "
                "leave TRIGGER out to see them"
            )
        return
    cut = sum(not days.holds(week.day) for week in weeks)
    if cut:
        what = "1 week that began" if cut == 1 else f"{cut:,} weeks that began"
        yield (
            f"{what} before {day_text(days.since or 0)} left out of messages per user and week: "
            "a user's messages are counted by whole weeks, from Monday on"
        )
    if late and year is not None:
        yield (
            "the yearly rate is not told with --to: a user counts at the day they were last "
            "reached, so only the year up to now is known"
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
        "notes": list(report.notes),
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
        "canary": None if told.canary is None else _compared(told.canary),
    }


def _compared(found: Compared) -> dict[str, Any]:
    return {
        "since": day_text(found.since),
        "revisions": [
            {
                "role": side.role,
                "revision": side.revision,
                "share": side.share / BUCKETS,
                **funnel_json(side.funnel),
            }
            for side in found.sides
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
