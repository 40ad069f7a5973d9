"""A text with its values, by the short way where there is one.

Liquid takes 35 us to fill in one name, a tenth of what a delivery may cost, so texts that only fill
in strings are put together directly, `{{ start.properties.name }}` for instance; a test holds the
two equal.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from triggers.texts import OUTPUT_BYTES_MAX, RenderError, TextError, compile_text, scope_of

#: Values by dotted path, by root (`start`, `event`).
Fields = Mapping[str, Mapping[str, object]]

_PLAIN_OUTPUT = re.compile(
    r"\{\{ *(start|event)\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*) *\}\}", re.ASCII
)


def fill_text(source: str, fields: Fields, trigger: str, items: Iterable[Fields]) -> str:
    """The text as `trigger` says it. Raises `RenderError`."""
    parts = _plain_parts(source)
    if parts is not None:
        text = _joined(parts, fields)
        if text is not None:
            return text
    try:
        compiled = compile_text(source)
    except TextError as error:
        raise RenderError(str(error)) from None
    return compiled.render(scope_of(fields, trigger, items))


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
    """None when Liquid has to decide: a value that is missing or no string, a long text, or a
    carriage return, of which it makes a newline."""
    filled = [parts[0]]
    for at in range(1, len(parts), 3):
        value = fields.get(parts[at], {}).get(parts[at + 1])
        if not isinstance(value, str):
            return None
        filled += (value, parts[at + 2])
    text = "".join(filled)
    return text if len(text) * 4 <= OUTPUT_BYTES_MAX and "\r" not in text else None
