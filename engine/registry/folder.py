"""A workspace folder on disk: which of its files are definitions, and their texts."""

from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from triggers.definition import Policy, TriggerDefinition
from triggers.loader import load_workspace
from triggers.source import read_source
from triggers.workspace import DefinitionError

POLICY_FILES = ("policy.yaml", "policy.json")
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
#: Column mappings of event files may lie beside the definitions.
_NOT_DEFINITIONS = frozenset({"mapping.yaml", "mapping.json"})


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
    files = read_folder(folder)
    workspace = load_workspace(files, zones=available_timezones())
    if hints is not None:
        hints.extend(workspace.hints)
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
    return [path for path in paths if _may_define(path)]


def _may_define(path: Path) -> bool:
    return (
        path.suffix in _SUFFIXES
        and not path.name.startswith(".")
        and path.name not in _NOT_DEFINITIONS
        and path.is_file()
    )


def _names(file: str, text: str) -> set[str]:
    """The policies that a valid file writes down."""
    sources = read_source(text, is_json=file.endswith(".json"))
    return {str(name) for source in sources for name in source.data or {}}
