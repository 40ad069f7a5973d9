"""The report for a person."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final

from engine.report.canaries import Compared
from engine.report.document import Report, Told, day_text
from engine.report.funnel import STAGES, Funnel, add_funnels
from engine.report.plans import GLOBAL_CONTROL, TREATED
from engine.report.readout import (
    CONVERTERS_MIN,
    USERS_MIN,
    Comparison,
    Effect,
    Readout,
    Verdict,
)
from engine.report.score import rating
from engine.report.sequences import Interval
from engine.report.weeks import week_name
from triggers.exposure import LASTS_MS
from triggers.state import DAY_MS

#: Weeks shown; the JSON has all.
WEEKS_SHOWN: Final = 8
_COUNTS: Final = ("matched", *STAGES)
_FOUND: Final = {
    Verdict.BETTER: "more users convert",
    Verdict.WORSE: "fewer users convert",
    Verdict.OPEN: "no difference found so far",
}


def report_lines(report: Report, by: str | None = None) -> list[str]:
    """Lines for a terminal. `by`: a field of `Group` whose values get a line each."""
    lines: list[str] = []
    since, before = report.days
    if since is not None or before is not None:
        end = "now" if before is None else day_text(before - 1)
        lines += [f"{'the beginning' if since is None else day_text(since)} to {end} (UTC)", ""]
    lines += _funnels(report, by)
    for name, told in report.triggers.items():
        if told.canary is not None:
            lines += ["", *_canary(name, told.canary)]
        for revision in _shown(told):
            readout = told.experiments[revision]
            what = "global control" if GLOBAL_CONTROL in readout.shares else "experiment"
            lines += ["", f"{what} of {name}, revision {revision}", *_experiment(readout)]
    lines += _weeks(report)
    lines += ["", *(f"note: {note}" for note in report.notes)] if report.notes else []
    return lines


def _shown(told: Told) -> list[int]:
    """The newest revision that shared users out; beside a canary that of everyone else too."""
    revisions = sorted(told.experiments)
    if told.canary is None:
        return revisions[-1:]
    return [side.revision for side in told.canary.sides if side.revision in told.experiments]


def _canary(trigger: str, found: Compared) -> list[str]:
    """A column for each revision, a line for each stage and each reason of a refusal."""
    names = [side.name for side in found.sides]
    sides = [_of_side(side.funnel) for side in found.sides]
    rows = [
        [name, *(side.get(name, "0") for side in sides)]
        for name in dict.fromkeys(name for side in sides for name in side)
    ]
    return [
        f"canary of {trigger}, from {day_text(found.since)} on: {names[0]} vs {names[1]}",
        *aligned(["", *(f"{side.role} {side.revision}".upper() for side in found.sides)], rows, 1),
    ]


def _of_side(funnel: Funnel) -> dict[str, str]:
    made = funnel.stages["prepared"]
    cells = {"matched": f"{funnel.matched:,}"}
    for name, count in funnel.stages.items():
        rate = f" ({count / made:.1%})" if made and name != "prepared" else ""
        cells[name.replace("_", " ")] = f"{count:,}{rate}"
    cells["value"] = f"{funnel.value:,.2f}"
    for reason, count in funnel.suppressed.items():
        cells[f"suppressed {reason}"] = f"{count:,}"
    for reason, count in funnel.failed.items():
        cells[f"not handed over {reason}"] = f"{count:,}"
    return cells


def _funnels(report: Report, by: str | None) -> list[str]:
    heads = ["TRIGGER", *([by.upper()] if by else []), *(name.upper() for name in _COUNTS), "VALUE"]
    found = [
        ([name, *label], funnel)
        for name, told in report.triggers.items()
        for label, funnel in _labelled(told, by)
    ]
    if not found:
        return ["nothing is counted yet"]
    rows = [[*label, *_numbers(funnel)] for label, funnel in found]
    first, *lines = aligned([head.replace("_", " ") for head in heads], rows, 2 if by else 1)
    told_lines = [first]
    for line, (_, funnel) in zip(lines, found, strict=True):
        told_lines += [line, *_losses(funnel)]
    return told_lines


def _labelled(told: Told, by: str | None) -> Iterable[tuple[list[str], Funnel]]:
    if by is None:
        return [([], told.funnel)]
    found: dict[str, list[Funnel]] = {}
    for group, funnel in sorted(told.groups.items(), key=lambda item: getattr(item[0], by)):
        value = getattr(group, by)
        label = day_text(group.day) if by == "day" else str(value)
        found.setdefault(label, []).append(funnel)
    added = {label: add_funnels(funnels) for label, funnels in found.items()}
    if by == "variant":
        added = _of_arms(added)
    return [([label or "-"], funnel) for label, funnel in added.items()]


def _of_arms(found: dict[str, Funnel]) -> dict[str, Funnel]:
    """MATCHED is counted without an arm: here each arm gets its candidates, and what was refused
    before there was one stays behind."""
    shared = {
        label: funnel._replace(
            matched=funnel.stages["prepared"] + sum(funnel.suppressed.values()) + funnel.expired
        )
        for label, funnel in found.items()
        if label
    }
    if "" not in found:
        return shared
    rest = sum(funnel.matched for funnel in found.values())
    rest -= sum(funnel.matched for funnel in shared.values())
    left = found[""]._replace(matched=rest)
    return shared if left == add_funnels(()) else {"": left, **shared}


def _numbers(funnel: Funnel) -> list[str]:
    counts = (funnel.matched, *funnel.stages.values())
    return [*(f"{count:,}" for count in counts), f"{funnel.value:,.2f}"]


def _losses(funnel: Funnel) -> list[str]:
    lines = []
    for name, reasons in (("suppressed", funnel.suppressed), ("not handed over", funnel.failed)):
        if reasons:
            found = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
            lines.append(f"  {name}: {found}")
    if funnel.ghost_converted:
        count, value = funnel.ghost_converted, funnel.ghost_value
        lines.append(
            f"  converted without the message they would have got: {count:,} ({value:,.2f})"
        )
    return lines


def _experiment(readout: Readout) -> list[str]:
    heads = [
        "ARM",
        "PLANNED",
        "USERS",
        "CONVERTED",
        "RATE",
        "GOALS",
        "VALUE A USER",
        "UNSUBSCRIBED",
    ]
    whole = sum(readout.shares.values())
    names = [name for name in readout.shares if name in readout.arms]
    names += sorted(readout.arms.keys() - readout.shares.keys())
    rows = []
    for name in names:
        arm = readout.arms[name]
        planned = f"{readout.shares[name] / whole:.1%}" if name in readout.shares else "-"
        rate = f"{arm.converters / arm.users:.2%}"
        counts = (f"{arm.users:,}", f"{arm.converters:,}", rate, f"{arm.goals.total:,}")
        value = f"{arm.value.mean:,.4f}"
        rows.append([_arm(name), planned, *counts, value, f"{arm.unsubscribers:,}"])
    lines = aligned(heads, rows, 1)
    for name, found in readout.comparisons.items():
        pair = f"{_arm(name)} against {_arm(readout.baseline or TREATED)}"
        lines += [f"{pair}: {_verdict(found, readout, name)}", *_effects(found)]
    if any(found.unsubscribed for found in readout.comparisons.values()):
        sure = f"{1 - readout.alpha:.4g}"
        lines.append(f"intervals hold at every look, each with confidence {sure}")
    if GLOBAL_CONTROL in readout.shares:
        lines.append(
            f"goals count for {LASTS_MS // DAY_MS} days from a user's first candidate under this "
            "revision: the control group changes every month"
        )
    if not readout.comparisons:
        lines.append("nothing to compare: what shares were planned is not known")
    return lines


def _verdict(found: Comparison, readout: Readout, name: str) -> str:
    base = readout.arms.get(readout.baseline or TREATED)
    other = readout.arms.get(name)
    users = min(arm.users if arm else 0 for arm in (base, other))
    if found.verdict is Verdict.TOO_FEW_USERS:
        return f"too few users: {users:,} of {USERS_MIN:,} an arm"
    if found.verdict is Verdict.TOO_FEW_CONVERSIONS:
        converted = min(arm.converters if arm else 0 for arm in (base, other))
        return f"too few conversions: {converted:,} of {CONVERTERS_MIN:,} an arm"
    if found.verdict is Verdict.MISMATCH:
        return f"sample ratio mismatch: no verdict (p = {readout.balance.p:.1g})"
    return _FOUND[found.verdict]


def _effects(found: Comparison) -> list[str]:
    lines = []
    effects = (
        ("converted", found.conversion, True),
        ("goals a user", found.goals, False),
        ("value a user", found.value, False),
        ("unsubscribed", found.unsubscribed, True),
    )
    for name, effect, is_share in effects:
        if effect is not None:
            lines.append(f"  {name:<13} {_effect(effect, is_share)}")
    if found.crm is not None:
        label = rating(found.crm.estimate).lower()
        # One rating for the whole interval, or the estimate may still move into another.
        sure = rating(found.crm.low) == rating(found.crm.high)
        note = label if sure else f"{label} so far"
        lines.append(f"  {'CRM score':<13} {_range(found.crm, '{:+.2f}')}: {note}")
    return lines


def _effect(effect: Effect, is_share: bool) -> str:
    scale = 100 if is_share else 1
    absolute = Interval(*(value * scale for value in effect.difference))
    text = _range(absolute, "{:+.3f}") + (" points" if is_share else "")
    if effect.lift is not None:
        relative = Interval(*(value * 100 for value in effect.lift))
        text += f", lift {_range(relative, '{:+.1f} %')}"
    return text


def _range(interval: Interval, form: str) -> str:
    estimate, low, high = (form.format(value) for value in interval)
    if not (isfinite(interval.low) and isfinite(interval.high)):
        return f"{estimate} (not bounded yet)"
    return f"{estimate} [{low}, {high}]"


def _arm(name: str) -> str:
    if name == GLOBAL_CONTROL:
        return "global control"
    return name or "treated"


def _weeks(report: Report) -> list[str]:
    lines: list[str] = []
    if report.weeks:
        shown = report.weeks[-WEEKS_SHOWN:]
        rows = [
            [
                week_name(week.day),
                f"{week.users:,}",
                f"{week.messages:,}",
                str(week.p50),
                str(week.p95),
            ]
            for week in shown
        ]
        lines += ["", "messages per user and week (users who got one)"]
        lines += aligned(["WEEK", "USERS", "MESSAGES", "P50", "P95"], rows, 1)
    if report.year is not None:
        year = report.year
        rate = "-" if year.rate is None else f"{year.rate:.2%}"
        lines += [
            "",
            f"unsubscribed over the year to {day_text(year.until_day)}: {rate} "
            f"({year.unsubscribed:,} of {year.reached:,} users reached)",
        ]
    return lines


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> list[str]:
    """Columns two blanks apart: the first `names` to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        return "  ".join(
            f"{cell:<{width}}" if column < names else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(cells)
        ).rstrip()

    return [line(heads), *(line(row) for row in rows)]
