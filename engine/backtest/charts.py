"""Charts as SVG text: horizontal bars, columns over time, a timeline. The page has the colours."""

from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from engine.backtest.timelines import Entry, Timeline, squeezed
from schemas.decisions import utc

WIDTH: Final = 860
_LABEL: Final = 190
_ROW: Final = 26
_HEIGHT: Final = 200
_TICKS: Final = 4
#: A column at least so wide, or days are drawn together.
_COLUMN_MIN: Final = 4
_LINE: Final = 20


class Bar(NamedTuple):
    """A value with its name; `rest` is stacked on it in a paler colour."""

    label: str
    value: int
    rest: int = 0


def bars(rows: list[Bar]) -> str:
    """Horizontal bars, each with its number."""
    most = max([row.value for row in rows] + [1])
    room = WIDTH - _LABEL - 80
    parts = []
    for number, row in enumerate(rows):
        y = number * _ROW
        width = room * row.value / most
        parts.append(
            f'<text x="{_LABEL - 10}" y="{y + 17}" class="end">{escape(_short(row.label))}</text>'
            f'<rect x="{_LABEL}" y="{y + 4}" width="{max(width, 1):.1f}" height="18" rx="2" '
            f'class="bar"/><text x="{_LABEL + width + 8:.1f}" y="{y + 17}">{row.value:,}</text>'
        )
    return _svg(len(rows) * _ROW, parts, "bars")


def columns(rows: list[Bar]) -> str:
    """Columns over time with a scale on the left and some names below."""
    rows = _together(rows)
    top = _round_up(max([row.value + row.rest for row in rows] + [1]))
    left, right, floor = 60, WIDTH - 10, _HEIGHT + 10
    parts = []
    for tick in range(_TICKS + 1):
        y = floor - _HEIGHT * tick / _TICKS
        name = _number(top * tick / _TICKS)
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" class="end">{name}</text>'
        )
    step = (right - left) / len(rows)
    width = min(step * 0.8, 46)
    every = max(1, -(-len(rows) * 90 // (right - left)))
    for number, row in enumerate(rows):
        x = left + step * number + (step - width) / 2
        high, pale = _HEIGHT * row.value / top, _HEIGHT * row.rest / top
        title = f"{row.label}: {row.value:,} sent, {row.rest:,} not sent"
        parts.append(
            f"<g><title>{escape(title)}</title>"
            f'<rect x="{x:.1f}" y="{floor - high - pale:.1f}" width="{width:.1f}" '
            f'height="{pale:.1f}" class="pale"/>'
            f'<rect x="{x:.1f}" y="{floor - high:.1f}" width="{width:.1f}" height="{high:.1f}" '
            'class="bar"/></g>'
        )
        if number % every == 0:
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{floor + 20}" class="mid">{row.label}</text>'
            )
    return _svg(floor + 28, parts, "columns")


def timeline(shown: Timeline) -> str:
    """One user from top to bottom: events on the left of the line, decisions on the right."""
    axis = WIDTH // 2 - 60
    parts = []
    y = 16
    last_day = ""
    middle: list[str] = []
    for before, entry in pairwise([None, *squeezed(shown.entries)]):
        assert entry is not None
        at = utc(entry.at_ms)
        if at[:10] != last_day:
            last_day = at[:10]
            parts.append(f'<text x="0" y="{y + 4}" class="day">{last_day}</text>')
        elif before is not None and entry.at_ms - before.at_ms > 3_600_000:
            y += 8
        middle.append(_moment(entry, at, axis, y))
        y += _LINE
    line = f'<line x1="{axis}" x2="{axis}" y1="6" y2="{y - 10}" class="axis"/>'
    return _svg(y, [*parts, line, *middle], "timeline")


def _moment(entry: Entry, at: str, axis: int, y: int) -> str:
    clock = f'<text x="{axis - 12}" y="{y + 4}" class="end dim">{at[11:19]}</text>'
    if not entry.trigger:
        return (
            f'<circle cx="{axis}" cy="{y}" r="3.5" class="event"/>{clock}'
            f'<text x="{axis - 80}" y="{y + 4}" class="end">{escape(_short(entry.what, 34))}</text>'
        )
    kind = {"ADMITTED": "sent", "CANCELLED": "cancelled"}.get(entry.what, "kept")
    word = "sent" if entry.what == "ADMITTED" else entry.what
    return (
        f'<circle cx="{axis}" cy="{y}" r="6" class="{kind}"/>{clock}'
        f'<text x="{axis + 14}" y="{y + 4}"><tspan class="{kind}">{escape(word)}</tspan> '
        f"{escape(_short(entry.trigger, 44))}</text>"
    )


def _together(rows: list[Bar]) -> list[Bar]:
    """At most as many columns as have room: neighbours are added up."""
    most = (WIDTH - 70) // _COLUMN_MIN
    size = -(-len(rows) // most)
    if size <= 1:
        return rows
    return [
        Bar(part[0].label, sum(row.value for row in part), sum(row.rest for row in part))
        for start in range(0, len(rows), size)
        for part in (rows[start : start + size],)
    ]


def _round_up(value: int) -> int:
    """The next of 4, 8, 20, 40, 80, 200, ...: it divides into whole ticks."""
    top = _TICKS
    while True:
        for factor in (1, 2, 5):
            if value <= top * factor:
                return top * factor
        top *= 10


def _number(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,.0f}"


def _short(text: str, most: int = 26) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _svg(height: float, parts: list[str], kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
