"""The report as one page: no script, no request, readable in light and dark."""

from collections import Counter
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Final

from engine.backtest.approximate import approximate_lines
from engine.backtest.charts import Bar, bars, columns, timeline
from engine.backtest.report import day_text, message_bands, most_first
from engine.backtest.result import Result
from engine.backtest.tally import Tally, TriggerTally
from schemas.decisions import utc
from triggers.program import Program

PAIRS_SHOWN: Final = 20


def report_page(result: Result, program: Program, seconds: float) -> str:
    """HTML. `seconds` is how long the backtest took."""
    tally = result.tally
    rate = tally.events / seconds if seconds else 0.0
    sections = [
        _head(result),
        _section("Sends per day", _days(tally), "UTC. Pale: candidates that were not sent."),
        _section("Triggers", _triggers(tally)),
        _section("Why candidates were not sent", _reasons(tally.suppressed)),
        _section("Messages per user", _per_user(result.sent)),
        _section("Collisions", _collisions(tally), "Who was kept back by whose message."),
        _section("Ten users", _timelines(result), "What they did, and what was decided."),
        _approximate(result, program),
    ]
    style = files("engine.backtest").joinpath("page.css").read_text(encoding="utf-8")
    speed = f"{tally.events:,} events in {seconds:.1f} s ({rate:,.0f} a second)"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Backtest</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(filter(None, sections))
        + f"\n<footer>Tripline backtest · {speed}</footer></main></body></html>\n"
    )


def _head(result: Result) -> str:
    tally = result.tally
    span = ""
    if tally.first_ms is not None:
        first, last = utc(tally.first_ms)[:16], utc(result.watermark_ms)[:16]
        span = f"{first} to {last}".replace("T", " ") + " UTC"
    tiles = [
        ("events", tally.events),
        ("users", result.users),
        ("candidates", sum(one.candidates for one in tally.triggers.values())),
        ("sent", tally.admitted),
        ("converted", sum(one.converted for one in tally.triggers.values())),
        ("still pending", result.pending),
    ]
    shown = "".join(f"<div><b>{n:,}</b><span>{name}</span></div>" for name, n in tiles)
    return f'<header><h1>Backtest</h1><p>{span}</p></header><div class="tiles">{shown}</div>'


def _section(title: str, body: str, note: str = "") -> str:
    if not body:
        return ""
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{small}{body}</section>"


def _days(tally: Tally) -> str:
    if not tally.days:
        return ""
    days = range(min(tally.days), max(tally.days) + 1)
    none: Counter[str] = Counter()
    return columns(
        [
            Bar(day_text(day), counts["admitted"], counts["candidates"] - counts["admitted"])
            for day in days
            for counts in (tally.days.get(day, none),)
        ]
    )


def _triggers(tally: Tally) -> str:
    head = ("trigger", "candidates", "sent", "converted", "cancelled", "expired", "suppressed")
    rows = [_trigger_row(name, found) for name, found in sorted(tally.triggers.items())]
    return _table(head, rows)


def _trigger_row(name: str, found: TriggerTally) -> list[str]:
    # What a run of `--state` before this one sent may be credited in this one.
    counted = found.converted and found.admitted
    share = f" ({found.converted / found.admitted:.1%})" if counted else ""
    return [
        name,
        f"{found.candidates:,}",
        f"{found.admitted:,}",
        f"{found.converted:,}{share}",
        f"{found.cancelled:,}",
        f"{found.expired:,}",
        f"{found.suppressed.total():,}",
    ]


def _reasons(reasons: Counter[str]) -> str:
    return bars([Bar(reason, count) for reason, count in most_first(reasons)]) if reasons else ""


def _per_user(users: Counter[int]) -> str:
    if not users:
        return ""
    found = []
    for low, high in message_bands(max(users)):
        count = sum(n for sent, n in users.items() if low <= sent <= high)
        name = str(low) if low == high else f"{low} to {high}"
        found.append(Bar(f"{name} message{'' if name == '1' else 's'}", count))
    return bars(found)


def _collisions(tally: Tally) -> str:
    ranked = sorted(tally.collisions.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        [blocked, blocker, reason, f"{count:,}"]
        for (blocked, blocker, reason), count in ranked[:PAIRS_SHOWN]
    ]
    return _table(("kept back", "by", "reason", "times"), rows, numbers_from=3) if rows else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], numbers_from: int = 1) -> str:
    def cells(row: Iterable[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if number >= numbers_from else ''}>{escape(cell)}</{tag}>"
            for number, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _timelines(result: Result) -> str:
    shown = result.timelines()
    return "".join(
        f"<details{' open' if number < 3 else ''}><summary>{escape(one.user)}</summary>"
        f"{timeline(one)}</details>"
        for number, one in enumerate(shown)
    )


def _approximate(result: Result, program: Program) -> str:
    if result.known_from_ms is None:
        return ""
    lines = approximate_lines(program, result.known_from_ms)
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line.strip())}</li>" for line in lines[1:])
    return _section("Approximate", f"<p>{escape(lines[0])}</p><ul>{items}</ul>")
