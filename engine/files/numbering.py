"""The range of time that is asked for, and the numbers of the rows in it."""

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """From `from_ms` on and before `to_ms`; None: no bound. Append times, milliseconds."""

    from_ms: int | None = None
    to_ms: int | None = None

    def has(self, a_ms: int) -> bool:
        """Whether this append time is in the range."""
        return (self.from_ms is None or a_ms >= self.from_ms) and (
            self.to_ms is None or a_ms < self.to_ms
        )

    def ended(self, a_ms: int, margin_ms: int = 0) -> bool:
        """Whether nothing of the range is left at this time in an ordered history."""
        return self.to_ms is not None and a_ms >= self.to_ms + margin_ms


EVERYTHING = Span()


class Numbering:
    """Numbers rows from `row_from` + 1, beginning with the first row in the range.

    So a history that is read in several ranges, each begun where the last one stopped counting,
    gives the rows the numbers they have in one reading. `count` is the number of the last row.
    """

    def __init__(self, row_from: int, span: Span, id_prefix: str = "") -> None:
        self.count = row_from
        self._prefix = id_prefix
        self._from_ms = span.from_ms
        self._to_ms = span.to_ms

    def name(self, before: int) -> str:
        """The messageId of a row without one; `before`: the number of the row above."""
        return f"{self._prefix}{before + 1}"

    def block(self, times: Sequence[int], numbers: Sequence[int], count: int) -> int:
        """Count `count` further rows and return the number of the row above the block.

        `times` are those of the rows `numbers`, counted from 0; rows without a time are absent.
        """
        base = self.count
        if self._from_ms is not None:
            first = _first(times, numbers, self._from_ms)
            if first is None:
                return base
            self._from_ms = None
            base -= first
        end = None if self._to_ms is None else _first(times, numbers, self._to_ms)
        if end is None:
            self.count = base + count
        else:
            self.count = base + end
            # Nothing after the range counts.
            self._from_ms = 1 << 62
        return base


def _first(times: Sequence[int], numbers: Sequence[int], limit_ms: int) -> int | None:
    for a_ms, number in zip(times, numbers, strict=True):
        if a_ms >= limit_ms:
            return number
    return None
