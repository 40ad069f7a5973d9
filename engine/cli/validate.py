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
)
from engine.registry.folder import NotAWorkspaceError, load_folder
from triggers.workspace import DefinitionError, DefinitionErrors


def validate(folder: FolderArgument = Path(), output: OutputOption = Output.TABLE) -> None:
    """Check a workspace folder, offline.

    Exit codes: 0 valid, 2 not; each error is one line `file:line:column: message` on stderr.
    """
    try:
        triggers, policies = load_folder(folder)
    except DefinitionErrors as error:
        _report([], [], error.errors, output)
        fail(CliError(ExitCode.INVALID, map(str, error.errors)))
    except (NotAWorkspaceError, OSError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))
    _report(sorted(triggers), sorted(policies), [], output)
    talk(f"valid: triggers {len(triggers)}, policies {len(policies)}")


def _report(
    triggers: list[str], policies: list[str], errors: list[DefinitionError], output: Output
) -> None:
    if output is not Output.JSON:
        return
    rows = [
        {"file": e.file, "line": e.line, "column": e.column, "message": e.message} for e in errors
    ]
    data_json({"valid": not errors, "triggers": triggers, "policies": policies, "errors": rows})
