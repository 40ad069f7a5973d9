"""`tripline consent`: note what a user agrees to and refuses."""

from typing import Annotated, Literal
from uuid import uuid4

import typer

from engine.cli.common import (
    TIMEOUT_S,
    CliError,
    ExitCode,
    Output,
    OutputOption,
    TimeoutOption,
    data,
    data_json,
    fail,
    load_settings_or_fail,
)
from engine.cli.registry import run_on_registry
from engine.clock import now_ms
from engine.preferences import append_preference
from schemas.records import Given, PreferenceRecord, given_of
from triggers.consent import CHANNELS, is_category
from triggers.problems import quoted

_InOut = Literal["in", "out"]


def consent(
    user: Annotated[str, typer.Option("--user", "-u", help="The userId, else anonymousId.")],
    channel: Annotated[
        list[str] | None, typer.Option("--channel", help="NAME=in or NAME=out, such as push=out.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="NAME=in or NAME=out.")
    ] = None,
    profiling: Annotated[
        _InOut | None,
        typer.Option("--profiling", help="out: only transactional triggers run for the user."),
    ] = None,
    all_: Annotated[_InOut | None, typer.Option("--all", help="Every marketing message.")] = None,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Append to the log what a user agrees to (in) or refuses (out); the rest stays as it is.

    Exit codes: 0 written, 2 nothing or nonsense said, 6 Kafka cannot be reached.
    """
    try:
        record = PreferenceRecord(
            user=user,
            id=f"cli-{uuid4().hex[:12]}",
            at_ms=now_ms(),
            all=all_,
            profiling=profiling,
            channels=_named("--channel", channel or []),
            categories=_named("--category", category or []),
        )
        if not (record.all or record.profiling or record.channels or record.categories):
            message = "say something: --all, --channel, --category or --profiling"
            raise CliError(ExitCode.INVALID, message)
        settings = load_settings_or_fail(("log_secret",))
    except CliError as error:
        fail(error)

    async def work() -> None:
        try:
            partition, offset = await append_preference(settings, record, timeout)
        except ValueError as error:
            raise CliError(ExitCode.INVALID, str(error)) from error
        if output is Output.JSON:
            data_json({"id": record.id, "partition": partition, "offset": offset})
        else:
            data(f"{record.id} written to partition {partition} at offset {offset}")

    run_on_registry(settings, work)


def _named(option: str, values: list[str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for value in values:
        name, _, said = value.partition("=")
        given = given_of(said)
        if given is None:
            raise CliError(ExitCode.INVALID, f"{option} {value[:100]}: NAME=in or NAME=out")
        if option == "--channel" and name not in CHANNELS:
            message = f"{option} {value[:100]}: a channel is one of {quoted(CHANNELS)}"
            raise CliError(ExitCode.INVALID, message)
        if option == "--category" and not is_category(name):
            message = f"{option} {value[:100]}: no trigger can have this category"
            raise CliError(ExitCode.INVALID, message)
        if found.get(name, given) != given:
            raise CliError(ExitCode.INVALID, f"{option} {name}: in and out at once")
        found[name] = given
    return found
