"""A text with its values, by the short way where there is one.

Liquid takes 35 us to fill in one name, a tenth of what a delivery may cost, so texts that only fill
in strings and integers are put together directly, `{{ start.properties.name }}` for instance; a
test holds the two equal.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from triggers.formats import Reader
from triggers.texts import (
    NOBODY,
    OUTPUT_BYTES_MAX,
    RenderError,
    TextError,
    compile_text,
    scope_of,
)

#: Values by dotted path, by root (`start`, `event`).
Fields = Mapping[str, Mapping[str, object]]

_INTEGER_MAX = 1 << 64
_PLAIN_OUTPUT = re.compile(
    r"\{\{ *(start|event)\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*) *\}\}", re.ASCII
)


def fill_text(
    source: str,
    fields: Fields,
    trigger: str,
    items: Iterable[Fields] = (),
    reader: Reader = NOBODY,
) -> str:
    """The text as `trigger` says it to its reader. Raises `RenderError`."""
    parts = _plain_parts(source)
    if parts is not None:
        text = _joined(parts, fields)
        if text is not None:
            return text
    try:
        compiled = compile_text(source)
    except TextError as error:
        raise RenderError(str(error)) from None
    return compiled.render(scope_of(fields, trigger, items, reader))


class Plain(NamedTuple):
    """A text that only fills in values: `fixed` characters and, by root and path, the values."""

    fixed: int
    values: tuple[tuple[str, str], ...]

    def length(self, fields: Fields) -> int | None:
        """Its characters with these values; None when Liquid has to say."""
        length = self.fixed
        for root, path in self.values:
            said = _said(fields[root].get(path))
            if said is None:
                return None
            length += len(said)
        return length if length * 4 <= OUTPUT_BYTES_MAX else None


def plain_text(source: str) -> Plain | None:
    """None for a text that does more."""
    parts = _plain_parts(source)
    if parts is None:
        return None
    values = tuple(zip(parts[1::3], parts[2::3], strict=True))
    return Plain(sum(map(len, parts[::3])), values)


def is_fixed(source: str) -> bool:
    """Whether it says the same whatever the values."""
    parts = _plain_parts(source)
    return parts is not None and len(parts) == 1


@lru_cache(maxsize=8192)
def _plain_parts(source: str) -> tuple[str, ...] | None:
    """(text, root, path, text, root, path, ..., text) when that is all there is to the source."""
    parts = tuple(_PLAIN_OUTPUT.split(source))
    if any("{{" in text or "{%" in text for text in parts[::3]):
        return None
    return parts


def _joined(parts: Sequence[str], fields: Fields) -> str | None:
    """None when Liquid has to decide: a value that is missing or neither string nor integer, a long
    text, or a carriage return, of which it makes a newline."""
    filled = [parts[0]]
    for at in range(1, len(parts), 3):
        said = _said(fields.get(parts[at], {}).get(parts[at + 1]))
        if said is None:
            return None
        filled += (said, parts[at + 2])
    text = "".join(filled)
    return text if len(text) * 4 <= OUTPUT_BYTES_MAX and "\r" not in text else None


def _said(value: object) -> str | None:
    if type(value) is str:
        return value
    # Longer ones Python may refuse to write.
    if type(value) is int and -_INTEGER_MAX <= value <= _INTEGER_MAX:
        return str(value)
    return None
