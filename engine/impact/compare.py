"""Two workspaces, field by field."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from engine.backtest.session import Definitions
from triggers.shared import Documents


class Change(StrEnum):
    """What became of a trigger or a policy."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class FieldChange(NamedTuple):
    """`before` or `after` None: the field is not there."""

    path: str
    before: Any
    after: Any


class Difference(NamedTuple):
    """One trigger, policy or shared document; `fields` of a changed one."""

    kind: str
    name: str
    change: Change
    fields: tuple[FieldChange, ...] = ()


def compare(before: Definitions, after: Definitions) -> list[Difference]:
    """What differs, triggers first, then policies and shared documents, by name."""
    return [
        *_differences("trigger", _documents(before.triggers), _documents(after.triggers)),
        *_differences("policy", _documents(before.policies), _documents(after.policies)),
        *(
            difference
            for kind in sorted({*before.documents, *after.documents})
            for difference in _differences(
                kind, _shared(before.documents, kind), _shared(after.documents, kind)
            )
        ),
    ]


def _shared(documents: Documents, kind: str) -> dict[str, Any]:
    return dict(documents.get(kind, {}))


def _documents(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: model.to_document() for name, model in found.items()}


def _differences(kind: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    for name in sorted(before | after):
        if name not in before:
            yield Difference(kind, name, Change.ADDED)
        elif name not in after:
            yield Difference(kind, name, Change.REMOVED)
        else:
            fields = tuple(_fields("", before[name], after[name]))
            if fields:
                yield Difference(kind, name, Change.CHANGED, fields)


def _fields(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    """Mappings are compared name by name, everything else as a whole."""
    if type(before) is not dict or type(after) is not dict:
        if before != after:
            yield FieldChange(path, before, after)
        return
    for name in [*before, *(name for name in after if name not in before)]:
        below = f"{path}.{name}" if path else name
        yield from _fields(below, before.get(name), after.get(name))
