"""A difference and its impact: for people, for scripts, for a pull request."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from engine.impact.budgets import Checked
from engine.impact.compare import Change, Difference, FieldChange
from engine.impact.measure import MONTH_DAYS, Impact, Side, TriggerImpact

PAIRS_SHOWN: Final = 10
_VALUE_CHARS_MAX: Final = 60
_SIGNS: Final = {Change.ADDED: "+", Change.CHANGED: "~", Change.REMOVED: "-"}


def difference_json(found: Iterable[Difference]) -> list[dict[str, Any]]:
    """`[{"kind", "name", "change", "fields": [{"path", "before", "after"}]}]`."""
    return [
        {
            "kind": one.kind,
            "name": one.name,
            "change": one.change.value,
            "fields": [change._asdict() for change in one.fields],
        }
        for one in found
    ]


def impact_json(impact: Impact, checked: Sequence[Checked]) -> dict[str, Any]:
    """The fields of docs/interfaces.md, Commands."""
    before, after = impact.per_user_day
    return {
        "events": impact.events,
        "users": impact.users,
        "days": round(impact.days, 3),
        "triggers": {name: _trigger_json(one) for name, one in impact.triggers.items()},
        "all": _trigger_json(impact.total),
        "users_over": {"messages": impact.over, "before": before.over, "after": after.over},
        "per_user_per_day": {
            "p99": {"before": before.p99, "after": after.p99},
            "most": {"before": before.most, "after": after.most},
        },
        "collisions": [pair._asdict() for pair in impact.collisions],
        "budgets": [
            {"budget": one.budget, "limit": one.limit, "found": round(one.found, 6), "ok": one.ok}
            for one in checked
        ],
    }


def _trigger_json(one: TriggerImpact) -> dict[str, Any]:
    return {
        "before": _side_json(one.before),
        "after": _side_json(one.after),
        "newly_suppressed": dict(sorted(one.lost.items())),
        "newly_sent": one.gained,
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "candidates": side.candidates,
        "admitted": side.admitted,
        "per_day": round(side.per_day, 3),
        "per_month": round(side.per_month, 1),
    }


def difference_lines(found: Sequence[Difference]) -> list[str]:
    """One line a definition, one a changed field."""
    lines = []
    for one in found:
        lines.append(f"{_SIGNS[one.change]} {one.kind} {one.name}")
        for change in one.fields:
            lines.append(f"    {change.path}: {_value(change.before)} -> {_value(change.after)}")
    return lines or ["no differences"]


def impact_lines(impact: Impact, checked: Sequence[Checked]) -> list[str]:
    """For a terminal."""
    lines = [_introduction(impact), ""]
    rows = [list(_HEADS), *_rows(impact)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        lines.append("  ".join(cells).rstrip())
    lines += ["", *_people(impact)]
    pairs = _pairs(impact)
    if pairs:
        lines += ["", "collisions, before -> after:"]
        lines += [f"  {names}  {count}" for names, count in pairs]
    if checked:
        lines += ["", "budgets:"]
        lines += [f"  {'ok  ' if one.ok else 'OVER'} {_budget(one)}" for one in checked]
    return lines


def impact_markdown(
    found: Sequence[Difference], impact: Impact | None, checked: Sequence[Checked]
) -> str:
    """For a comment on a pull request."""
    over = [one for one in checked if not one.ok]
    parts = ["### Tripline: what this changes"]
    if over:
        parts.append("**Over budget:**\n" + "\n".join(f"- {_escape(_budget(one))}" for one in over))
    parts.append(_definitions(found))
    if impact is not None:
        parts.append(_introduction(impact))
        parts.append(_markdown_table(_HEADS, _rows(impact)))
        parts.append("\n".join(f"- {line}" for line in _people(impact)))
        pairs = _pairs(impact)
        if pairs:
            rows = [[_escape(names), count] for names, count in pairs]
            parts.append(
                "<details><summary>Collisions</summary>\n\n"
                + _markdown_table(("kept back ← by, reason", "before → after"), rows)
                + "\n\n</details>"
            )
    if checked:
        rows = [["within" if one.ok else "**over**", _escape(_budget(one))] for one in checked]
        parts.append(_markdown_table(("budget", ""), rows))
    return "\n\n".join(parts)


_HEADS: Final = ("trigger", "sends/day", "now", "change", "per month", "newly suppressed")


def _introduction(impact: Impact) -> str:
    return (
        f"{impact.events:,} events of {impact.users:,} users over {impact.days:.1f} days, decided "
        "with the definitions before and after."
    )


def _rows(impact: Impact) -> list[list[str]]:
    rows = [_row(name, one) for name, one in impact.triggers.items()]
    return [*rows, _row("in all", impact.total)]


def _row(name: str, one: TriggerImpact) -> list[str]:
    why = ", ".join(f"{reason} {count:,}" for reason, count in one.lost.most_common(3))
    return [
        name,
        f"{one.before.per_day:,.1f}",
        f"{one.after.per_day:,.1f}",
        _growth(one.before, one.after),
        f"{one.after.per_day * MONTH_DAYS:,.0f}",
        why or "-",
    ]


def _growth(before: Side, after: Side) -> str:
    if before.admitted == after.admitted:
        return "-"
    if not before.admitted:
        return "new"
    return f"{(after.admitted - before.admitted) / before.admitted:+.1%}"


def _people(impact: Impact) -> list[str]:
    before, after = impact.per_user_day
    return [
        f"users with more than {impact.over} messages on a day: {before.over:,} -> {after.over:,}",
        f"messages a user gets on a day with any: p99 {before.p99} -> {after.p99}, "
        f"most {before.most} -> {after.most}",
    ]


def _pairs(impact: Impact) -> list[tuple[str, str]]:
    moved = [pair for pair in impact.collisions if pair.before != pair.after]
    return [
        (f"{p.kept_back} ← {p.by}, {p.reason}", f"{p.before:,} -> {p.after:,}")
        for p in moved[:PAIRS_SHOWN]
    ]


def _budget(one: Checked) -> str:
    if one.is_share:
        return f"{one.budget}: {one.found:.1%} of {one.limit:.1%} allowed"
    return f"{one.budget}: {one.found:,.1f} of {one.limit:,.0f} allowed"


def _definitions(found: Sequence[Difference]) -> str:
    if not found:
        return "No definition differs."
    lines = []
    for one in found:
        lines.append(f"- {one.change.value} {one.kind} `{one.name}`")
        lines += [f"  - {_field(change)}" for change in one.fields]
    return "\n".join(lines)


def _field(change: FieldChange) -> str:
    before, after = _code(_value(change.before)), _code(_value(change.after))
    return f"{_code(change.path)}: {before} → {after}"


def _value(value: Any) -> str:
    if value is None:
        return "(none)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
