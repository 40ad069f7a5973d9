"""`tripline validate`: check a workspace folder without Kafka."""

from pathlib import Path

from engine.cli.common import (
    CliError,
    ExitCode,
    FolderArgument,
    Output,
    OutputOption,
    data_json,
    fail,
    talk,
    talk_hints,
)
from engine.registry.folder import NotAWorkspaceError, load_folder
from triggers.workspace import DefinitionError, DefinitionErrors


def validate(folder: FolderArgument = Path(), output: OutputOption = Output.TABLE) -> None:
    """Check a workspace folder, offline.

    Exit codes: 0 valid, 2 not; each error is one line `file:line:column: message` on stderr.
    What may be a slip (an event almost named as in the ecommerce spec) is a `hint: ...` line.
    """
    hints: list[DefinitionError] = []
    try:
        triggers, policies, _ = load_folder(folder, hints)
    except DefinitionErrors as error:
        _report([], [], error.errors, [], output)
        fail(CliError(ExitCode.INVALID, map(str, error.errors)))
    except (NotAWorkspaceError, OSError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))
    _report(sorted(triggers), sorted(policies), [], hints, output)
    talk_hints(hints)
    talk(f"valid: triggers {len(triggers)}, policies {len(policies)}")


def _report(
    triggers: list[str],
    policies: list[str],
    errors: list[DefinitionError],
    hints: list[DefinitionError],
    output: Output,
) -> None:
    if output is not Output.JSON:
        return
    data_json(
        {
            "valid": not errors,
            "triggers": triggers,
            "policies": policies,
            "errors": _rows(errors),
            "hints": _rows(hints),
        }
    )


def _rows(errors: list[DefinitionError]) -> list[dict[str, object]]:
    return [
        {"file": e.file, "line": e.line, "column": e.column, "message": e.message} for e in errors
    ]
