"""Putting events in append order: in memory while they are few, else by sorted runs on disk."""

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, Final

from engine.files.problems import FileRefused
from engine.files.wire import to_segment
from schemas.events import Event, decode_event

#: Events sorted in memory at one time: about a gigabyte.
SORT_EVENTS_MAX: Final = 500_000
#: Sorted runs on disk, each an open file: 128 million events.
RUNS_MAX: Final = 256

_Sorted = tuple[int, Event, bytes | None]
_by_time = itemgetter(0)


def in_order(
    events: Iterable[tuple[int, Event, bytes | None]], in_memory_max: int
) -> Iterator[_Sorted]:
    """(append time, event, message) by append time; ties stay in the order they came.

    Raises FileRefused for more events than `RUNS_MAX` runs hold.
    """
    runs: list[IO[bytes]] = []
    try:
        chunk: list[_Sorted] = []
        for a_ms, event, raw in events:
            if len(chunk) >= in_memory_max:
                if len(runs) >= RUNS_MAX:
                    raise FileRefused(
                        f"more than {RUNS_MAX * in_memory_max} events: too many to sort here"
                    )
                runs.append(_written(chunk))
                chunk = []
            chunk.append((a_ms, event, raw))
        chunk.sort(key=_by_time)
        # `merge` takes from the earlier run on equal times: the order of the file.
        yield from merge(*(_read(run) for run in runs), chunk, key=_by_time)
    finally:
        for run in runs:
            run.close()


def _written(chunk: list[_Sorted]) -> IO[bytes]:
    chunk.sort(key=_by_time)
    run = TemporaryFile(prefix="tripline-sort-")  # noqa: SIM115  (its reader closes it)
    for a_ms, event, raw in chunk:
        # The message as it was, with its time in front; JSON holds no newline.
        value = to_segment(event, a_ms) if raw is None else raw
        kept = b"0" if raw is None else b"1"
        run.write(b"%d %b %b\n" % (a_ms, kept, value))
    run.seek(0)
    return run


def _read(run: IO[bytes]) -> Iterator[_Sorted]:
    for line in run:
        a_text, kept, value = line[:-1].split(b" ", 2)
        yield int(a_text), decode_event(value), value if kept == b"1" else None
