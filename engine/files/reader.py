"""Reading one event file: Segment messages; CSV, Parquet and foreign JSON by a mapping."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.files.csv_rows import CsvRows
from engine.files.json_rows import json_blocks
from engine.files.lines import Advance, LineReader, no_advance
from engine.files.mapped import grouped_batches, mapped_batches
from engine.files.mapping import FileMapping
from engine.files.numbering import EVERYTHING, Numbering, Span
from engine.files.ordering import Codec
from engine.files.problems import FileRefused, Problems
from engine.files.reading import Batch, Batches, FileEvent, Reading, batch_of
from engine.files.rows import Block, RowMapper
from engine.files.segment import segment_batches
from engine.files.wire import to_segment
from schemas.events import Event

_PACKED: Final = (".gz", ".zst")
_CSV: Final = (".csv", ".tsv")
_PARQUET: Final = ".parquet"
#: Beginnings of files that are none of ours whatever they are called.
_NOT_LINES: Final = ((b"PAR1", "Parquet: name it .parquet"), (b"PK\x03\x04", "a zip archive"))

#: Without the checks of the log: these events passed them, and written anew one may be larger.
_DECODER: Final = msgspec.json.Decoder(Event)


class FileReader:
    """Reads files one at a time with the same options; those of `engine.files.source.read_events`.

    `ordered`: an event appended before the one above refuses the file.
    """

    def __init__(
        self,
        mapping: FileMapping | None,
        problems: Problems,
        *,
        ordered: bool = True,
        span: Span = EVERYTHING,
        advance: Advance = no_advance,
    ) -> None:
        self.span = span
        self._mapping = mapping
        self._problems = problems
        self._ordered = ordered
        self._advance = advance

    def read(self, path: Path, *, row_from: int = 0, id_prefix: str = "") -> Batches:
        """The events of one file in the span.

        Rows of one file of many (`id_prefix`), or of one to be sorted, are numbered as they stand.
        """
        counts_all = bool(id_prefix) or not self._ordered
        numbering = Numbering(row_from, EVERYTHING if counts_all else self.span, id_prefix)
        reading = Reading(path, self._problems, self.span, self._ordered, numbering, self._advance)
        for batch in _batches(reading, self._mapping):
            if self.span == EVERYTHING:
                yield batch
            else:
                yield _within(batch, self.span)

    def first_ms(self, path: Path) -> int | None:
        """The append time of the first event, None for a file without. Counts no problems."""
        numbering = Numbering(0, EVERYTHING)
        reading = Reading(path, Problems(), EVERYTHING, self._ordered, numbering, no_advance)
        for batch in _batches(reading, self._mapping):
            if batch.times:
                return batch.times[0]
        return None


def _within(batch: Batch, span: Span) -> Batch:
    return batch_of(row for row in zip(*batch, strict=True) if span.has(row[0]))


def file_kind(path: Path) -> str:
    """The last suffix in lower case, without that of a packing: `.csv` of `a.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _batches(reading: Reading, mapping: FileMapping | None) -> Batches:
    path = reading.path
    kind = file_kind(path)
    if mapping is None and (kind in _CSV or kind == _PARQUET):
        what = "Parquet" if kind == _PARQUET else "CSV"
        raise FileRefused(f"{path}: a {what} file needs --map mapping.yaml")
    if mapping is None:
        _check_lines(path)
        lines = LineReader(path, reading.problems, reading.advance)
        return segment_batches(lines, reading)
    blocks, mapper = _rows(kind, reading, mapping)
    rule = mapping.rules.group_by
    if rule is None:
        return mapped_batches(blocks, mapper, reading)
    return grouped_batches(blocks, mapper, reading, rule.within_ms)


def _rows(kind: str, reading: Reading, mapping: FileMapping) -> tuple[Iterator[Block], RowMapper]:
    rules, problems, numbering = mapping.rules, reading.problems, reading.numbering
    if kind == _PARQUET:
        # Importing DuckDB takes a moment, which readers of lines need not wait for.
        from engine.files.parquet import ParquetRows

        table = ParquetRows(reading.path, problems, mapping, reading.advance)
        return table.blocks(), RowMapper(rules, table.columns, numbering, table.unit)
    _check_lines(reading.path)
    lines = LineReader(reading.path, problems, reading.advance)
    if kind in _CSV:
        delimiter = "\t" if kind == ".tsv" else rules.delimiter
        rows = CsvRows(lines, problems, delimiter, rules.encoding)
        mapping.check_header(rows.header, reading.file)
        return rows.blocks(), RowMapper(rules, rows.header, numbering)
    columns = list(rules.columns())
    return json_blocks(lines, problems, columns), RowMapper(rules, columns, numbering)


def _check_lines(path: Path) -> None:
    try:
        with path.open("rb") as raw:
            head = raw.read(4)
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from None
    for magic, what in _NOT_LINES:
        if head == magic:
            raise FileRefused(f"{path}: these are no lines of text but {what}")


def _encode(found: FileEvent) -> bytes:
    a_ms, event, raw = found
    return b"0" + to_segment(event, a_ms) if raw is None else b"1" + raw


def _decode(a_ms: int, value: bytes) -> FileEvent:
    message = value[1:]
    return FileEvent(a_ms, _DECODER.decode(message), message if value[:1] == b"1" else None)


#: How an event is kept on disk while it is sorted.
EVENTS: Final = Codec(_encode, _decode)
