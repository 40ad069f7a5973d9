"""Texts of definition files as plain data, with the position of every name and value.

YAML 1.2 core schema (`NO` and `22:00` are texts) and JSON, read event by event without recursion.
Definitions need neither anchors nor tags, so both are refused; that also rules out alias bombs.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from triggers.problems import Location

FILE_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32
NUMBER_CHARS_MAX = 40

#: Line and column, counted from 1.
Position = tuple[int, int]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    t: b
    for b, name in ((True, "true"), (False, "false"))
    for t in (name, name.capitalize(), name.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class SourceError(Exception):
    """A text that cannot be read, with the position of the reason."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


@dataclass(slots=True)
class Source:
    """One document of a file: its data, and where each name and value stands."""

    data: Any
    keys: dict[Location, Position] = field(default_factory=dict)
    values: dict[Location, Position] = field(default_factory=dict)

    def position(self, location: Location, *, at_key: bool) -> Position:
        """The position of the nearest thing that exists at or above `location`.

        Steps that the document does not have are skipped: a validator may see a list where the
        author wrote its only element.
        """
        here: Location = ()
        for step in location:
            if (*here, step) in self.values:
                here = (*here, step)
            elif isinstance(step, str):
                break
        else:
            if at_key and here in self.keys:
                return self.keys[here]
        return self.values[here]
