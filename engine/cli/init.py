"""`tripline init`: a workspace to start from."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.common import CliError, ExitCode, fail, talk


def init(
    folder: Annotated[
        Path, typer.Argument(help="Where; it may exist.", show_default=True)
    ] = Path(),
) -> None:
    """Write a workspace with commented examples, their tests and made-up events.

    Nothing is overwritten. Exit codes: 0 written, 1 cannot write, 5 one of its files exists.
    """
    from engine.starter.files import EVENTS, AlreadyThereError, starter_files, write_starter

    contents = starter_files()
    try:
        write_starter(folder, contents)
    except AlreadyThereError as error:
        lines = ["nothing was written, because there is already:"]
        fail(CliError(ExitCode.CONFLICT, [*lines, *(f"  {path}" for path in error.paths)]))
    except OSError as error:
        fail(CliError(ExitCode.ERROR, f"cannot write: {error}"))
    for name in contents:
        talk(f"wrote {folder / name}")
    where = shlex.quote(str(folder))
    events = shlex.quote(str(folder / EVENTS))
    talk("")
    talk("Now try:")
    talk(f"  tripline validate {where}")
    talk(f"  tripline test {where}             # --watch runs them again when you save")
    talk(f"  tripline backtest {where} --events {events}")
