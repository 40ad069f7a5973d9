"""`tripline export`: decisions and outcomes for warehouses and analytics tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import (
    TIMEOUT_S,
    CliError,
    ExitCode,
    Output,
    OutputOption,
    TimeoutOption,
    check_target,
    data,
    data_json,
    fail,
    load_settings_or_fail,
    table,
    talk,
)
from engine.cli.history import TOPIC_SCHEME, moment_ms

if TYPE_CHECKING:
    from engine.export.rows import Dataset
    from engine.export.run import Exported
    from engine.files import Problems, Span
    from engine.settings import Settings


def export(
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT_DIR", help="The folder of the Parquet files.")
    ] = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Only decisions (both by default).")
    ] = False,
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="Only outcomes (both by default).")
    ] = False,
    from_: Annotated[
        str | None, typer.Option("--from", help="What was published from then on: a time, or 7d.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="What was published before then: a time, or 1d.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="The --decisions file of a backtest.")
    ] = None,
    segment: Annotated[
        str | None,
        typer.Option("--segment", help="Push Sent, Opened ... as track events: FILE, topic:NAME."),
    ] = None,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> int:
    """Write decisions and outcomes as Parquet by day, or as Segment events.

    A folder is gone on with: run it as often as you like, every record is in it once.
    Exit codes: 0 done, 1 some records could not be read or were gone before they could be exported,
    2 an invalid option or file, 4 no such topic, 5 the folder is in use or holds something else,
    6 Kafka cannot be reached.
    """
    from engine.clock import now_ms
    from engine.files import Problems, Span

    problems = Problems()
    try:
        now = now_ms()
        span = Span(moment_ms("--from", from_, now), moment_ms("--to", to, now))
        _check(out, decisions, outcomes, span, from_file, segment)
        with _refusals():
            if from_file is not None and out is not None:
                from engine.export.run import export_file

                found = {"decisions": export_file(from_file, out, problems)}
            else:
                datasets = _datasets(decisions, outcomes) if out is not None else []
                found = _from_kafka(datasets, out, segment, span, problems, timeout)
    except CliError as error:
        fail(error)
    for line in problems.lines():
        talk(line)
    _report(found, output)
    lost = sum(one.lost for one in found.values())
    if lost:
        talk(f"{lost} records had gone from their topic before they were exported")
    return int(ExitCode.ERROR if lost or problems else ExitCode.OK)


def _check(
    out: Path | None,
    decisions: bool,
    outcomes: bool,
    span: "Span",
    from_file: Path | None,
    segment: str | None,
) -> None:
    if out is None and (segment is None or from_file is not None):
        raise CliError(ExitCode.INVALID, "OUT_DIR is missing")
    if out is None and (decisions or outcomes):
        raise CliError(ExitCode.INVALID, "--decisions and --outcomes need OUT_DIR")
    if from_file is not None and (segment or outcomes or span.from_ms or span.to_ms):
        raise CliError(ExitCode.INVALID, "--from-file holds decisions and is taken as a whole")
    if segment is not None and not segment.startswith(TOPIC_SCHEME):
        check_target("--segment", Path(segment))
    if span.from_ms is not None and span.to_ms is not None and span.from_ms >= span.to_ms:
        raise CliError(ExitCode.INVALID, "--from is not before --to")


def _datasets(decisions: bool, outcomes: bool) -> "list[Dataset]":
    from engine.export.rows import DECISIONS, OUTCOMES

    both = decisions == outcomes
    return [DECISIONS] * (both or decisions) + [OUTCOMES] * (both or outcomes)


def _from_kafka(
    datasets: "list[Dataset]",
    out: Path | None,
    segment: str | None,
    span: "Span",
    problems: "Problems",
    timeout_s: float,
) -> "dict[str, Exported]":
    import asyncio

    from engine.export.run import export_topic
    from engine.logs import setup_command_logs

    settings = load_settings_or_fail()
    setup_command_logs()
    found: dict[str, Exported] = {}

    async def work() -> None:
        for dataset in datasets:
            assert out is not None
            found[dataset.name] = await export_topic(
                settings, dataset, out, problems, span=span, timeout_s=timeout_s
            )
        if segment is not None:
            found["segment"] = await _segment(settings, segment, span, problems, timeout_s)

    asyncio.run(work())
    return found


async def _segment(
    settings: "Settings", target: str, span: "Span", problems: "Problems", timeout_s: float
) -> "Exported":
    from engine.export.sending import send_segment, write_segment
    from schemas.topics import Topics

    if not target.startswith(TOPIC_SCHEME):
        path = Path(target)
        return await write_segment(settings, path, problems, span=span, timeout_s=timeout_s)
    name = target.removeprefix(TOPIC_SCHEME)
    topics = Topics(settings.topic_prefix)
    if not name or name in {spec.name for spec in topics.specs()}:
        message = f"--segment {target}: a topic of another program; the log refuses these events"
        raise CliError(ExitCode.INVALID, message)
    return await send_segment(settings, name, problems, span=span, timeout_s=timeout_s)


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with files, folders and Kafka, as CliError."""
    from aiokafka.errors import KafkaError

    from engine.export.folder import FolderBusyError
    from engine.export.manifest import ManifestRefused
    from engine.export.run import TopicMissingError
    from engine.files import FileRefused
    from engine.registry.connect import KafkaUnreachableError
    from engine.topics import TopicsError

    try:
        yield
    except TopicMissingError as error:
        raise CliError(ExitCode.NOT_FOUND, str(error)) from None
    except (FolderBusyError, ManifestRefused, TopicsError) as error:
        raise CliError(ExitCode.CONFLICT, str(error)) from None
    except (KafkaUnreachableError, KafkaError) as error:
        raise CliError(ExitCode.UNREACHABLE, f"Kafka: {error}") from None
    except (FileRefused, OSError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None


def _report(found: "dict[str, Exported]", output: Output) -> None:
    if output is Output.JSON:
        fields = ("rows", "files", "repeated", "lost")
        data_json(
            {"exports": {n: {f: getattr(one, f) for f in fields} for n, one in found.items()}}
        )
    else:
        rows = [[name, e.rows, e.files, e.repeated, e.lost] for name, e in found.items()]
        data(table(["EXPORT", "ROWS", "FILES", "REPEATED", "LOST"], rows))
