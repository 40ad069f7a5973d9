"""Past events as the commands take them: a file, a folder or a topic, in a range of time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import CliError, ExitCode, load_settings_or_fail, talk

if TYPE_CHECKING:
    from engine.files import Batch, Problems, Span

#: `--events topic:NAME`; the log of this installation without a name.
TOPIC_SCHEME = "topic:"

EventsOption = Annotated[
    str | None,
    typer.Option(
        "--events",
        "-e",
        help="A file (JSON lines; CSV or Parquet with --map), a folder of them, or topic:NAME "
        "(topic: alone is the log).",
    ),
]
MapOption = Annotated[
    Path | None, typer.Option("--map", help="mapping.yaml: which column is what.")
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Events from then on: a time, or 7d before now.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="Events before then: a time, or 1d before now.")
]
SortOption = Annotated[bool, typer.Option("--sort", help="Put the events in order first.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse events with a bad row.")]


@contextmanager
def open_history(
    events: str,
    mapping: Path | None,
    problems: "Problems",
    *,
    from_: str | None = None,
    to: str | None = None,
    sort: bool = False,
    any_order: bool = False,
    row_from: int = 0,
    talks: bool = True,
) -> "Iterator[Iterator[Batch]]":
    """The events of `--events` by append time (`any_order`: as they stand, where that does not
    matter), with a progress bar where a person looks on.

    Raises CliError, and while reading what `engine.files.read_batches` raises. At the end it says
    on stderr what was wrong with the events, unless it is read once more (`talks`).
    """
    from engine.clock import now_ms
    from engine.files import FileRefused, Span, input_bytes, load_mapping, read_batches

    span = Span(moment_ms("--from", from_, now_ms()), moment_ms("--to", to, now_ms()))
    if span.from_ms is not None and span.to_ms is not None and span.from_ms >= span.to_ms:
        raise CliError(ExitCode.INVALID, "--from is not before --to")
    if events.startswith(TOPIC_SCHEME):
        if mapping is not None or sort:
            raise CliError(ExitCode.INVALID, "a topic has no --map and no --sort")
        with _topic_history(events.removeprefix(TOPIC_SCHEME), problems, span) as source:
            yield source
    else:
        path = Path(events)
        columns = None if mapping is None else load_mapping(mapping)
        with _progress(path.name, input_bytes(path), "bytes") as advance:
            batches = read_batches(
                path,
                columns,
                problems=problems,
                sort=sort,
                any_order=any_order,
                span=span,
                row_from=row_from,
                advance=advance,
            )
            try:
                yield batches
            except FileRefused:
                # A damaged file may be refused for what it lacks: the damage is the reason.
                _say(problems)
                raise
    if not talks:
        return
    _say(problems)
    if not problems.events:
        where = "in this range" if from_ or to else "in these events"
        if problems and not (from_ or to):
            raise CliError(ExitCode.INVALID, f"{events}: no event could be read")
        talk(f"{events}: there is nothing {where}")


def _say(problems: "Problems") -> None:
    for line in problems.lines():
        talk(line)


@contextmanager
def _topic_history(name: str, problems: "Problems", span: "Span") -> "Iterator[Iterator[Batch]]":
    from engine.files.topic import TopicMissingError, TopicUnreachableError, open_topic
    from engine.kafka_client import client_options
    from schemas.topics import Topics

    settings = load_settings_or_fail()
    topic = name or Topics(settings.topic_prefix).events
    try:
        options = client_options(settings)
        with open_topic(options, topic, problems=problems, span=span) as history:
            with _progress(topic, history.records, "records") as advance:
                yield history.batches(advance)
            if history.kinds:
                own = ", ".join(
                    f"{kind} {count:,}" for kind, count in sorted(history.kinds.items())
                )
                talk(f"{topic}: own records passed over: {own}")
    except TopicMissingError as error:
        raise CliError(ExitCode.NOT_FOUND, str(error)) from None
    except TopicUnreachableError as error:
        raise CliError(ExitCode.UNREACHABLE, str(error)) from None


def moment_ms(option: str, text: str | None, now_ms: int) -> int | None:
    """Milliseconds of an ISO 8601 time (UTC without an offset), or of a duration before now."""
    from triggers.durations import parse_duration

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now_ms - parse_duration(text)
        except ValueError:
            message = f"{option} '{text[:100]}' is neither a time such as 2026-01-05T10:00Z nor 7d"
            raise CliError(ExitCode.INVALID, message) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) // 1_000


@contextmanager
def _progress(name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while it is a terminal; nothing otherwise."""
    from engine.files.lines import no_advance

    if not sys.stderr.isatty():
        yield no_advance
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    done = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        waiting = 0

        def advance(count: int) -> None:
            # The bar takes a lock at each step: a hundred steps a second would show in the rate.
            nonlocal waiting
            waiting += count
            if waiting * 500 >= total:
                bar.advance(task, waiting)
                waiting = 0

        yield advance
