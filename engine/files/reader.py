"""Reading event files: Segment messages in JSON lines, and foreign CSV or JSON by a mapping."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from engine.files.grouping import SURELY_SMALL, Grouping, too_large
from engine.files.lines import LineReader
from engine.files.mapping import FileMapping
from engine.files.ordering import SORT_EVENTS_MAX, in_order
from engine.files.problems import FileRefused, ProblemKind, Problems, UnsortedError
from engine.files.rows import NotOneValue, RowMapper, RowRefused
from schemas.events import BadRecord, Event, decode_event, to_ms
from schemas.reasons import DeadLetterReason

_PACKED: Final = (".gz", ".zst")
_OBJECT: Final = NotOneValue("an object")
_LIST: Final = NotOneValue("a list")
_COLUMNS_MAX: Final = 10_000

#: Line, values by position (None: could not be split), and its size in characters or bytes.
Row = tuple[int, list[Any] | None, int]


class FileEvent(NamedTuple):
    """One event of a file.

    `a_ms` is its append time: `receivedAt`, else `timestamp`; of a mapped row its time. `raw` is
    the message as it stands in the file, None where `to_segment` has to write it.
    """

    a_ms: int
    event: Event
    raw: bytes | None


def read_events(
    path: Path,
    mapping: FileMapping | None = None,
    *,
    problems: Problems | None = None,
    sort: bool = False,
    row_from: int = 0,
    sort_events_max: int = SORT_EVENTS_MAX,
) -> Iterator[FileEvent]:
    """The events of a file by append time, ties in file order.

    JSON lines of Segment messages (plain, gzip, Zstandard); with a `mapping` CSV (`.csv`, `.tsv`)
    or JSON lines of any objects. A missing messageId is the number of the row, from `row_from` + 1.
    What cannot be read is counted in `problems` (strict ones refuse the file). `sort` puts the
    events in order, `sort_events_max` at a time in memory and the rest on disk.

    Raises FileRefused for a file that cannot be read at all, UnsortedError (without `sort`) at the
    first event that is appended before the one above, DefinitionErrors for a mapping that names
    columns the file does not have.
    """
    found = Problems() if problems is None else problems
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet":
        raise FileRefused(f"{path}: Parquet files are not available in this version")
    reading = _Reading(LineReader(path, found), str(path), found, row_from, not sort)
    if kind in (".csv", ".tsv"):
        if mapping is None:
            raise FileRefused(f"{path}: a CSV file needs --map mapping.yaml")
        delimiter = "\t" if kind == ".tsv" else mapping.rules.delimiter
        events = _csv(reading, mapping, delimiter)
    elif mapping is not None:
        events = _foreign_json(reading, mapping)
    else:
        events = _segment(reading)
    return map(FileEvent._make, in_order(events, sort_events_max)) if sort else events


@dataclass(frozen=True, slots=True)
class _Reading:
    """`ordered`: an event appended before the one above refuses the file."""

    lines: LineReader
    file: str
    problems: Problems
    row_from: int
    ordered: bool

    def refuse_order(self, line: int, early_ms: int) -> NoReturn:
        raise UnsortedError(
            f"{self.file}:{line}: appended {early_ms} ms before the event above: "
            "the file is not in append order; --sort puts it in order"
        )


def _segment(reading: _Reading) -> Iterator[FileEvent]:
    problems = reading.problems
    last_ms = 0
    for batch in reading.lines.batches():
        line = reading.lines.line
        problems.rows += len(batch)
        for raw in batch:
            line += 1
            kept: bytes | None = raw
            try:
                event = decode_event(raw)
            except BadRecord as error:
                # Few files lack messageIds: trying again is cheaper than a number for every line.
                again = _with_row_number(raw, error, reading, line)
                if again is None:
                    continue
                event, kept = again, None
            moment = event.received_at or event.timestamp
            a_ms = -1 if moment is None else to_ms(moment)
            if a_ms < last_ms:
                if moment is None:
                    detail = "neither receivedAt nor timestamp"
                    problems.add(ProblemKind.MISSING_TIME, reading.file, line, detail)
                    continue
                if a_ms < 0:
                    problems.add(ProblemKind.BAD_TIMESTAMP, reading.file, line, "before 1970")
                    continue
                if reading.ordered:
                    reading.refuse_order(line, last_ms - a_ms)
            last_ms = a_ms
            problems.events += 1
            yield FileEvent(a_ms, event, kept)


def _with_row_number(raw: bytes, error: BadRecord, reading: _Reading, line: int) -> Event | None:
    """The event once more with the row's number as its id; None when that is not what it lacks."""
    if error.reason is DeadLetterReason.MISSING_ID:
        try:
            return decode_event(raw, str(reading.row_from + line))
        except BadRecord as second:
            error = second
    if raw.strip():
        reading.problems.add(ProblemKind(error.reason), reading.file, line, error.detail)
    return None


def _csv(reading: _Reading, mapping: FileMapping, delimiter: str) -> Iterator[FileEvent]:
    file = reading.file
    texts = _Texts(reading.lines, reading.problems)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise FileRefused(f"{file}:1: not CSV: {error}") from None
    if not header or len(header) > _COLUMNS_MAX:
        raise FileRefused(f"{file}:1: the first row names the columns, this one has {len(header)}")
    mapping.check_header(header, file)
    rows = _csv_rows(reader, len(header), texts, reading)
    yield from _mapped(rows, RowMapper(mapping.rules, header, texts=True), mapping, reading)


def _csv_rows(reader: Any, columns: int, texts: "_Texts", reading: _Reading) -> Iterator[Row]:
    problems = reading.problems
    while True:
        try:
            for values in reader:
                if len(values) == columns:
                    yield reader.line_num, values, texts.size
                elif values:
                    detail = f"{len(values)} columns, the header has {columns}"
                    problems.add(ProblemKind.BAD_ROW, reading.file, reader.line_num, detail)
                    yield reader.line_num, None, 0
                texts.size = 0
            return
        except csv.Error as error:
            problems.add(ProblemKind.BAD_ROW, reading.file, reader.line_num, str(error))
            yield reader.line_num, None, 0


class _Texts:
    """Lines as text with their newline, as the CSV reader wants them.

    `size` counts the characters since it was set to 0.
    """

    def __init__(self, lines: LineReader, problems: Problems) -> None:
        self.size = 0
        self._lines = lines
        self._problems = problems

    def __iter__(self) -> Iterator[str]:
        mark = "\ufeff"
        for batch in self._lines.batches():
            for number, raw in enumerate(batch, start=self._lines.line + 1):
                try:
                    text = raw.decode()
                except UnicodeDecodeError as error:
                    self._problems.add(ProblemKind.NOT_UTF8, self._lines.file, number, str(error))
                    text = raw.decode(errors="replace")
                if mark:
                    text, mark = text.removeprefix(mark), ""
                self.size += len(text)
                yield text + "\n"


def _foreign_json(reading: _Reading, mapping: FileMapping) -> Iterator[FileEvent]:
    columns = list(mapping.rules.columns())
    rows = _json_rows(reading, [column.split(".") for column in columns])
    return _mapped(rows, RowMapper(mapping.rules, columns, texts=False), mapping, reading)


def _json_rows(reading: _Reading, paths: list[list[str]]) -> Iterator[Row]:
    decode = msgspec.json.Decoder().decode
    for batch in reading.lines.batches():
        for number, raw in enumerate(batch, start=reading.lines.line + 1):
            try:
                value = decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if not raw.strip():
                    continue
                kind, detail = ProblemKind.MALFORMED_JSON, str(error)
            except RecursionError:
                kind, detail = ProblemKind.TOO_DEEP, "nested too deeply"
            else:
                if type(value) is dict:
                    yield number, [_below(value, path) for path in paths], len(raw)
                    continue
                kind, detail = ProblemKind.WRONG_TYPE, "not a JSON object"
            reading.problems.add(kind, reading.file, number, detail)
            yield number, None, 0


def _below(value: Any, path: list[str]) -> Any:
    for name in path:
        if type(value) is not dict:
            return ""
        value = value.get(name)
    if value is None:
        return ""
    if type(value) is dict:
        return _OBJECT
    return _LIST if type(value) is list else value


def _mapped(
    rows: Iterable[Row], mapper: RowMapper, mapping: FileMapping, reading: _Reading
) -> Iterator[FileEvent]:
    rule = mapping.rules.group_by
    grouping = Grouping(rule.within_ms, reading.file, reading.problems) if rule else None
    problems = reading.problems
    last_ms = 0
    for number, (line, values, size) in enumerate(rows, start=reading.row_from + 1):
        problems.rows += 1
        if values is None:
            continue
        try:
            mapped = mapper.map(values, str(number))
        except RowRefused as refused:
            problems.add(refused.kind, reading.file, line, refused.detail)
            continue
        if mapper.bad_values:
            _count_bad_values(mapper, reading, line)
        if mapped is None:
            continue
        a_ms, event, group, _ = mapped
        if a_ms < last_ms and reading.ordered:
            reading.refuse_order(line, last_ms - a_ms)
        last_ms = a_ms
        if grouping is not None and (group is not None or grouping.waiting):
            for complete in grouping.add(mapped, line, size):
                problems.events += 1
                yield FileEvent(*complete, None)
        elif size <= SURELY_SMALL or not too_large(event, line, reading.file, problems):
            problems.events += 1
            yield FileEvent(a_ms, event, None)
    for complete in grouping.rest() if grouping else ():
        problems.events += 1
        yield FileEvent(*complete, None)


def _count_bad_values(mapper: RowMapper, reading: _Reading, line: int) -> None:
    for detail in mapper.bad_values:
        reading.problems.add(ProblemKind.BAD_VALUE, reading.file, line, detail)
    mapper.bad_values.clear()
