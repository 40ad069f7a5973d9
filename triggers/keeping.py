"""What is kept of an event: the fields that conditions and texts name, as a state can hold them."""

from collections.abc import Callable
from typing import Any

from schemas.events import Event
from triggers.paths import compile_projection
from triggers.state import storable


def compile_keeper(paths: tuple[str, ...]) -> Callable[[Event], dict[str, Any]]:
    """Reads the fields at `paths` of an event, by path; absent ones are left out."""
    fields_of = compile_projection(paths)
    if not paths:
        return fields_of

    def keep(event: Event) -> dict[str, Any]:
        fields = fields_of(event)
        for path, value in fields.items():
            fields[path] = storable(value)
        return fields

    return keep
