"""`tripline init`: a workspace to start from."""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.common import CliError, ExitCode, fail, talk


def init(
    folder: Annotated[
        Path, typer.Argument(help="Where; it may exist.", show_default=True)
    ] = Path(),
    source: Annotated[
        str | None,
        typer.Option("--from", help="catalog, or catalog:ID,ID: shipped triggers instead."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Show the shipped triggers and write nothing.")
    ] = False,
) -> None:
    """Write a workspace with commented examples, their tests and made-up events.

    With --from it holds shipped triggers and what they need; of what they need, such as a policy,
    that which is there already stays. Nothing is overwritten. Exit codes: 0 written, 1 cannot
    write, 2 --from is no catalogue, 4 no such trigger in it, 5 one of the files exists.
    """
    if listing:
        _list()
    elif source is None:
        _starter(folder)
    else:
        _catalogue(folder, source)


def _list() -> None:
    from engine.starter.shipped import shipped

    width = max(map(len, shipped()))
    for one in shipped().values():
        typer.echo(f"{one.id:<{width}}  {one.intent}{' (draft)' if one.draft else ''}")


def _starter(folder: Path) -> None:
    from engine.starter.files import EVENTS, starter_files

    contents = starter_files()
    _write(folder, contents, contents)
    where = shlex.quote(str(folder))
    events = shlex.quote(str(folder / EVENTS))
    talk(f"  tripline validate {where}")
    talk(f"  tripline test {where}             # --watch runs them again when you save")
    talk(f"  tripline backtest {where} --events {events}")


def _catalogue(folder: Path, source: str) -> None:
    from engine.starter.files import schema_files
    from engine.starter.shipped import (
        SOURCE,
        UnknownShippedError,
        chosen_files,
        shipped,
        trigger_file,
    )

    name, colon, ids = source.partition(":")
    wanted = [one.strip() for one in ids.split(",") if one.strip()]
    if name != SOURCE or bool(colon) != bool(wanted):
        message = f"--from is `{SOURCE}` or `{SOURCE}:ID,ID`, not '{source}'"
        fail(CliError(ExitCode.INVALID, message))
    try:
        contents = chosen_files(wanted)
    except UnknownShippedError as error:
        fail(CliError(ExitCode.NOT_FOUND, [str(error), "tripline init --list shows all"]))
    asked = {trigger_file(one) for one in wanted or shipped()}
    _write(folder, contents | schema_files(), asked)
    where = shlex.quote(str(folder))
    talk(f"  tripline validate {where}")
    talk(f"  tripline test {where}             # --watch runs them again when you save")


def _write(folder: Path, contents: Mapping[str, bytes], own: Collection[str]) -> None:
    """Say what was written and what stayed. Of `own` nothing may exist; of the others it may."""
    from engine.starter.files import AlreadyThereError, write_starter

    try:
        stayed = write_starter(folder, contents, contents.keys() - own)
    except AlreadyThereError as error:
        lines = ["nothing was written, because there is already:"]
        fail(CliError(ExitCode.CONFLICT, [*lines, *(f"  {path}" for path in error.paths)]))
    except OSError as error:
        fail(CliError(ExitCode.ERROR, f"cannot write: {error}"))
    for name in contents:
        talk(f"{'kept' if name in stayed else 'wrote'} {folder / name}")
    talk("")
    talk("Now try:")
