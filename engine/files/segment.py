"""JSON lines of Segment messages."""

from datetime import UTC, datetime
from itertools import islice
from operator import le

from engine.files.lines import LineReader
from engine.files.numbering import EVERYTHING
from engine.files.problems import ProblemKind
from engine.files.reading import TIME_MAX_MS, Batch, Batches, Early, Reading, batch_of
from schemas.events import BadRecord, Event, decode_event, decode_events, to_ms, to_ms_all
from schemas.reasons import DeadLetterReason

#: Stands in for a missing time: before any other.
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
#: Stands in for a missing messageId until the row has its number.
_NO_ID = "?"


def segment_batches(lines: LineReader, reading: Reading) -> Batches:
    """The events of a file as they stand, in lists."""
    last_ms = 0
    for batch in lines.batches():
        counted = reading.numbering.count
        plain = _read_plain(batch, last_ms, reading)
        events, last_ms = plain or _read(batch, lines.line + 1, last_ms, reading)
        reading.problems.rows += reading.numbering.count - counted
        yield events
        if reading.ordered and reading.span.ended(last_ms):
            return


def _read_plain(batch: list[bytes], last_ms: int, reading: Reading) -> tuple[Batch, int] | None:
    """What `_read` answers where nothing is amiss and all rows count; None elsewhere."""
    if reading.span != EVERYTHING or (events := decode_events(batch)) is None:
        return None
    times = to_ms_all([event.received_at or event.timestamp or _NEVER for event in events])
    if times[0] < last_ms or not all(map(le, times, islice(times, 1, None))):
        return None
    if times[-1] > TIME_MAX_MS:
        return None
    reading.numbering.block((), (), len(batch))
    return Batch(times, events, batch), times[-1]


def _read(batch: list[bytes], first_line: int, last_ms: int, reading: Reading) -> tuple[Batch, int]:
    """The events of some lines, and the time of the last one."""
    found: list[tuple[int, Event, bytes | None]] = []
    places: list[int] = []
    nameless: list[tuple[int, Event]] = []
    early: list[Early] = []
    ordered, bounded = reading.ordered, reading.span != EVERYTHING
    add = found.append
    for place, line in enumerate(batch):
        raw = line.removesuffix(b"\n")
        kept: bytes | None = raw
        try:
            event = decode_event(raw, signals=True)
        except BadRecord as error:
            # Few files lack messageIds: trying again is cheaper than a number for every line.
            again = _without_id(raw, error, reading, first_line + place)
            if again is None:
                continue
            event, kept = again, None
        moment = event.received_at or event.timestamp
        a_ms = -1 if moment is None else to_ms(moment)
        if not 0 <= a_ms <= TIME_MAX_MS:
            _count_time(moment, reading, first_line + place)
            continue
        if ordered and a_ms < last_ms:
            early.append(Early(first_line + place, a_ms, last_ms))
            continue
        last_ms = a_ms
        if kept is None:
            nameless.append((place, event))
        if bounded:
            places.append(place)
        add((a_ms, event, kept))
    reading.refuse_order(early)
    times = [a_ms for a_ms, _, _ in found] if bounded else ()
    base = reading.numbering.block(times, places, len(batch))
    for place, event in nameless:
        event.message_id = reading.numbering.name(base + place)
    return batch_of(found), last_ms


def _without_id(raw: bytes, error: BadRecord, reading: Reading, line: int) -> Event | None:
    """The event once more, its id to be given; None when that is not what it lacks."""
    if error.reason is DeadLetterReason.MISSING_ID:
        try:
            return decode_event(raw, _NO_ID, signals=True)
        except BadRecord as second:
            error = second
    if raw.strip():
        reading.problems.add(ProblemKind(error.reason), reading.file, line, error.detail)
    return None


def _count_time(moment: datetime | None, reading: Reading, line: int) -> None:
    kind, detail = ProblemKind.MISSING_TIME, "neither receivedAt nor timestamp"
    if moment is not None:
        kind, detail = ProblemKind.BAD_TIMESTAMP, f"the time is out of range: {moment}"
    reading.problems.add(kind, reading.file, line, detail)
