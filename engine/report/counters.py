"""Funnel counters by their stored names, and sums of them."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from schemas.reasons import Outcome, Reason

K = TypeVar("K", bound=Hashable)

_SEPARATOR: Final = "|"
_PARTS: Final = 6
#: What a counter without a channel (an earlier version wrote them) says of messages, all pushes.
_OF_PUSHES: Final = frozenset(
    {
        Outcome.ADMITTED,
        Reason.ACCEPTED,
        Reason.UNKNOWN,
        Reason.REJECTED,
        Reason.UNREGISTERED,
        Reason.PROVIDER_ERROR,
        Reason.TEMPLATE_ERROR,
        Reason.TEMPLATE_ABORT,
    }
)


class Counted(NamedTuple):
    """One counter. `trigger` "": of all triggers together; `day`: UTC, since 1970; `channel` "":
    before a channel was chosen."""

    trigger: str
    revision: int
    variant: str
    day: int
    stage: str
    channel: str
    number: int


class BadCounter(ValueError):
    """A counter whose name this version does not know."""


def read_counters(named: Mapping[str, int]) -> list[Counted]:
    """`trigger|revision|variant|day|stage|channel` -> count. Raises BadCounter."""
    return [_read(name, count) for name, count in named.items()]


def add_up(found: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Counters of several shards or runs, which are of one another's users."""
    total: Counter[str] = Counter()
    for counters in found:
        for name, count in counters.items():
            total[name] += count
    return total


def stages(rows: Iterable[Counted], key: Callable[[Counted], K]) -> dict[K, Counter[str]]:
    """Counts by stage, of each group that `key` makes."""
    found: dict[K, Counter[str]] = {}
    for row in rows:
        found.setdefault(key(row), Counter())[row.stage] += row.number
    return found


def _read(name: str, count: int) -> Counted:
    parts = name.split(_SEPARATOR)
    if len(parts) == _PARTS - 1:
        parts.append("push" if parts[-1] in _OF_PUSHES else "")
    if len(parts) != _PARTS:
        raise BadCounter(f"no funnel counter: {name[:100]}")
    trigger, revision, variant, day, stage, channel = parts
    try:
        return Counted(trigger, int(revision), variant, int(day), stage, channel, count)
    except ValueError:
        raise BadCounter(f"no funnel counter: {name[:100]}") from None
