"""Which offset of a partition may be committed when its records end out of order."""

from collections import deque


class Window:
    """The offsets of one assigned partition that were read and not all finished.

    The committed offset is the lowest unfinished one: everything below is done, so that a restart
    reads again what was not done and nothing is skipped. A closed window (the partition was taken
    away) ignores what ends late.
    """

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._last = -1
        #: Being handled right now: a rebalance waits a moment for these.
        self.active = 0
        #: The partition is about to go: begin nothing more of it.
        self.leaving = False
        self.closed = False

    def __len__(self) -> int:
        """Offsets from the lowest unfinished one on, finished ones between included."""
        return len(self._open)

    @property
    def committable(self) -> int | None:
        """The offset to commit (the next one to read after a restart), None before any was read."""
        if self._open:
            return self._open[0]
        return None if self._last < 0 else self._last + 1

    def read(self, offset: int) -> None:
        """A record was read. Offsets rise, with gaps where Kafka has them; else ValueError."""
        if offset <= self._last:
            raise ValueError(f"offset {offset} was read after {self._last}")
        self._last = offset
        self._open.append(offset)

    def done(self, offset: int) -> None:
        """The record is finished for good; each is finished once."""
        if self.closed:
            return
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open.popleft())

    def close(self) -> None:
        """The partition belongs to somebody else now."""
        self.closed = self.leaving = True
        self._open.clear()
        self._done.clear()
