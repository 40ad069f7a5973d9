"""Texts of definition files as plain data, with the position of every name and value.

YAML 1.2 core schema (`NO` and `22:00` are texts) and JSON, built step by step without recursion.
Definitions need neither anchors nor tags, so both are refused; that also rules out alias bombs.
"""

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from triggers.problems import Location

FILE_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32
NUMBER_CHARS_MAX = 40
#: Integers that every reader of the stored JSON can hold.
INTEGER_MAX = 2**63 - 1

#: Line and column, counted from 1.
Position = tuple[int, int]

_CONSTANTS: dict[str, bool | None] = {"": None, "~": None}
for _name, _value in (("null", None), ("true", True), ("false", False)):
    _CONSTANTS |= dict.fromkeys((_name, _name.capitalize(), _name.upper()), _value)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|NaN|-?Infinity")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_TOKEN = re.compile(r"[ \t\r\n]*(?:([{}\[\],:])|(\")|([^\s{}\[\],:\"]+))")
_DECODER = json.JSONDecoder()


class SourceError(Exception):
    """A text that cannot be read any further, and the position of the reason."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


@dataclass(slots=True)
class Source:
    """One document of a file: its data, where each name and value stands, what is wrong with it."""

    data: Any = None
    keys: dict[Location, Position] = field(default_factory=dict)
    values: dict[Location, Position] = field(default_factory=dict)
    problems: list[tuple[Position, str]] = field(default_factory=list)

    def position(self, location: Location, *, at_key: bool) -> Position:
        """The position of what stands at `location`, or of the nearest thing above it.

        A list index that the document does not have is skipped: a validator sees a list where the
        author wrote its only element.
        """
        here: Location = ()
        for step in location:
            if (*here, step) in self.values:
                here = (*here, step)
            elif isinstance(step, str):
                return self.values[here]
        return self.keys.get(here, self.values[here]) if at_key else self.values[here]


def read_source(text: str, *, is_json: bool, bytes_max: int = FILE_BYTES_MAX) -> list[Source]:
    """All documents of a file; raises SourceError, and nothing else, for what cannot be read."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > bytes_max:
        raise SourceError((1, 1), f"a file has at most {bytes_max} bytes, this has {size}")
    lone = _SURROGATE.search(text)
    if lone is not None:
        raise SourceError(_position(text, lone.start()), "not a valid character")
    return [_read_json(text)] if is_json else _read_yaml(text)


class _Builder:
    """Puts scalars and containers, as they come, into a Source."""

    def __init__(self) -> None:
        self.source = Source()
        self._open: list[tuple[dict[str, Any] | list[Any], Location]] = []
        #: The names awaiting their value, one per open mapping; None: a name comes next.
        self._names: list[str | None] = []

    def expects_name(self) -> bool:
        return bool(self._open) and type(self._open[-1][0]) is dict and self._names[-1] is None

    def name(self, name: str, position: Position) -> None:
        container, location = self._open[-1]
        if name in container:
            self.problem(position, f"'{name[:100]}' stands here twice")
        self.source.keys[(*location, name)] = position
        self._names[-1] = name

    def value(self, value: Any, position: Position) -> Location:
        """Put a value where it belongs and tell its location."""
        if not self._open:
            self.source.data = value
            location: Location = ()
        else:
            container, above = self._open[-1]
            if isinstance(container, list):
                location = (*above, len(container))
                container.append(value)
            else:
                name = self._names[-1] or ""
                location = (*above, name)
                container[name] = value
                self._names[-1] = None
        self.source.values[location] = position
        return location

    def begin(self, container: dict[str, Any] | list[Any], position: Position) -> None:
        if self.expects_name():
            raise SourceError(position, "a name is text, not a list or a mapping")
        if len(self._open) >= DEPTH_MAX:
            raise SourceError(position, f"nested more than {DEPTH_MAX} deep")
        self._open.append((container, self.value(container, position)))
        self._names.append(None)

    def end(self) -> None:
        self._open.pop()
        self._names.pop()

    def problem(self, position: Position, message: str) -> None:
        self.source.problems.append((position, message))

    def text(self, text: str, position: Position) -> str:
        """A text whose escapes may have come in halves (`\\ud83d\\ude00`)."""
        if _SURROGATE.search(text) is None:
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.problem(position, "half a character: an escape such as \\ud83d needs its pair")
            return ""

    def plain(self, text: str, position: Position) -> Any:
        """An unquoted scalar by the YAML 1.2 core schema, of which JSON's are a part."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        number: Any = None
        if _INTEGER.fullmatch(text) and len(text) <= NUMBER_CHARS_MAX:
            number = int(text, 0 if text[:2] in ("0o", "0x") else 10)
        elif _FLOAT.fullmatch(text) and len(text) <= NUMBER_CHARS_MAX:
            number = float(text)
        elif not _NOT_FINITE.fullmatch(text) and not _FLOAT.fullmatch(text):
            return self.text(text, position)
        if number is None or not isfinite(number) or abs(number) > INTEGER_MAX:
            self.problem(position, f"the number {text[:NUMBER_CHARS_MAX]} is out of range")
            return 0
        return number


def _position(text: str, offset: int) -> Position:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _read_yaml(text: str) -> list[Source]:
    sources: list[Source] = []
    builder = _Builder()
    position: Position = (1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            position = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, DocumentStartEvent):
                builder = _Builder()
                sources.append(builder.source)
            else:
                _build(builder, event, position)
    except SourceError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            position = (mark.line + 1, mark.column + 1)
        raise SourceError(position, f"not valid YAML: {error.problem or error.context}") from None
    except ReaderError as error:
        raise SourceError(_position(text, error.position), "not a valid character") from None
    except Exception as error:
        # The scanner is not closed over its own errors: "\U99999999" ends in OverflowError, a
        # directive without a number in ValueError. No text may take the caller down.
        raise SourceError(position, f"not valid YAML: {error}") from None
    return sources


def _build(builder: _Builder, event: Any, position: Position) -> None:
    if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
        raise SourceError(position, "anchors (&) and aliases (*) are not possible: write it out")
    if isinstance(event, MappingEndEvent | SequenceEndEvent):
        builder.end()
        return
    if getattr(event, "tag", None) is not None:
        raise SourceError(position, "tags (!) are not possible: quote it if it is text")
    if isinstance(event, MappingStartEvent):
        builder.begin({}, position)
    elif isinstance(event, SequenceStartEvent):
        builder.begin([], position)
    elif isinstance(event, ScalarEvent):
        if builder.expects_name():
            builder.name(builder.text(event.value, position), position)
        elif event.style is None:
            builder.value(builder.plain(event.value, position), position)
        else:
            builder.value(builder.text(event.value, position), position)


def _read_json(text: str) -> Source:
    try:
        json.loads(text, parse_int=float, parse_constant=str)
    except json.JSONDecodeError as error:
        raise SourceError((error.lineno, error.colno), f"not valid JSON: {error.msg}") from None
    except RecursionError:
        raise SourceError((1, 1), f"nested more than {DEPTH_MAX} deep") from None
    return _build_json(text)


def _build_json(text: str) -> Source:
    """Build from a text that is known to be valid: only its tokens are left to tell apart."""
    builder = _Builder()
    line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
    offset = 0
    while (token := _JSON_TOKEN.match(text, offset)) is not None:
        mark, quote, plain = token.groups()
        offset = token.end()
        start = token.start(token.lastindex or 0)
        line = bisect_right(line_starts, start)
        position = (line, start - line_starts[line - 1] + 1)
        if quote:
            raw, offset = _DECODER.raw_decode(text, start)
            value = builder.text(raw, position)
            (builder.name if builder.expects_name() else builder.value)(value, position)
        elif plain:
            builder.value(builder.plain(plain, position), position)
        elif mark in "{[":
            builder.begin({} if mark == "{" else [], position)
        elif mark in "}]":
            builder.end()
    return builder.source
