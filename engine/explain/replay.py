"""Replay: partitions of the live log through the real shard over a memory store.

The state at the beginning of a range is made by everything before it, so the log is decided from
its beginning and only the decisions of the range are compared. Where the broker has dropped the
beginning, that is impossible and the answer is `approximate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from engine.explain.comparing import Comparison, Row, compare
from engine.explain.log import LogReader, open_log
from engine.ports import ShardMeta, ShardStore
from engine.registry.operations import open_to_read
from engine.registry.reader import RegistryReader
from engine.settings import Settings
from engine.store.memory import MemoryStore
from engine.stream.outbox import Entry, OutMessage, unpack_entry
from engine.stream.shard import Shard, ShardSettings
from schemas.decisions import utc
from schemas.kinds import header
from schemas.marks import SEQ_HEADER, marked, record_mark
from schemas.topics import Topics
from triggers.program import Program

READ_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class Range:
    """Decisions with `from_ms` <= at < `to_ms` (None: open) of `trigger` (None: all)."""

    from_ms: int | None = None
    to_ms: int | None = None
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """One shard. `records` were decided again, up to offset `end`; `approximate`: the log does not
    begin at its beginning."""

    shard: int
    records: int
    end: int
    approximate: bool
    comparison: Comparison


class _Programs:
    """`Programs` of a registry that was read to its end."""

    def __init__(self, reader: RegistryReader) -> None:
        self._reader = reader

    async def program(self, number: int) -> Program:
        await self._reader.read_up_to(number, READ_UP_S)
        return self._reader.program(number)


class _Outlet:
    """Keeps the decisions; everything counts as published at once."""

    def __init__(self, topic: str) -> None:
        self.acked = -1
        self.rows: list[Row] = []
        self._topic = topic

    async def put(self, seq: int, entry: Entry) -> None:
        """See `engine.stream.shard.Outlet`."""
        self.acked = seq
        for message in entry.messages:
            if message is not None and message.topic == self._topic:
                self.rows.append(msgspec.json.decode(message.value))


async def replay(
    settings: Settings,
    store: ShardStore,
    shards: Sequence[int],
    wanted: Range,
    timeout_s: float,
) -> list[Replayed]:
    """Decide these shards again, one after the other, as far as the live ones have.

    `store` is only read: how far each shard is. Memory: the users and the decisions of one
    shard. Raises what `explain_user` raises.
    """
    found = []
    async with (
        open_to_read(settings, timeout_s) as registry,
        open_log(settings, timeout_s) as log,
    ):
        for shard in shards:
            meta = await store.load_shard(shard)
            if meta is not None:
                pending = await store.outbox(shard)
                one = _Replay(settings, registry, log, shard, wanted, meta)
                found.append(await one.run([unpack_entry(blob) for _, blob in pending]))
    return found


class _Replay:
    """One shard, once."""

    def __init__(
        self,
        settings: Settings,
        registry: RegistryReader,
        log: LogReader,
        shard: int,
        wanted: Range,
        meta: ShardMeta,
    ) -> None:
        assert settings.log_secret is not None, "the command requires log_secret"
        self._topics = Topics(settings.topic_prefix)
        self._log, self._number, self._wanted = log, shard, wanted
        self._meta = meta
        self._outlet = _Outlet(self._topics.decisions)
        self._shard = Shard(
            shard,
            MemoryStore(),
            _Programs(registry),
            self._outlet,
            ShardSettings(
                partitions=settings.partitions,
                topics=self._topics,
                secret=settings.log_secret.get_secret_value().encode(),
                log_clock=settings.clock == "log",
            ),
        )
        # The live shard may be about to fire timers: what comes from then on is not there yet.
        firing = 0 < meta.next_due < meta.watermark_ms
        self._before = utc(meta.next_due) if firing else ""
        self._after = ""

    async def run(self, outbox: Sequence[Entry]) -> Replayed:
        """Decide again, then compare. `outbox`: decided, maybe not published yet."""
        topic = self._topics.events
        extent = await self._log.extent(topic, self._number)
        end = min(extent.end, self._meta.position.offset + 1)
        records = 0
        await self._shard.open()
        async for batch in self._log.read(topic, self._number, extent.begin, end):
            if not records and extent.begin:
                self._after = utc(batch[0].timestamp)
            records += len(batch)
            await self._shard.apply(batch)
            await self._shard.drain_due()
        recorded = await self._recorded(outbox)
        comparison = compare(filter(self._holds, recorded), filter(self._holds, self._outlet.rows))
        return Replayed(self._number, records, end, extent.begin > 0, comparison)

    async def _recorded(self, outbox: Sequence[Entry]) -> list[Row]:
        """What the topic holds, each commit's once, and what waits in the outbox, up to the
        position."""
        topic = self._topics.decisions
        extent = await self._log.extent(topic, self._number)
        marks: set[bytes] = set()
        rows = []
        async for batch in self._log.read(topic, self._number, extent.begin, extent.end):
            for record in batch:
                mark = header(record.headers, SEQ_HEADER)
                if self._is_new(mark, marks):
                    rows.append(self._row(record.value))
        for entry in outbox:
            for number, message in enumerate(entry.messages):
                mark = record_mark(entry.mark, number)
                if message and self._is_decision(message) and self._is_new(mark, marks):
                    rows.append(self._row(message.value))
        return rows

    def _is_new(self, mark: bytes | None, marks: set[bytes]) -> bool:
        """Not one that was published twice, nor one that was decided after the position.

        What bears no mark is not from a shard: it counts, so that it is seen.
        """
        if mark is None:
            return True
        if mark in marks:
            return False
        marks.add(mark)
        return marked(mark) <= tuple(self._meta.position)

    def _is_decision(self, message: OutMessage) -> bool:
        return message.topic == self._topics.decisions

    def _row(self, value: bytes) -> Row:
        row: Row = msgspec.json.decode(value)
        return row

    def _holds(self, row: Row) -> bool:
        at, wanted = row["at"], self._wanted
        return (
            at >= self._after
            and (not self._before or at < self._before)
            and (wanted.from_ms is None or at >= utc(wanted.from_ms))
            and (wanted.to_ms is None or at < utc(wanted.to_ms))
            and (wanted.trigger is None or row["trigger"] == wanted.trigger)
        )
