"""Records that were published twice.

After a crash the outbox publishes what it had not seen acknowledged, under the same `seq`; after a
rollback of the store the shard decides the same again in other commits. Both give the same bytes, a
little later in the same partition. Equal bytes under another number of the same commit are two
facts (two goals of one user in one millisecond). Which records count as repeats depends on the
partition alone, so it makes no difference in how many runs it is exported.
"""

from collections import deque
from hashlib import blake2b
from typing import Final

from schemas.kinds import Headers, header
from schemas.marks import SEQ_HEADER

#: A repeat stands at most so many offsets behind what it repeats. The outbox holds some thousand;
#: this also covers what a shard decides in the seconds a replica may be behind.
LOOK_BACK: Final = 50_000
_DIGEST_BYTES: Final = 16


class Repeats:
    """The records of one partition in the order of their offsets, some 300 bytes for each that is
    remembered."""

    def __init__(self, look_back: int = LOOK_BACK) -> None:
        self._look_back = look_back
        self._seen: dict[bytes, list[bytes]] = {}
        self._order: deque[tuple[int, bytes]] = deque()

    def is_repeat(self, value: bytes | None, headers: Headers, offset: int) -> bool:
        """Whether this was published shortly before; remembers it."""
        while self._order and self._order[0][0] < offset - self._look_back:
            _, gone = self._order.popleft()
            marks = self._seen[gone]
            del marks[0]
            if not marks:
                del self._seen[gone]
        key = blake2b(value or b"", digest_size=_DIGEST_BYTES).digest()
        mark = header(headers, SEQ_HEADER) or b""
        marks = self._seen.setdefault(key, [])
        repeated = any(known == mark or _commit(known) != _commit(mark) for known in marks)
        marks.append(mark)
        self._order.append((offset, key))
        return repeated


def _commit(mark: bytes) -> bytes:
    return mark.rpartition(b":")[0]
