"""Rows of one event become one event: an order's lines, the products of a checkout page."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from engine.files.problems import ProblemKind, Problems
from engine.files.rows import Group
from engine.files.wire import to_segment
from schemas.events import EVENT_BYTES_MAX, Event

#: Events waiting for further rows; beyond it the oldest is given out as it is.
WAITING_MAX: Final = 10_000
#: Characters of rows that surely give a message below the limit: JSON takes up to six bytes each.
SURELY_SMALL: Final = 8_000
_PRODUCTS_SURELY_SMALL: Final = 3

#: Append time, event, group (None: a row by itself), entry in `products[]`, line, and characters at
#: most of a row.
Piece = tuple[int, Event, Group | None, dict[str, Any] | None, int, int]


class _Waiting(msgspec.Struct, gc=False):
    a_ms: int
    event: Event
    group: Group | None
    products: list[dict[str, Any]]
    line: int
    size: int


class Grouping:
    """Holds events back until no row can join them any more; the order of first rows is kept."""

    def __init__(self, within_ms: int, file: str, problems: Problems) -> None:
        self._within_ms = within_ms
        self._file = file
        self._problems = problems
        self._waiting: deque[_Waiting] = deque()
        self._open: dict[Group, _Waiting] = {}

    def take(self, pieces: Iterable[Piece]) -> list[tuple[int, Event]]:
        """Take the next rows; give out what is complete by their times."""
        out: list[tuple[int, Event]] = []
        waiting, within_ms = self._waiting, self._within_ms
        for a_ms, event, group, product, line, weight in pieces:
            while waiting and (a_ms - waiting[0].a_ms > within_ms or len(waiting) >= WAITING_MAX):
                self._first(out)
            if group is not None:
                known = self._open.get(group)
                if known is not None and abs(a_ms - known.a_ms) <= within_ms:
                    known.size += weight
                    _join(known, event, product)
                    continue
            elif not waiting and weight <= SURELY_SMALL:
                out.append((a_ms, event))
                continue
            entry = _Waiting(a_ms, event, group, [product] if product else [], line, weight)
            waiting.append(entry)
            if group is not None:
                self._open[group] = entry
        return out

    def rest(self) -> list[tuple[int, Event]]:
        """Give out everything: the file has ended."""
        out: list[tuple[int, Event]] = []
        while self._waiting:
            self._first(out)
        return out

    def _first(self, out: list[tuple[int, Event]]) -> None:
        entry = self._waiting.popleft()
        event = entry.event
        if entry.group is not None and self._open.get(entry.group) is entry:
            del self._open[entry.group]
        if entry.products:
            event.properties = {**(event.properties or {}), "products": entry.products}
        heavy = entry.size > SURELY_SMALL or len(entry.products) > _PRODUCTS_SURELY_SMALL
        if not (heavy and too_large(event, entry.line, self._file, self._problems)):
            out.append((entry.a_ms, event))


def too_large(event: Event, line: int, file: str, problems: Problems) -> bool:
    """Whether the log would refuse this event for its size; counts the problem."""
    size = len(to_segment(event, 0))
    if size > EVENT_BYTES_MAX:
        problems.add(ProblemKind.TOO_LARGE, file, line, f"{size} > {EVENT_BYTES_MAX} bytes")
    return size > EVENT_BYTES_MAX


def _join(entry: _Waiting, event: Event, product: dict[str, Any] | None) -> None:
    if product:
        entry.products.append(product)
    properties = entry.event.properties or {}
    for name, value in (event.properties or {}).items():
        properties.setdefault(name, value)
    entry.event.properties = properties
