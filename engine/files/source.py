"""Event files and folders of them as one history by append time."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, TypedDict, Unpack

from engine.files.lines import Advance, no_advance
from engine.files.mapping import FileMapping
from engine.files.numbering import EVERYTHING, Span
from engine.files.ordering import SORT_EVENTS_MAX, in_order
from engine.files.problems import FileRefused, Problems
from engine.files.reader import EVENTS, FileReader, file_kind
from engine.files.reading import Batch, Batches, FileEvent, batch_of, batches_of, file_events

#: Files of a folder that may be open at one time: each holds a block of its events.
OPEN_FILES_MAX: Final = 100
_KINDS: Final = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"})
_NEVER: Final = 1 << 62


class ReadOptions(TypedDict, total=False):
    """The options of `read_batches`."""

    problems: Problems | None
    sort: bool
    any_order: bool
    span: Span
    row_from: int
    advance: Advance
    sort_events_max: int


def read_events(
    path: Path, mapping: FileMapping | None = None, **options: Unpack[ReadOptions]
) -> Iterator[FileEvent]:
    """The events of `read_batches` one by one."""
    return chain.from_iterable(map(file_events, read_batches(path, mapping, **options)))


def read_batches(
    path: Path,
    mapping: FileMapping | None = None,
    *,
    problems: Problems | None = None,
    sort: bool = False,
    any_order: bool = False,
    span: Span = EVERYTHING,
    row_from: int = 0,
    advance: Advance = no_advance,
    sort_events_max: int = SORT_EVENTS_MAX,
) -> Batches:
    """The events of a file or a folder by append time, ties in the order of files and lines.

    JSON lines of Segment messages (plain, gzip, Zstandard); with a `mapping` CSV (`.csv`, `.tsv`),
    Parquet, or JSON lines of any objects. A folder is all such files in it and below, by name, each
    in append order. A missing messageId is the number of the row, from `row_from` + 1 and the first
    row in `span`; in a folder the file's name and the row. What cannot be read is counted in
    `problems` (strict ones refuse the file). `sort` puts the events in order, `sort_events_max` at
    a time in memory and the rest on disk; with `any_order` they come as they stand, in order or
    not. `advance` gets the bytes read, `input_bytes` in all.

    Raises FileRefused for a file that cannot be read at all, UnsortedError (without `sort`) where
    an event is appended before the one above, DefinitionErrors for a mapping that does not fit the
    columns, OSError when the disk is too small to sort.
    """
    found = Problems() if problems is None else problems
    as_they_stand = sort or any_order
    one = FileReader(mapping, found, ordered=not as_they_stand, span=span, advance=advance)
    if path.is_dir():
        files = folder_files(path)
        batches = _in_turn(path, files, one) if as_they_stand else _merged(path, files, one)
    else:
        batches = one.read(path, row_from=row_from)
    return _counted(batches, found, sort_events_max if sort else None)


def folder_files(folder: Path) -> list[Path]:
    """The event files of a folder, by name. Raises FileRefused when there is none."""
    files = [
        path
        for path in folder.rglob("*")
        if file_kind(path) in _KINDS
        and not any(part[0] in "._" for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not files:
        kinds = ", ".join(sorted(_KINDS))
        raise FileRefused(f"{folder}: no event files ({kinds}, packed or not) in this folder")
    return sorted(files, key=lambda path: path.relative_to(folder).parts)


def input_bytes(path: Path) -> int:
    """The size on disk of what `read_events` reads. Raises FileRefused."""
    try:
        return sum(
            file.stat().st_size for file in (folder_files(path) if path.is_dir() else [path])
        )
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from None


def _counted(batches: Batches, problems: Problems, sort_events_max: int | None) -> Batches:
    if sort_events_max is not None:
        rows = chain.from_iterable(map(file_events, batches))
        batches = map(batch_of, batches_of(in_order(rows, EVENTS, sort_events_max)))
    for batch in batches:
        problems.events += len(batch.times)
        yield batch


def _in_turn(folder: Path, files: list[Path], one: FileReader) -> Batches:
    for file in files:
        yield from one.read(file, id_prefix=_id_prefix(folder, file))


def _id_prefix(folder: Path, file: Path) -> str:
    return f"{file.relative_to(folder).as_posix()}:"


class _Open(NamedTuple):
    """A file that is being merged: the time of its next event, its place by name (which also
    decides ties), and the rest of it."""

    a_ms: int
    place: int
    batch: Batch
    at: int
    rest: Batches


def _merged(folder: Path, files: list[Path], one: FileReader) -> Batches:
    """Files in append order merged by it. A file is opened when its first event is due."""

    def read(place: int) -> Batches:
        return one.read(files[place], id_prefix=_id_prefix(folder, files[place]))

    waiting: list[tuple[int, int]] = []
    for place, file in enumerate(files):
        first_ms = one.first_ms(file)
        if first_ms is None:
            # Nothing to merge, but what is wrong with it counts.
            yield from read(place)
        elif not one.span.ended(first_ms):
            waiting.append((first_ms, place))
    heapify(waiting)
    merging: list[_Open] = []
    while merging or waiting:
        while waiting and (not merging or waiting[0] <= merging[0][:2]):
            _, place = heappop(waiting)
            _push(merging, place, read(place), heappush)
            if len(merging) > OPEN_FILES_MAX:
                raise FileRefused(
                    f"{folder}: more than {OPEN_FILES_MAX} files hold events of the same time; "
                    "--sort reads them one after the other"
                )
        if merging:
            yield _run(merging, waiting)


def _push(
    merging: list[_Open],
    place: int,
    rest: Batches,
    put: Callable[[list[_Open], _Open], object],
) -> bool:
    """Put a file with its next batch where it belongs; False when it has ended."""
    batch = next((batch for batch in rest if batch.times), None)
    if batch is None:
        return False
    put(merging, _Open(batch.times[0], place, batch, 0, rest))
    return True


def _run(merging: list[_Open], waiting: list[tuple[int, int]]) -> Batch:
    """The next events of the foremost file, up to where another one comes first."""
    _, place, batch, at, rest = merging[0]
    others = [entry[:2] for entry in merging[1:3]] + waiting[:1]
    until_ms, other = min(others, default=(_NEVER, 0))
    # On equal times the file that comes first by name goes first.
    limit_ms = until_ms + 1 if place < other else until_ms
    times = batch.times
    if times[-1] >= limit_ms:
        end = bisect_left(times, limit_ms, lo=at)
        heapreplace(merging, _Open(times[end], place, batch, end, rest))
        return batch.part(at, end)
    if not _push(merging, place, rest, heapreplace):
        heappop(merging)
    return batch.part(at, len(times))
