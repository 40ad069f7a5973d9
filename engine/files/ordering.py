"""Putting events in append order: in memory while they are few, else by sorted runs on disk."""

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, Any, Final, NamedTuple

#: What is sorted in memory at one time: some 400 MB of events.
SORT_EVENTS_MAX: Final = 200_000
#: Sorted runs on disk, each an open file; so many become one.
RUNS_MAX: Final = 128

_by_time = itemgetter(0)


class Codec(NamedTuple):
    """How an entry is kept on disk: as bytes without a newline, and back."""

    encode: Callable[[Any], bytes]
    decode: Callable[[int, bytes], Any]


def in_order(
    entries: Iterable[Any], codec: Codec, in_memory_max: int, runs_max: int = RUNS_MAX
) -> Iterator[Any]:
    """Entries by their first element, the append time; ties stay in the order they came.

    Disk: unnamed temporary files, which vanish with this process however it ends. Raises OSError
    when they cannot be written.
    """
    runs: list[IO[bytes]] = []
    try:
        chunk: list[Any] = []
        for entry in entries:
            if len(chunk) >= in_memory_max:
                if len(runs) >= runs_max:
                    runs = [_merged(runs)]
                chunk.sort(key=_by_time)
                runs.append(_written((entry[0], codec.encode(entry)) for entry in chunk))
                chunk = []
            chunk.append(entry)
        chunk.sort(key=_by_time)
        if not runs:
            yield from chunk
            return
        # `merge` takes from the earlier run on equal times: the order of the file.
        yield from merge(*(_decoded(run, codec) for run in runs), chunk, key=_by_time)
    finally:
        for run in runs:
            run.close()


def _written(entries: Iterable[tuple[int, bytes]]) -> IO[bytes]:
    run = TemporaryFile(prefix="tripline-sort-")  # noqa: SIM115  (its reader closes it)
    try:
        for a_ms, value in entries:
            run.write(b"%d %b\n" % (a_ms, value))
        run.seek(0)
    except BaseException:
        run.close()
        raise
    return run


def _merged(runs: list[IO[bytes]]) -> IO[bytes]:
    run = _written(merge(*map(_read, runs), key=_by_time))
    for done in runs:
        done.close()
    return run


def _read(run: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for line in run:
        a_text, _, value = line[:-1].partition(b" ")
        yield int(a_text), value


def _decoded(run: IO[bytes], codec: Codec) -> Iterator[Any]:
    for a_ms, value in _read(run):
        yield codec.decode(a_ms, value)
