"""`tripline demo`: what `make run` shows."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.common import CliError, ExitCode, data, fail

DEMO = Path("examples/demo")
CLICKSTREAM = "clickstream.jsonl.zst"


def demo(
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="Triggers; else beside the mapping.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option("--events", "-e", help="Your history instead of the sample.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--map", help="mapping.yaml: which column is what.")
    ] = None,
    sort: Annotated[bool, typer.Option(help="Put the events in order first.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep data and logs under .state/.")] = False,
) -> None:
    """Start everything on this machine, play a clickstream, show the pushes, stop.

    With --events history runs through the live pipeline in its own time (--clock log), and the
    decisions are compared with a backtest. The workspace is --workspace, else the folder of
    --map, else the demo's. stdout ends with one JSON line.
    """
    folder = workspace or (mapping.parent if mapping is not None else DEMO)
    state = Path(".state")
    state.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="demo-", dir=state))
    try:
        _run(directory, folder, events, mapping, sort)
    except CliError as error:
        fail(error)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _run(
    directory: Path, folder: Path, events: Path | None, mapping: Path | None, sort: bool
) -> None:
    from engine.files import FileRefused, load_mapping
    from engine.local.errors import ChildError, MissingProgramError
    from engine.logs import setup_command_logs
    from engine.play.demo import DemoFailed, DemoOptions, demonstrate
    from engine.play.view import View
    from engine.registry.folder import NotAWorkspaceError, load_folder
    from triggers.workspace import DefinitionErrors

    setup_command_logs()
    try:
        options = DemoOptions(
            directory,
            load_folder(folder),
            events or DEMO / CLICKSTREAM,
            None if mapping is None else load_mapping(mapping),
            history=events is not None,
            sort=sort,
        )
        with View() as view:
            summary = asyncio.run(demonstrate(options, view))
    except DefinitionErrors as error:
        raise CliError(ExitCode.INVALID, map(str, error.errors)) from None
    except (NotAWorkspaceError, FileRefused, FileNotFoundError) as error:
        raise CliError(ExitCode.INVALID, str(error)) from None
    except (ChildError, MissingProgramError, DemoFailed) as error:
        raise CliError(ExitCode.ERROR, str(error)) from None
    data("\n".join(summary.lines()))
    data(json.dumps(summary.fields(), separators=(",", ":")))
    if summary.equal is not None and summary.equal[1]:
        raise CliError(ExitCode.ERROR, "the live decisions differ from the backtest's")
