"""What is wrong with a definition, and where: collected, never the first one only."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

#: Names of fields and positions in lists, from the document's root to the culprit.
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `at_key`: the field's name is to blame, not its value."""

    location: Location
    message: str
    at_key: bool = False


def suggestion(
    name: str, known: Iterable[str], *, template: str = "{}", likeness: float = 0.6
) -> str:
    """` (did you mean 'x'?)` with the nearest known name put into `template`, or nothing."""
    near = get_close_matches(name[:100], list(known), n=1, cutoff=likeness)
    if not near:
        return ""
    return f" (did you mean '{template.replace('{}', near[0], 1)}'?)"


def quoted(names: Iterable[str]) -> str:
    """Names in a sentence: `a`, `b`."""
    return ", ".join(f"`{name}`" for name in names)
