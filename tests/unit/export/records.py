"""Records as the topics hold them, a log of them in memory, and what a folder has of them."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from engine.explain.log import Extent, LogReader
from engine.files.parquet import connect
from schemas.decisions import Decision, decision_record
from schemas.marks import SEQ_HEADER, commit_mark, record_mark
from schemas.reasons import Outcome, Reason

T0_MS = 1_767_607_200_000
DAY_MS = 86_400_000


def decision(number: int, at_ms: int = T0_MS, **changes: Any) -> bytes:
    """The record of one admitted candidate."""
    fields: dict[str, Any] = {
        "trigger": "cart",
        "user": f"u{number}",
        "activation": f"m{number}",
        "at_ms": at_ms,
        "outcome": Outcome.ADMITTED,
        "start": f"m{number}",
        "event": f"m{number}",
        "revision": 2,
        "delivery_id": f"{number:032x}",
    }
    return decision_record(Decision(**(fields | changes)))


def suppressed(number: int, at_ms: int = T0_MS) -> bytes:
    """The record of one that was kept back."""
    return decision(
        number, at_ms, outcome=Outcome.SUPPRESSED, reason=Reason.COOLDOWN, delivery_id=None
    )


class FakeLog(LogReader):
    """Partitions of records; `begins` are the first offsets that are still there."""

    def __init__(self, partitions: Sequence[list[bytes]], batch: int = 3) -> None:
        self.partitions = partitions
        self.begins = [0] * len(partitions)
        self.batch = batch

    async def extent(self, topic: str, partition: int, since_ms: int | None = None) -> Extent:
        begin, end = self.begins[partition], len(self.partitions[partition])
        return Extent(begin, begin if since_ms is None else max(begin, since_ms), end)

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[list[ConsumerRecord[Any, Any]]]:
        assert start >= self.begins[partition]
        for first in range(start, end, self.batch):
            yield [
                record(partition, offset, self.partitions[partition][offset])
                for offset in range(first, min(first + self.batch, end))
            ]


def record(partition: int, offset: int, value: bytes) -> Any:
    """As the consumer gives it, each of a commit of its own."""
    headers = ((SEQ_HEADER, record_mark(commit_mark(offset, 0, "x"), 0)),)
    return ConsumerRecord(
        "decisions", partition, offset, 0, 0, None, value, None, 0, len(value), headers
    )


def stored(folder: Path, columns: str = "source_partition, source_offset") -> list[tuple[Any, ...]]:
    """What a dataset's folder holds, in order."""
    if not list(folder.glob("day=*/*.parquet")):
        return []
    with connect() as database:
        return database.execute(
            f"SELECT {columns} FROM read_parquet(?, hive_partitioning = true) ORDER BY {columns}",
            [f"{folder}/*/*.parquet"],
        ).fetchall()
