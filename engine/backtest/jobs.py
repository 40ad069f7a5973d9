"""Processes that decide side by side, each some of the users, over pipes.

This process reads, so everything said of files stays as it is, and sends each event to the job
that decides its user (`Places`). What is decided about a user does not depend on the others, so the
parts add up: decisions are merged by what they are sorted by anyway.

Jobs are forked from a `Part` that is ready to be fed and know what it knows. A command is one byte
and what belongs to it. All but events are answered, with messages and an empty one behind them.
"""

import multiprocessing
import os
import signal
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, islice
from multiprocessing.connection import Connection, Pipe
from traceback import format_exc
from typing import Any, Final, NamedTuple, get_origin
from zlib import crc32

import msgspec

from engine.backtest.part import Part
from engine.backtest.places import Places
from engine.backtest.result import Result
from engine.backtest.spill import Row
from engine.files import Batch
from schemas.events import Event
from triggers.lengths import Said
from triggers.merging import merge_of

#: Events of one message, or those of a batch more: what is made of them stays in the second-level
#: cache.
_EVENTS_MIN: Final = 32
#: Decisions of one message.
_ROWS_MAX: Final = 1_000
_COUNT_BYTES: Final = 4
#: Seconds of events where they are packed; of plain ones half the time that two jobs take to start.
_LARGE_BYTES: Final = 4_000_000
#: Reading takes a quarter of deciding.
_JOBS_MAX: Final = 4

_EVENTS, _JSON, _REACH, _FINISH, _RESULT, _SAID, _ROWS, _RECORDS = (bytes([n]) for n in range(8))
#: So much is told of why a job ends: a pipe takes it before it is read.
_WHY_CHARS_MAX: Final = 10_000


def jobs_for(input_bytes: int) -> int:
    """How many pay: one a core of a large history, as long as this process can keep them busy."""
    if input_bytes < _LARGE_BYTES or "fork" not in multiprocessing.get_all_start_methods():
        return 1
    # Not every system says which cores a process may use.
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(cores, _JOBS_MAX)


class Inseparable(Exception):
    """One process has to decide: an event makes profiles one that different jobs decide, or is
    nested so deeply that it cannot be passed on."""


class JobEnded(Exception):
    """A job is not there any more; the message says how it ended, or is its traceback."""


#: How the last message of a job that cannot go on begins, and what is raised because of it. No
#: answer begins so: nothing in msgpack or JSON does.
_BUG: Final = b"\xc1\x00"
_LAST: Final[dict[bytes, type[Exception]]] = {
    _BUG: JobEnded,
    b"\xc1\x01": OSError,
    b"\xc1\x02": Inseparable,
}


def _counted(found: Any, value: Any) -> Any:
    if get_origin(found) is Counter:
        return Counter(value)
    raise NotImplementedError


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.decode
_result_of = msgspec.msgpack.Decoder(Result, dec_hook=_counted).decode
_funnel_of = msgspec.json.Decoder(dict[str, int]).decode
_said_of = msgspec.msgpack.Decoder(Said).decode
_events_of = msgspec.msgpack.Decoder(list[Event]).decode
_events_of_json = msgspec.json.Decoder(list[Event]).decode
_rows_of = msgspec.msgpack.Decoder(list[Row]).decode


class _Waiting(NamedTuple):
    """Events to be sent to one job."""

    times: "array[int]"
    events: list[Event]

    def message(self) -> bytes:
        """As bytes; in JSON when an integer has over 64 bits. Raises Inseparable."""
        count = len(self.events).to_bytes(_COUNT_BYTES, "little")
        try:
            kind, events = self._packed()
        except RecursionError:
            # What could just be read is two levels deeper here, and in the job again.
            raise Inseparable from None
        return b"".join((kind, count, self.times.tobytes(), events))

    def _packed(self) -> tuple[bytes, bytes]:
        try:
            return _EVENTS, _encode(self.events)
        except OverflowError:
            return _JSON, msgspec.json.encode(self.events)


class Jobs:
    """The decider of several processes. Built before there are threads; `close` it.

    Raises JobEnded, OSError where a job did, and from `feed` Inseparable.
    """

    def __init__(self, part: Part, places: Places) -> None:
        self._places = places
        self._watermark_ms = part.run.watermark_ms
        context = multiprocessing.get_context("fork")
        pipes = [Pipe() for _ in range(places.count)]
        self._pipes = [mine for mine, _ in pipes]
        self._processes = [
            context.Process(target=_job, args=(part, places, number, pipes), daemon=True)
            for number in range(places.count)
        ]
        # Ctrl-C goes to jobs, too: it is this process that ends them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for process in self._processes:
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for _, theirs in pipes:
            theirs.close()

    def close(self) -> None:
        """End the jobs, whatever they do."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def feed(self, batches: Iterable[Batch]) -> None:
        """Send events to whom they concern, and wait until they are decided."""
        waiting = [_Waiting(array("q"), []) for _ in self._pipes]
        for batch in batches:
            self._route(batch, waiting)
            if batch.times:
                self._watermark_ms = max(self._watermark_ms, batch.times[-1])
            self._send_those(waiting, _EVENTS_MIN)
        self._send_those(waiting, 1)
        list(self._ask(_REACH + _encode(self._watermark_ms)))

    def _route(self, batch: Batch, waiting: list["_Waiting"]) -> None:
        count, joined = self._places.count, self._places.joined
        for a, event in zip(batch.times, batch.events, strict=True):
            user = event.user_id or event.anonymous_id or ""
            place = joined.get(user)
            if place is None:
                place = crc32(user.encode("utf-8", "surrogatepass")) % count
            if event.type != "track":
                self._check(event)
            mine = waiting[place]
            mine.times.append(a)
            mine.events.append(event)

    def _send_those(self, waiting: list["_Waiting"], least: int) -> None:
        for job, mine in enumerate(waiting):
            if len(mine.events) >= least:
                self._send(job, mine.message())
                waiting[job] = _Waiting(array("q"), [])

    def finish(self, drain: bool) -> None:
        """There are no more events."""
        list(self._ask(_FINISH + _encode(drain)))

    def rows(self) -> Iterator[Row]:
        """The decisions, sorted; once."""
        self._send_all(_ROWS)
        jobs = range(len(self._pipes))
        return merge(*(chain.from_iterable(map(_rows_of, self._answers(job))) for job in jobs))

    def result(self) -> Result:
        """What is reported."""
        found = Result()
        answers = self._ask(_RESULT)
        for funnel in answers:
            one = _result_of(next(answers))
            one.funnel = Counter(_funnel_of(funnel))
            found.add(one)
        return found

    def said(self) -> Iterator[Said]:
        """What became of the texts."""
        return map(_said_of, self._ask(_SAID))

    def records(self) -> Iterator[bytes]:
        """The users, as the state file has them."""
        return self._ask(_RECORDS)

    def _check(self, event: Event) -> None:
        pair = merge_of(event)
        if pair is not None and self._places.of(pair[0]) != self._places.of(pair[1]):
            raise Inseparable

    def _ask(self, command: bytes) -> Iterator[bytes]:
        self._send_all(command)
        for job in range(len(self._pipes)):
            yield from self._answers(job)

    def _send_all(self, command: bytes) -> None:
        for job in range(len(self._pipes)):
            self._send(job, command)

    def _send(self, job: int, message: bytes) -> None:
        try:
            self._pipes[job].send_bytes(message)
        except OSError:
            # Nothing waits to be read but why it ended.
            self._receive(job)
            raise

    def _answers(self, job: int) -> Iterator[bytes]:
        while answer := self._receive(job):
            yield answer

    def _receive(self, job: int) -> bytes:
        try:
            message = self._pipes[job].recv_bytes()
        except (EOFError, OSError):
            raise self._ended(job) from None
        if message[:2] in _LAST:
            raise _LAST[message[:2]](message[2:].decode())
        return message

    def _ended(self, job: int) -> JobEnded:
        process = self._processes[job]
        process.join(1.0)
        code = process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else "failed"
        return JobEnded(f"a process that decides a part of the users {how}")


def _batch(message: bytes) -> Batch:
    begin = 1 + _COUNT_BYTES
    end = begin + 8 * int.from_bytes(message[1:begin], "little")
    decode = _events_of if message[:1] == _EVENTS else _events_of_json
    try:
        events = decode(message[end:])
    except RecursionError:
        raise Inseparable from None
    return Batch(array("q", message[begin:end]), events, ())


def _job(
    part: Part, places: Places, number: int, pipes: Sequence[tuple[Connection, Connection]]
) -> None:
    """One process: do what the pipe says until its other end is gone."""
    pipe = pipes[number][1]
    for mine, theirs in pipes:
        mine.close()
        if theirs is not pipe:
            theirs.close()
    try:
        part.run.held.keep(lambda user: places.of(user) == number)
        _serve(part, pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        kind = next((kind for kind, raised in _LAST.items() if isinstance(error, raised)), _BUG)
        why = format_exc().rstrip() if kind == _BUG else str(error)
        with suppress(OSError):
            pipe.send_bytes(kind + why[-_WHY_CHARS_MAX:].encode(errors="replace"))


def _serve(part: Part, pipe: Connection) -> None:
    while message := pipe.recv_bytes():
        if message[:1] in (_EVENTS, _JSON):
            part.feed([_batch(message)])
        else:
            for answer in _answer(part, message[:1], message[1:]):
                pipe.send_bytes(answer)
            pipe.send_bytes(b"")


def _answer(part: Part, command: bytes, rest: bytes) -> Iterator[bytes]:
    if command == _REACH:
        part.run.reach(_decode(rest, type=int))
    elif command == _FINISH:
        part.finish(_decode(rest, type=bool))
    elif command == _RESULT:
        result = part.result()
        # What messages were worth may add up to more than 64 bits.
        yield msgspec.json.encode(result.funnel)
        result.funnel = Counter()
        yield _encode(result)
    elif command == _SAID:
        yield from map(_encode, part.said())
    elif command == _ROWS:
        rows = part.rows()
        while found := list(islice(rows, _ROWS_MAX)):
            yield _encode(found)
    elif command == _RECORDS:
        yield from part.records()
