"""CSV as blocks of rows: lines without a quote are split, the others go through the CSV reader."""

import csv
from collections.abc import Iterator
from typing import Final

from engine.files.lines import LineReader
from engine.files.problems import FileRefused, ProblemKind, Problems
from engine.files.rows import Block

_COLUMNS_MAX: Final = 10_000


class CsvRows:
    """The rows of one file after its header. Raises FileRefused when there is no header."""

    def __init__(
        self, lines: LineReader, problems: Problems, delimiter: str, encoding: str
    ) -> None:
        self._lines = lines
        self._problems = problems
        self._delimiter = delimiter
        self._encoding = encoding
        self._source = lines.blocks()
        self._texts: list[str] = []
        self._at = 0
        self._first_line = 1
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)
        self.header = self._header()

    def blocks(self) -> Iterator[Block]:
        """The rows, a block of lines at a time."""
        while self._at < len(self._texts) or self._load():
            yield self._block()

    def _header(self) -> list[str]:
        file = self._lines.file
        try:
            header = next(self._reader, [])
        except csv.Error as error:
            raise FileRefused(f"{file}:1: not CSV: {error}") from None
        if not header or len(header) > _COLUMNS_MAX:
            number = len(header)
            raise FileRefused(f"{file}:1: the first row names the columns, this one has {number}")
        return header

    def _load(self) -> bool:
        """Take the next lines; False at the end."""
        raw = next(self._source, None)
        if raw is None:
            return False
        raw = raw.removesuffix(b"\n")
        self._first_line = self._lines.line + 1
        self._at = 0
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError:
            text = "\n".join(map(self._repaired, raw.split(b"\n"), range(raw.count(b"\n") + 1)))
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        self._texts = text.split("\n")
        return True

    def _repaired(self, raw: bytes, number: int) -> str:
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            line = self._first_line + number
            self._problems.add(ProblemKind.NOT_UTF8, self._lines.file, line, str(error))
            return raw.decode(self._encoding, errors="replace")

    def _feed(self) -> Iterator[str]:
        """Lines for the CSV reader, from where the block stands."""
        while self._at < len(self._texts) or self._load():
            self._at += 1
            yield self._texts[self._at - 1] + "\n"

    def _block(self) -> Block:
        """The rows from where the block stands to its end, or a little further in quotes."""
        texts, start, columns = self._texts, self._at, len(self.header)
        hard = [n for n in range(start, len(texts)) if '"' in texts[n] or "\r" in texts[n]]
        if not hard and not start:
            rows = [text.split(self._delimiter) for text in texts]
            self._at = len(texts)
            if set(map(len, rows)) == {columns} and columns > 1:
                count = len(rows)
                last = self._first_line + count
                lines = range(self._first_line, last)
                return Block(rows, range(count), lines, count, max(map(len, texts)))
            return self._sorted_out(list(enumerate(rows, self._first_line)))
        found: list[tuple[int, list[str] | None]] = []
        pending = iter([*hard, len(texts)])
        while self._texts is texts and self._at < len(texts):
            until = next(pending)
            while until < self._at:
                until = next(pending)
            line = self._first_line + self._at
            plain = texts[self._at : until]
            found += enumerate((text.split(self._delimiter) for text in plain), line)
            self._at = until
            if until < len(texts):
                found.append(self._quoted())
        return self._sorted_out(found)

    def _quoted(self) -> tuple[int, list[str] | None]:
        """The row that begins here, which may reach over lines, and the line of its end."""
        line = self._first_line + self._at
        try:
            values: list[str] | None = next(self._reader, [])
        except csv.Error as error:
            # Where the quote was opened: the end of the file says nothing.
            self._problems.add(ProblemKind.BAD_ROW, self._lines.file, line, str(error))
            values = None
        return self._first_line + self._at - 1, values

    def _sorted_out(self, found: list[tuple[int, list[str] | None]]) -> Block:
        """Only rows with as many columns as the header; empty lines are no rows."""
        columns = len(self.header)
        rows, numbers, lines, number, weight = [], [], [], 0, 0
        for line, values in found:
            if values is not None and (not values or values == [""]):
                continue
            if values is not None and len(values) == columns:
                rows.append(values)
                numbers.append(number)
                lines.append(line)
            elif values is not None:
                detail = f"{len(values)} columns, the header has {columns}"
                self._problems.add(ProblemKind.BAD_ROW, self._lines.file, line, detail)
            number += 1
        if rows:
            weight = max(sum(map(len, row)) for row in rows)
        return Block(rows, numbers, lines, number, weight)
