"""From blocks of mapped rows to events: order, size, groups."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, Final

import msgspec

from engine.files.grouping import SURELY_SMALL, Grouping, Piece, too_large
from engine.files.ordering import SORT_EVENTS_MAX, Codec, in_order
from engine.files.reading import Batch, Batches, Reading, batch_of, batches_of
from engine.files.rows import Block, Mapped, RowMapper
from schemas.events import Event


def mapped_batches(blocks: Iterable[Block], mapper: RowMapper, reading: Reading) -> Batches:
    """The events of a file as they stand, in lists; each row is one."""
    for mapped, weight in _mapped(blocks, mapper, reading, 0):
        yield _events(mapped, weight, reading)


def grouped_batches(
    blocks: Iterable[Block],
    mapper: RowMapper,
    reading: Reading,
    within_ms: int,
) -> Batches:
    """The events of a file by append time, in lists. Rows of one group are one event when they are
    at most `within_ms` after the first."""
    found = _mapped(blocks, mapper, reading, within_ms)
    batches: Iterator[list[Piece]] = (_pieces(mapped, weight) for mapped, weight in found)
    if not reading.ordered:
        # Rows are sorted before they are grouped: those of one event may lie far apart.
        pieces = (piece for batch in batches for piece in batch)
        batches = batches_of(in_order(pieces, _CODEC, SORT_EVENTS_MAX))
    grouping = Grouping(within_ms, reading.file, reading.problems)
    for batch in batches:
        yield batch_of((a_ms, event, None) for a_ms, event in grouping.take(batch))
    yield batch_of((a_ms, event, None) for a_ms, event in grouping.rest())


def _mapped(
    blocks: Iterable[Block], mapper: RowMapper, reading: Reading, margin_ms: int
) -> Iterator[tuple[Mapped, int]]:
    """The blocks' events and the characters a row has at most, to `margin_ms` after the range."""
    problems, numbering = reading.problems, reading.numbering
    last_ms = 0
    for block in blocks:
        counted = numbering.count
        mapped, wrong = mapper.map(block)
        for line, kind, detail in wrong:
            problems.add(kind, reading.file, line, detail)
        problems.rows += numbering.count - counted
        if not mapped.times:
            continue
        if reading.ordered:
            last_ms = reading.check_order(mapped.times, mapped.lines, last_ms)
        yield mapped, block.weight
        if reading.ordered and reading.span.ended(last_ms, margin_ms + 1):
            return


def _events(mapped: Mapped, weight: int, reading: Reading) -> Batch:
    if weight <= SURELY_SMALL:
        return Batch(mapped.times, mapped.events, (None,) * len(mapped.times))
    return batch_of(
        (a_ms, event, None)
        for a_ms, event, line in zip(mapped.times, mapped.events, mapped.lines, strict=True)
        if not too_large(event, line, reading.file, reading.problems)
    )


def _pieces(mapped: Mapped, weight: int) -> list[Piece]:
    return list(zip(*mapped, repeat(weight)))


def _encode(piece: Piece) -> bytes:
    _, event, group, product, line, weight = piece
    names = (event.message_id, event.event, event.user_id)
    return msgspec.json.encode((*names, event.properties, group, product, line, weight))


def _decode(a_ms: int, value: bytes) -> Piece:
    kept: list[Any] = msgspec.json.decode(value)
    message_id, name, user, properties, group, product, line, weight = kept
    event = Event("track", message_id, name, user, properties=properties)
    return a_ms, event, None if group is None else tuple(group), product, line, weight


_CODEC: Final = Codec(_encode, _decode)
