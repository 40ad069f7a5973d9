"""Which job decides which user: profiles that become one are decided by the same."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final
from zlib import crc32

from engine.files import lines_with
from schemas.events import BadRecord, decode_event
from triggers.merging import merge_of

#: Stand in every message that merges profiles, unless it hides them behind escapes.
_MARKS: Final = (b"identify", b"alias")


class Places:
    """Join who belongs together, then ask for places: 0 to `count` - 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._above: dict[str, str] = {}
        #: The place of everybody who was joined to somebody.
        self.joined: dict[str, int] = {}

    def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """These belong together."""
        for one, other in pairs:
            root, other_root = self._root(one), self._root(other)
            if root != other_root:
                self._above[root] = other_root
        for user in chain(self._above, [*self._above.values()]):
            self.joined[user] = self._hashed(self._root(user))

    def of(self, user: str) -> int:
        """Where a user is decided."""
        place = self.joined.get(user)
        return self._hashed(user) if place is None else place

    def _hashed(self, user: str) -> int:
        return crc32(user.encode("utf-8", "surrogatepass")) % self.count

    def _root(self, user: str) -> str:
        above = self._above
        while (higher := above.get(user)) is not None:
            if (highest := above.get(higher)) is not None:
                above[user] = highest
            user = higher
        return user


def merges_in(path: Path) -> Iterator[tuple[str, str]]:
    """The pairs of profiles that messages of a file or a folder make one."""
    for line in lines_with(path, _MARKS):
        try:
            pair = merge_of(decode_event(line, "?", signals=True))
        except BadRecord:
            continue
        if pair is not None:
            yield pair
