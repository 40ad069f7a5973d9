"""`tripline simulate`: a made-up clickstream, the same one for the same options."""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated

import typer

from engine.cli.common import CliError, ExitCode, check_target, fail, talk
from engine.files.output import open_output
from engine.simulate import Message, SimulationOptions
from engine.simulate import simulate as simulate_messages
from engine.simulate.options import START_MS

_START = datetime.fromtimestamp(START_MS / 1000, UTC).isoformat()
_LINES_PER_WRITE = 1_000


def simulate(
    users: Annotated[int, typer.Option(min=1, help="How many people there are.")] = 1_000,
    minutes: Annotated[float, typer.Option(help="How long, in simulated time.")] = 1.0,
    rate: Annotated[float, typer.Option(help="Messages a second.")] = 300.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal bytes.")] = 1,
    start: Annotated[str, typer.Option(help="The first moment, ISO 8601.")] = _START,
    compression: Annotated[
        float, typer.Option(help="How many times faster than life people act.")
    ] = 1.0,
    noise: Annotated[float, typer.Option(help="Share of messages no trigger names.")] = 0.1,
    duplicates: Annotated[float, typer.Option(help="Share of messages sent twice.")] = 0.01,
    guests: Annotated[float, typer.Option(help="Share of users without a userId.")] = 0.1,
    prefix: Annotated[str, typer.Option(help="What user ids begin with.")] = "u",
    out: Annotated[
        Path | None, typer.Option(help="FILE.jsonl, .jsonl.gz or .jsonl.zst; else stdout.")
    ] = None,
) -> None:
    """Make up a shop's clickstream: Segment messages, one a line, in append order.

    Exit codes: 0 ok, 1 cannot write, 2 an option is out of range or there is no folder for --out.
    """
    try:
        check_target("--out", out)
        options = SimulationOptions(
            users=users,
            duration_ms=round(minutes * 60_000),
            rate_per_s=rate,
            seed=seed,
            start_ms=_moment_ms(start),
            compression=compression,
            noise=noise,
            duplicates=duplicates,
            guests=guests,
            prefix=prefix,
        )
    except CliError as error:
        fail(error)
    except (ValueError, OverflowError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))
    messages = simulate_messages(options)
    try:
        if out is None:
            written = _write(messages, sys.stdout.buffer)
        else:
            with open_output(out) as stream:
                written = _write(messages, stream)
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Without this the flush at exit complains again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(int(ExitCode.ERROR)) from None
    except OSError as error:
        fail(CliError(ExitCode.ERROR, f"cannot write: {error}"))
    talk(f"wrote {written} messages")


def _moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"start is '{text[:100]}', not a time such as {_START}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _write(messages: Iterable[Message], stream: IO[bytes]) -> int:
    written = 0
    lines: list[bytes] = []
    for message in messages:
        lines.append(message.value)
        if len(lines) == _LINES_PER_WRITE:
            written += len(lines)
            stream.write(b"\n".join(lines) + b"\n")
            lines.clear()
    written += len(lines)
    stream.write(b"".join(line + b"\n" for line in lines))
    stream.flush()
    return written
