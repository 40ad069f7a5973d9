"""What the verbs share: exit codes, options, output, and how errors end a command."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from engine.settings import Settings
    from triggers.workspace import DefinitionError

#: The version of every JSON output; it grows when a field changes its meaning or goes.
OUTPUT_VERSION = 1
TIMEOUT_S = 10.0


class ExitCode(IntEnum):
    """How a command ends. ERROR also stands for differences found, as diff(1) has it."""

    OK = 0
    ERROR = 1
    INVALID = 2
    AUTH = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNREACHABLE = 6


class CliError(Exception):
    """Ends a command with `code`; `lines` are said on stderr as they are."""

    def __init__(self, code: ExitCode, lines: str | Iterable[str]) -> None:
        self.code = code
        self.lines = (lines,) if isinstance(lines, str) else tuple(lines)
        super().__init__("\n".join(self.lines))


class Output(StrEnum):
    """Formats of commands that change something."""

    TABLE = "table"
    JSON = "json"


FolderArgument = Annotated[
    Path,
    typer.Argument(help="The workspace folder.", envvar="TRIPLINE_WORKSPACE", show_default=True),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="The format of stdout.")]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", min=0.1, max=3600, help="Seconds to wait for Kafka at most."),
]


def check_target(option: str, path: Path | None) -> None:
    """Before any work: the file that an option names can stand where it is to be written.

    Raises CliError INVALID, naming both.
    """
    if path is None:
        return
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        # A folder nobody may look into, a name that is too long: pathlib does not call that absent.
        raise CliError(ExitCode.INVALID, f"{option} {path}: {error.strerror}") from None
    if is_folder:
        raise CliError(ExitCode.INVALID, f"{option} {path}: this is a folder, not a file")
    if not has_folder:
        raise CliError(ExitCode.INVALID, f"{option} {path}: there is no folder {path.parent}")


def talk(text: str) -> None:
    """Say something to the person: stderr."""
    typer.echo(text, err=True)


def talk_hints(hints: "Iterable[DefinitionError]") -> None:
    """Say what in a workspace looks like a slip and is none for certain."""
    for hint in hints:
        talk(f"hint: {hint}")


def data(text: str) -> None:
    """Give out what the command was asked for: stdout."""
    typer.echo(text)


def data_json(fields: dict[str, Any]) -> None:
    """One JSON object, versioned: stdout."""
    data(json.dumps({"version": OUTPUT_VERSION, **fields}, ensure_ascii=False, indent=2))


def fail(error: CliError) -> NoReturn:
    """Say what went wrong and end the command."""
    for line in error.lines:
        talk(line)
    raise typer.Exit(int(error.code))


def load_settings_or_fail(require: Sequence[str] = ()) -> "Settings":
    """The settings of this process; ends with INVALID naming each wrong or missing variable."""
    from engine.settings import SettingsError, load_settings

    try:
        return load_settings(require=require)
    except SettingsError as error:
        fail(CliError(ExitCode.INVALID, error.problems))


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end in a loop of its own; a CliError ends the command."""
    try:
        asyncio.run(work())
    except CliError as error:
        fail(error)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two blanks apart; control characters become `?`."""
    from wcwidth import wcswidth

    cells = [list(heads), *([_printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(wcswidth(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - wcswidth(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
