"""JSON lines of any objects as blocks of rows: columns are dotted names of fields."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from engine.files.lines import LineReader
from engine.files.problems import ProblemKind, Problems
from engine.files.rows import Block
from engine.files.values import NotOneValue

_OBJECT: Final = NotOneValue("an object")
_LIST: Final = NotOneValue("a list")


def json_blocks(lines: LineReader, problems: Problems, columns: list[str]) -> Iterator[Block]:
    """The values of `columns` in each object, None where there is none."""
    decode = msgspec.json.Decoder().decode
    paths = [column.split(".") for column in columns]
    for batch in lines.batches():
        first_line = lines.line + 1
        rows, numbers = [], []
        for number, raw in enumerate(batch):
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
                    rows.append([_below(value, path) for path in paths])
                    numbers.append(number)
                    continue
                kind, detail = ProblemKind.WRONG_TYPE, "not a JSON object"
            problems.add(kind, lines.file, first_line + number, detail)
        places = [first_line + number for number in numbers]
        yield Block(rows, numbers, places, len(batch), max(map(len, batch)))


def _below(value: Any, path: list[str]) -> Any:
    for name in path:
        if type(value) is not dict:
            return None
        value = value.get(name)
    if type(value) is dict:
        return _OBJECT
    return _LIST if type(value) is list else value
