"""Decisions sorted outside memory: what is kept is bounded, whatever the history holds."""

from collections.abc import Callable, Iterator
from heapq import merge
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec

from schemas.decisions import Decision, utc

#: Decisions sorted in memory at one time: about 100 MB.
BUFFERED_MAX: Final = 200_000
#: Sorted runs on disk, each an open file; more are merged into one.
RUNS_MAX: Final = 64

#: at, user, trigger, activation, outcome, reason, start, event, variant; "" where there is none. As
#: a tuple it sorts as decision files do, and ties cannot depend on how the input was cut.
Row = tuple[int, str, str, str, str, str, str, str, str]
Key = Callable[[Row], tuple[str | int, ...]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode
_to_json = msgspec.json.Encoder().encode
_LENGTH_BYTES: Final = 4


class Spill:
    """Takes decisions in any order (`add`), gives them out sorted by `key` (`rows`, once)."""

    def __init__(self, key: Key | None = None, buffered_max: int = BUFFERED_MAX) -> None:
        self._key = key
        self._buffered_max = buffered_max
        self._buffer: list[Row] = []
        self._runs: list[IO[bytes]] = []

    def add(self, decision: Decision) -> None:
        """Keep one decision."""
        self._buffer.append(
            (
                decision.at_ms,
                decision.user,
                decision.trigger,
                decision.activation,
                decision.outcome.value,
                decision.reason.value if decision.reason else "",
                decision.start or "",
                decision.event or "",
                decision.variant or "",
            )
        )
        if len(self._buffer) >= self._buffered_max:
            self._buffer.sort(key=self._key)
            self._runs.append(_write(self._buffer))
            self._buffer.clear()
            if len(self._runs) >= RUNS_MAX:
                merged = _write(self._merged())
                self._close_runs()
                self._runs.append(merged)

    def rows(self) -> Iterator[Row]:
        """Everything in order; the files on disk go when it is exhausted."""
        self._buffer.sort(key=self._key)
        yield from self._merged()
        self._close_runs()
        self._buffer.clear()

    def _merged(self) -> Iterator[Row]:
        return merge(*(_read(run) for run in self._runs), self._buffer, key=self._key)

    def _close_runs(self) -> None:
        for run in self._runs:
            run.close()
        self._runs.clear()


def row_line(row: Row) -> bytes:
    """A line of a decision file: the nine fields scripts rely on, in their order."""
    at_ms, user, trigger, activation, outcome, reason, start, event, variant = row
    fields = {
        "trigger": trigger,
        "user": user,
        "activation": activation,
        "at": utc(at_ms),
        "outcome": outcome,
        "reason": reason or None,
        "start": start or None,
        "event": event or None,
        "variant": variant or None,
    }
    return _to_json(fields) + b"\n"


def _write(rows: "list[Row] | Iterator[Row]") -> IO[bytes]:
    run = TemporaryFile(prefix="tripline-decisions-")  # noqa: SIM115  (its reader closes it)
    for row in rows:
        data = _encode(row)
        run.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
    return run


def _read(run: IO[bytes]) -> Iterator[Row]:
    run.seek(0)
    while head := run.read(_LENGTH_BYTES):
        yield _decode(run.read(int.from_bytes(head, "little")))
