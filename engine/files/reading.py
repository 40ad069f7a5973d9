"""What the readers of all formats share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import le
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from engine.files.lines import Advance
from engine.files.numbering import Numbering, Span
from engine.files.problems import Problems, UnsortedError
from schemas.events import Event

#: Rows out of order that a refusal names.
EARLY_MAX: Final = 5
_BATCH: Final = 1_000
#: The year 9000: what waits from there on, even for years, ends in a year that a datetime has.
TIME_MAX_MS: Final = 221_845_392_000_000


class FileEvent(NamedTuple):
    """One event of a file.

    `a_ms` is its append time: `receivedAt`, else `timestamp`; of a mapped row its time. `raw` is
    the message as it stands in the file, None where `to_segment` has to write it.
    """

    a_ms: int
    event: Event
    raw: bytes | None


class Batch(NamedTuple):
    """Events that follow each other, in columns: what a `FileEvent` says of each. `lines` are their
    messages as they stand in the file, perhaps with a newline."""

    times: Sequence[int]
    events: Sequence[Event]
    lines: Sequence[bytes | None]

    def part(self, begin: int, end: int) -> "Batch":
        """Those from one place until before another."""
        return Batch(self.times[begin:end], self.events[begin:end], self.lines[begin:end])


Batches = Iterator[Batch]
_file_event = cast(Callable[[tuple[Any, ...]], FileEvent], partial(tuple.__new__, FileEvent))


def file_events(batch: Batch) -> Iterator[FileEvent]:
    """The same one by one."""
    raws = (None if line is None else line.removesuffix(b"\n") for line in batch.lines)
    # For a tenth of the price of calling the class.
    return map(_file_event, zip(batch.times, batch.events, raws, strict=True))


def pairs_of(batches: Iterable[Batch]) -> Iterator[tuple[int, Event]]:
    """Append time and event of each."""
    return chain.from_iterable(zip(one.times, one.events, strict=True) for one in batches)


def batch_of(entries: Iterable[tuple[int, Event, bytes | None]]) -> Batch:
    """The columns of rows."""
    columns = tuple(zip(*entries, strict=True))
    return Batch(*columns) if columns else Batch((), (), ())


def batches_of(entries: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of entries."""
    following = iter(entries)
    while batch := list(islice(following, _BATCH)):
        yield batch


class Early(NamedTuple):
    """A row that was appended before the one above."""

    line: int
    a_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One file being read. `ordered`: a row appended before the one above refuses the file;
    otherwise the events are sorted afterwards."""

    path: Path
    problems: Problems
    span: Span
    ordered: bool
    numbering: Numbering
    advance: Advance

    @property
    def file(self) -> str:
        """The name in messages."""
        return str(self.path)

    def check_order(self, times: Sequence[int], lines: Sequence[int], last_ms: int) -> int:
        """The time of the last row; raises UnsortedError when one was appended before `last_ms` or
        the row above."""
        if times[0] >= last_ms and all(map(le, times, islice(times, 1, None))):
            return times[-1]
        early = []
        for a_ms, line in zip(times, lines, strict=True):
            if a_ms < last_ms:
                early.append(Early(line, a_ms, last_ms))
            last_ms = max(a_ms, last_ms)
        self.refuse_order(early)
        return last_ms

    def refuse_order(self, early: list[Early]) -> None:
        """Raise UnsortedError naming the first rows that came too early, if there are any."""
        if not early:
            return
        first = early[0]
        lines = [
            f"{self.file}:{first.line}: appended {first.last_ms - first.a_ms} ms before the event "
            "above: the file is not in append order; --sort puts it in order"
        ]
        for line, a_ms, last_ms in early[1:EARLY_MAX]:
            lines.append(f"{self.file}:{line}: {last_ms - a_ms} ms before one above")
        raise UnsortedError("\n".join(lines))
