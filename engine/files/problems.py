"""What was wrong with a file: counted by kind, with the first places."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

EXAMPLES_MAX: Final = 5
DETAIL_CHARS_MAX: Final = 300


class ProblemKind(StrEnum):
    """The closed list. The first block leaves the row out, the second keeps what could be read."""

    MALFORMED_JSON = "MALFORMED_JSON"
    WRONG_TYPE = "WRONG_TYPE"
    MISSING_ID = "MISSING_ID"
    MISSING_EVENT = "MISSING_EVENT"
    MISSING_TIME = "MISSING_TIME"
    BAD_TIMESTAMP = "BAD_TIMESTAMP"
    ID_TOO_LONG = "ID_TOO_LONG"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    OWN_EVENT = "OWN_EVENT"
    BAD_ROW = "BAD_ROW"
    """A CSV row with another number of columns than the header, or quotes that do not close."""

    BAD_VALUE = "BAD_VALUE"
    """A value that is not of its column's type: left out, the event stays, since a lost order
    would let an absence fire."""
    NOT_UTF8 = "NOT_UTF8"
    """Bytes that are no text: replaced."""
    TRUNCATED = "TRUNCATED"
    """Packed data that stops before its end: what came before is used."""
    DAMAGED = "DAMAGED"
    """Packed data that cannot be unpacked: what came before is used."""


class Example(NamedTuple):
    """One place; `line` counts from 1."""

    file: str
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.detail}"


class FileRefused(Exception):
    """A file that cannot be used; the message is one line for a person, `file:line: ...`."""


class UnsortedError(FileRefused):
    """A file that is not in append order, read without sorting."""


class Problems:
    """Counts and first examples; `strict` refuses the file at the first one.

    `rows` is the number of rows seen so far, good or bad; `events` of those given out.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.counts: Counter[ProblemKind] = Counter()
        self.examples: dict[ProblemKind, list[Example]] = {}
        self.rows = 0
        self.events = 0
        self._strict = strict

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, kind: ProblemKind, file: str, line: int, detail: str) -> None:
        """Count one problem; raise FileRefused when the reading is strict."""
        example = Example(file, line, _printable(detail[:DETAIL_CHARS_MAX]))
        if self._strict:
            raise FileRefused(f"{file}:{line}: {kind}: {example.detail}")
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    def lines(self) -> Iterable[str]:
        """For a person: each kind with its count, then its first places."""
        for kind, count in self.counts.most_common():
            yield f"{kind}: {count}"
            for example in self.examples[kind]:
                yield f"  {example}"

    def to_document(self) -> dict[str, object]:
        """The JSON form: `{"rows", "events", "problems": {KIND: {"count", "examples"}}}`."""
        found = {
            str(kind): {"count": count, "examples": [str(e) for e in self.examples[kind]]}
            for kind, count in sorted(self.counts.items())
        }
        return {"rows": self.rows, "events": self.events, "problems": found}


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
