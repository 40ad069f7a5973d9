"""Decisions made again against those that were published. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

#: A decision record as JSON has it (docs/interfaces.md, "Decision").
Row = dict[str, Any]
_Key = tuple[Any, ...]

DIFFERENCES_MAX = 20


class Difference(NamedTuple):
    """One activation that was decided otherwise. `recorded` None: only deciding again gives it,
    `again` None: only the topic has it."""

    recorded: Row | None
    again: Row | None


class Comparison(NamedTuple):
    """`equal` rows; `different` activations, of which the first are listed by time; `repeated`
    rows that the topic has more than once (a store that was rolled back decides again)."""

    equal: int
    different: int
    repeated: int
    differences: tuple[Difference, ...]


def compare(recorded: Iterable[Row], again: Iterable[Row]) -> Comparison:
    """Every field counts. Rows of one activation that are left on both sides are put together."""
    published, made = Counter(map(_key, recorded)), Counter(map(_key, again))
    equal = sum((published & made).values())
    surplus = published - made
    repeated = sum(count for key, count in surplus.items() if key in made)
    left = {key: count for key, count in surplus.items() if key not in made}
    missing = made - published
    pairs: defaultdict[_Key, tuple[list[_Key], list[_Key]]] = defaultdict(lambda: ([], []))
    for side, keys in enumerate((Counter(left), missing)):
        for key in sorted(keys.elements(), key=_order):
            row = dict(key)
            pairs[row["trigger"], row["user"], row["activation"]][side].append(key)
    differences = []
    for one, other in pairs.values():
        for number in range(max(len(one), len(other))):
            differences.append(Difference(_row(one, number), _row(other, number)))
    differences.sort(key=lambda found: str((found.recorded or found.again or {}).get("at")))
    return Comparison(equal, len(differences), repeated, tuple(differences[:DIFFERENCES_MAX]))


def _key(row: Row) -> _Key:
    return tuple(row.items())


def _order(key: _Key) -> str:
    return str(dict(key)["at"])


def _row(keys: list[_Key], number: int) -> Row | None:
    return dict(keys[number]) if number < len(keys) else None
