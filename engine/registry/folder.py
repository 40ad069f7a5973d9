"""A workspace folder on disk: which of its files are definitions, and their texts."""

from pathlib import Path, PurePath
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from triggers.definition import Policy, TriggerDefinition
from triggers.loader import load_workspace
from triggers.source import read_source
from triggers.workspace import DefinitionError, Workspace

POLICY_FILES = ("policy.yaml", "policy.json")
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
#: Column mappings of event files and budgets may lie beside the definitions.
_NOT_DEFINITIONS = frozenset({"mapping.yaml", "mapping.json", "budgets.yaml"})


class NotAWorkspaceError(Exception):
    """The path is not a folder, or nothing in it is a definition."""


class Folder(NamedTuple):
    """The definitions of a folder. `policies` holds those that are written there: the loader adds a
    `default` without limits, and registering that would lift the limits another folder has set."""

    triggers: dict[str, TriggerDefinition]
    policies: dict[str, Policy]
    documents: dict[str, dict[str, Any]]


def load_folder(folder: Path, hints: list[DefinitionError] | None = None) -> Folder:
    """Read and check a workspace folder; what only looks like a slip is added to `hints`.

    A file that looks like a definition and is none is an error, not skipped: with a misspelt
    `policy.yaml` every cap would silently be gone. Raises NotAWorkspaceError, DefinitionErrors
    and OSError.
    """
    return load_texts(read_folder(folder), hints)


def load_texts(files: dict[str, str], hints: list[DefinitionError] | None = None) -> Folder:
    """Check the texts of a workspace, by their name relative to it. Raises DefinitionErrors."""
    workspace = load_zoned(files)
    if hints is not None:
        hints.extend(workspace.hints)
    return written_folder(files, workspace)


def load_zoned(files: dict[str, str]) -> Workspace:
    """Check the texts of a workspace, with the time zones of this machine. Raises
    DefinitionErrors."""
    return load_workspace(files, zones=available_timezones())


def written_folder(files: dict[str, str], workspace: Workspace) -> Folder:
    """The definitions of a workspace that stand in these files of its."""
    written = {name for file in POLICY_FILES if file in files for name in _names(file, files[file])}
    policies = {name: made for name, made in workspace.policies.items() if name in written}
    return Folder(workspace.triggers, policies, workspace.documents)


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of all files that may be definitions, by their name relative to the folder.

    Bytes that are no UTF-8 become lone surrogates, which the loader refuses, saying where. Raises
    NotAWorkspaceError and OSError.
    """
    if not folder.is_dir():
        raise NotAWorkspaceError(f"{folder} is not a folder")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes().decode("utf-8", "surrogateescape")
        for path in definition_paths(folder)
    }
    if not files:
        raise NotAWorkspaceError(
            f"{folder} holds no definitions: a workspace has triggers/*.yaml and policy.yaml"
        )
    return files


def definition_paths(folder: Path) -> list[Path]:
    """All files that may be definitions. Raises OSError."""
    paths = [*folder.iterdir()]
    if (folder / "triggers").is_dir():
        paths += (folder / "triggers").iterdir()
    return [path for path in paths if may_define(path) and path.is_file()]


def may_define(path: PurePath) -> bool:
    """Whether a file of that name holds definitions."""
    return (
        path.suffix in _SUFFIXES
        and not path.name.startswith(".")
        and path.name not in _NOT_DEFINITIONS
    )


def _names(file: str, text: str) -> set[str]:
    """The policies that a valid file writes down."""
    sources = read_source(text, is_json=file.endswith(".json"))
    return {str(name) for source in sources for name in source.data or {}}
