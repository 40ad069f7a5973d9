"""From a topic, or from the decisions of a backtest, into a folder of Parquet files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from engine.explain.log import Extent, LogReader, open_log
from engine.export.folder import Folder, open_folder
from engine.export.manifest import ManifestRefused, Range, Source
from engine.export.repeats import LOOK_BACK, Repeats
from engine.export.rows import DECISIONS, BadRow, Dataset
from engine.files import EVERYTHING, ProblemKind, Problems, Span
from engine.files.lines import LineReader
from engine.settings import Settings
from engine.topics import TopicsError, admin_client, inspect_topics
from schemas.topics import Topics

_DIGEST_BYTES: Final = 8


class TopicMissingError(Exception):
    """There is no such topic."""


class Wanted(NamedTuple):
    """What of a partition a run is to take: offsets from `start` up to, not including, `end`.
    `begin` is the first offset the broker has, `head` where the partition ends."""

    begin: int
    start: int
    end: int
    head: int


@dataclass(slots=True)
class Exported:
    """What one run did to one dataset. `lost`: records that went from the topic before a run came
    for them; those that could not be read are in `problems`."""

    rows: int = 0
    files: int = 0
    repeated: int = 0
    lost: int = 0


def topic_of(dataset: Dataset, settings: Settings) -> str:
    """The topic a dataset is published on."""
    return f"{Topics(settings.topic_prefix).prefix}{dataset.name}"


async def export_topic(
    settings: Settings,
    dataset: Dataset,
    out: Path,
    problems: Problems,
    *,
    span: Span = EVERYTHING,
    timeout_s: float,
) -> Exported:
    """Bring the folder `out/<dataset>` up to date, see `fill_folder`.

    Raises TopicMissingError, TopicsError, FolderBusyError,
    ManifestRefused, KafkaError, KafkaUnreachableError, OSError.
    """
    topic = topic_of(dataset, settings)
    async with open_topic_log(settings, topic, timeout_s) as log:
        wanted = [await extent_in(log, topic, n, span) for n in range(settings.partitions)]
        with open_folder(out, dataset) as folder:
            folder.manifest.of_topic(topic)
            return await fill_folder(log, topic, wanted, dataset, folder, problems, span)


async def fill_folder(
    log: LogReader,
    topic: str,
    wanted: list[Wanted],
    dataset: Dataset,
    folder: Folder,
    problems: Problems,
    span: Span,
) -> Exported:
    """Add what the folder does not hold yet of the wanted part of each partition.

    Partitions are read one after the other, so that memory is bounded by a chunk and by what
    `Repeats` remembers of one of them.
    """
    done = Exported()
    for number, part in enumerate(wanted):
        source = folder.manifest.source(str(number))
        if source.end > part.head:
            raise ManifestRefused(
                f"{topic}[{number}] ends at {part.head}, the folder holds it up to {source.end}: "
                f"this is another topic of that name"
            )
        done.lost += _note_lost(source, part, span)
        for gap in source.missing(part.start, part.end):
            reading = _Reading(log, topic, number, part.begin)
            await _export_range(reading, gap, dataset, folder, problems, done)
    done.files = folder.files
    return done


class _Reading(NamedTuple):
    log: LogReader
    topic: str
    partition: int
    begin: int


async def _export_range(
    reading: _Reading,
    gap: Range,
    dataset: Dataset,
    folder: Folder,
    problems: Problems,
    done: Exported,
) -> None:
    log, topic, partition, begin = reading
    start, end = gap
    source, repeats = str(partition), Repeats()
    async for batch in log.read(topic, partition, max(begin, start - LOOK_BACK), end):
        for record in batch:
            offset = record.offset
            repeated = repeats.is_repeat(record.value, record.headers, offset)
            if offset < start:
                continue
            if repeated:
                done.repeated += 1
                continue
            try:
                folder.put(dataset.row(record.value, partition, offset))
            except BadRow as error:
                place = f"{topic}[{partition}]"
                problems.add(ProblemKind.WRONG_TYPE, place, offset, str(error))
                continue
            done.rows += 1
            if folder.is_full:
                folder.finish(source, start, offset + 1)
                start = offset + 1
    folder.finish(source, start, end)


def export_file(path: Path, out: Path, problems: Problems) -> Exported:
    """Add the decisions of a backtest (`--decisions`) to the folder `out/decisions`. The same file,
    packed or not, is added once.

    Raises FolderBusyError, ManifestRefused, FileRefused, OSError.
    """
    done = Exported()
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for block in LineReader(path, Problems()).blocks():
        digest.update(block.removesuffix(b"\n") + b"\n")
    name = f"file-{digest.hexdigest()}"
    lines = LineReader(path, problems)
    with open_folder(out, DECISIONS) as folder:
        source = folder.manifest.source(name)
        start = source.end
        for batch in lines.batches():
            for offset, line in enumerate(batch, lines.line):
                if offset < start or not line.strip():
                    continue
                try:
                    folder.put(DECISIONS.row(line, None, offset))
                except BadRow as error:
                    problems.add(ProblemKind.WRONG_TYPE, str(path), offset + 1, str(error))
                    continue
                done.rows += 1
                if folder.is_full:
                    folder.finish(name, start, offset + 1)
                    start = offset + 1
        if lines.line > start:
            folder.finish(name, start, lines.line)
        done.files = folder.files
    return done


def _note_lost(source: Source, part: Wanted, span: Span) -> int:
    """Of a partition that was exported before: what its topic no longer has. Told once."""
    if span.from_ms is not None or not source.done:
        return 0
    gaps = source.missing(source.done[0][0], part.begin)
    for begin, end in gaps:
        source.lost.append((begin, end))
        source.cover(begin, end)
    return sum(end - begin for begin, end in gaps)


@asynccontextmanager
async def open_topic_log(
    settings: Settings, topic: str, timeout_s: float
) -> AsyncIterator[LogReader]:
    """A reader, once the topic is known to exist: asking for one by name could create it.

    Raises TopicMissingError, TopicsError, KafkaUnreachableError, KafkaError.
    """
    async with open_log(settings, timeout_s) as log:
        specs = [spec for spec in Topics(settings.topic_prefix).specs() if spec.name == topic]
        async with admin_client(settings) as admin:
            findings = await inspect_topics(admin, specs, settings)
        for finding in findings:
            if finding.partitions is None:
                raise TopicMissingError(f"there is no topic {topic}")
            if finding.partitions != finding.expected_partitions:
                raise TopicsError(finding.problems)
        yield log


async def extent_in(log: LogReader, topic: str, partition: int, span: Span) -> Wanted:
    """The part of a partition that was appended in the span, up to its present end."""
    extent: Extent = await log.extent(topic, partition, span.from_ms)
    end = extent.end
    if span.to_ms is not None:
        end = min(end, (await log.extent(topic, partition, span.to_ms)).start)
    return Wanted(extent.begin, extent.start, end, extent.end)
