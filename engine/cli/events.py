"""`tripline events`: the event catalogue, shown and grown."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.common import (
    CliError,
    ExitCode,
    FolderArgument,
    Output,
    OutputOption,
    check_target,
    data,
    data_json,
    fail,
    table,
    talk,
)
from engine.cli.history import FromOption, MapOption, StrictOption, ToOption, open_history

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.files import FileEvent
    from triggers.catalog import Catalog, PathEntry


def events(
    folder: FolderArgument = Path(),
    learn: Annotated[
        str | None,
        typer.Option("--learn", help="Learn from a file, a folder or topic:NAME."),
    ] = None,
    mapping: MapOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The catalogue (default: FOLDER/catalog.yaml).")
    ] = None,
    event: Annotated[str, typer.Option("--event", help="Show the paths of this event.")] = "",
    strict: StrictOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the event catalogue of a workspace, or grow it from events.

    Learning adds to what the file says: counts add up, notes and comments stay. Values become
    examples only when they are few, short, sent by several users and do not look personal.
    Exit codes: 0 done, 2 an invalid catalogue, mapping or event file, 4 no such catalogue, event or
    topic, 6 Kafka cannot be reached.
    """
    from engine.files import FileRefused, Problems, file_events
    from triggers.loader import CATALOG_FILE
    from triggers.workspace import DefinitionErrors

    path = folder / CATALOG_FILE if out is None else out
    try:
        if learn is None:
            _show(path, event, output)
        else:
            problems = Problems(strict=strict)
            check_target("--out", out)
            with open_history(
                learn, mapping, problems, from_=from_, to=to, any_order=True
            ) as found:
                _learn(path, chain.from_iterable(map(file_events, found)), output)
    except CliError as error:
        fail(error)
    except DefinitionErrors as error:
        fail(CliError(ExitCode.INVALID, map(str, error.errors)))
    except (FileRefused, OSError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))


def _learn(path: Path, found: "Iterable[FileEvent]", output: Output) -> None:
    from engine.learn import learn, read_catalog, write_catalog
    from triggers.catalog import Catalog

    known = read_catalog(path)
    learned = learn(found, known)
    write_catalog(path, learned)
    before, after = Catalog() if known is None else known[0], learned.catalog
    new = [name for name in after.events if name not in before.events]
    talk(
        f"learned from {learned.events} events: {len(after.events)} names ({len(new)} new), "
        f"{_paths(after)} paths ({_paths(after) - _paths(before)} new), in {path}"
    )
    if learned.unnamed:
        talk(f"{learned.unnamed} events have a name that is too long, looks personal, or no room")
    if output is Output.JSON:
        summary = {"events": learned.events, "unnamed": learned.unnamed, "new": new}
        data_json({**summary, "names": len(after.events), "paths": _paths(after)})


def _paths(catalog: "Catalog") -> int:
    own = sum(len(entry.paths or ()) for entry in catalog.events.values())
    return own + len(catalog.shared.paths)


def _show(path: Path, event: str, output: Output) -> None:
    from engine.learn import read_catalog

    known = read_catalog(path)
    if known is None:
        message = f"{path} is not there: `tripline events --learn FILE` makes it"
        raise CliError(ExitCode.NOT_FOUND, message)
    catalog = known[0]
    if event:
        _show_event(catalog, event, output)
    elif output is Output.JSON:
        data_json(catalog.to_document())
    else:
        rows = [
            [name, entry.count, _cell(entry.last), len(entry.paths or ()), _cell(entry.description)]
            for name, entry in catalog.events.items()
        ]
        data(table(["EVENT", "COUNT", "LAST", "PATHS", "DESCRIPTION"], rows))


def _show_event(catalog: "Catalog", event: str, output: Output) -> None:
    from triggers.problems import suggestion

    entry = catalog.events.get(event)
    if entry is None:
        hint = suggestion(event, catalog.events)
        raise CliError(ExitCode.NOT_FOUND, f"unknown event '{event}'{hint}")
    if output is Output.JSON:
        data_json({"event": event, **entry.to_document()})
        return
    heads = ["PATH", "TYPES", "EXAMPLES", "DESCRIPTION"]
    data(table(heads, [_path_row(path, found) for path, found in (entry.paths or {}).items()]))


def _path_row(path: str, entry: "PathEntry") -> list[Any]:
    types = ", ".join(f"{name} {count}" for name, count in entry.types.items())
    examples = ", ".join(str(item) for item in entry.examples or ())
    form = f" ({entry.format})" if entry.format else ""
    return [path, (types or "any") + form, examples or "-", _cell(entry.description)]


def _cell(value: object) -> object:
    return "-" if value is None else value
