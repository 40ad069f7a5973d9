"""Definitions and events that the tests of backtests start from."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from engine.backtest.run import Backtest
from engine.backtest.session import Definitions, make_run
from schemas.decisions import Decision
from schemas.events import Event
from triggers.workspace import load_documents

#: 2026-01-05T10:00:00Z, a Monday.
T0 = 1_767_607_200_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "priority": 60,
    "when": {"event": "Product Added"},
    "unless": [{"event": "Order Completed"}],
    "wait": "1h",
    "goal": {"event": "Order Completed", "within": "1d"},
}
LOOK: dict[str, Any] = {
    "id": "look",
    "state": "live",
    "when": {"event": "Product Viewed"},
    "goal": {"event": "Order Completed", "within": "2h"},
}
SILENCE: dict[str, Any] = {"id": "silence", "state": "live", "when": {"idle": "7d"}}
SPACED: dict[str, Any] = {"default": {"spacing": "2h", "grace": "0s"}}


def definitions(*triggers: dict[str, Any], policies: dict[str, Any] | None = None) -> Definitions:
    """Of documents; no grace unless the policy says so."""
    loaded = load_documents(
        triggers, {"default": {"grace": "0s"}} if policies is None else policies
    )
    return Definitions(loaded.triggers, loaded.policies)


def event(at: int, user: str, name: str, **properties: Any) -> tuple[int, Event]:
    """What `user` did `at` milliseconds after T0, appended at once."""
    a = T0 + at
    made = Event(
        type="track",
        message_id=f"{user}-{name}-{at}",
        event=name,
        user_id=user,
        timestamp=datetime.fromtimestamp(a / 1000, UTC),
        properties=properties,
    )
    return a, made


def decided(
    found: Definitions, events: Iterable[tuple[int, Event]], *, drain: bool = False, **options: Any
) -> tuple[Backtest, list[Decision]]:
    """A whole backtest."""
    made: list[Decision] = []
    run = make_run(found, made.append, **options)
    run.feed(events)
    run.finish(drain)
    return run, made


def outcomes(made: list[Decision]) -> list[tuple[str, str, int, str]]:
    """(user, trigger, milliseconds after T0, reason or outcome), sorted by time."""
    rows = [(d.user, d.trigger, d.at_ms - T0, (d.reason or d.outcome).value) for d in made]
    return sorted(rows, key=lambda row: (row[2], row[0], row[1]))
