"""A catalogue as YAML: the lines people wrote stay, only what was learned is written over them."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from triggers.catalog import Catalog, EventEntry, PathEntry

_HEAD = """\
# The event catalogue, grown by `tripline events --learn`. Registration refuses the event names,
# paths and comparisons that it rules out. Comments, descriptions and added lines stay when it
# learns again.
"""


class _TextResolver(VersionedResolver):
    """Every plain scalar is a text, so that what is not touched is written back as it was."""

    @property
    def versioned_resolver(self) -> Any:
        return {}


def render_catalog(merged: Catalog, old: Catalog | None = None, old_text: str = "") -> str:
    """The text of `merged`, as a change to the text of `old` where there is one."""
    yaml = YAML()
    yaml.Resolver = _TextResolver
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    tree = CommentedMap() if old is None else yaml.load(old_text)
    before = Catalog() if old is None else old
    _flag(tree, "open", before.open, merged.open)
    _entries(tree, before, merged)
    shared = merged.shared
    if shared != before.shared:
        below = _below(tree, "shared")
        _flag(below, "open", before.shared.open, shared.open)
        _paths(below, before.shared.paths, shared.paths)
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue() if old is not None else _HEAD + out.getvalue()


def _entries(tree: CommentedMap, before: Catalog, merged: Catalog) -> None:
    changed = {name: e for name, e in merged.events.items() if e != before.events.get(name)}
    events = _below(tree, "events") if changed else CommentedMap()
    for name, entry in changed.items():
        known = before.events.get(name, EventEntry())
        below = _below(events, name)
        if entry.count != known.count:
            below["count"] = str(entry.count)
        for field in ("first", "last"):
            moment = getattr(entry, field)
            if moment != getattr(known, field):
                below[field] = DoubleQuotedScalarString(moment)
        _flag(below, "open", known.open, entry.open)
        if entry.paths is not None:
            _paths(below, known.paths, entry.paths)


def _paths(
    tree: CommentedMap, before: Mapping[str, PathEntry] | None, merged: Mapping[str, PathEntry]
) -> None:
    if before == merged:
        return
    paths = _below(tree, "paths")
    for path, entry in merged.items():
        known = (before or {}).get(path)
        if entry == known:
            continue
        below = paths.get(path)
        if not isinstance(below, CommentedMap):
            # New, or the short form, which has no place for what was learned.
            below = CommentedMap()
            below.fa.set_flow_style()
            paths[path] = below
            known = None
        _path(below, PathEntry() if known is None else known, entry)


def _path(tree: CommentedMap, before: PathEntry, merged: PathEntry) -> None:
    if merged.types != before.types:
        tree["types"] = _flow_map({name: str(count) for name, count in merged.types.items()})
    if merged.format != before.format:
        if merged.format is None:
            del tree["format"]
        else:
            tree["format"] = merged.format
    _flag(tree, "open", before.open, merged.open)
    if merged.examples is not None and merged.examples != before.examples:
        examples = CommentedSeq(_scalar(item) for item in merged.examples)
        examples.fa.set_flow_style()
        tree["examples"] = examples


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return DoubleQuotedScalarString(value) if isinstance(value, str) else repr(value)


def _flag(tree: CommentedMap, name: str, before: bool, now: bool) -> None:
    if now != before:
        tree[name] = str(now).lower()


def _flow_map(items: Mapping[str, str]) -> CommentedMap:
    made = CommentedMap(items)
    made.fa.set_flow_style()
    return made


def _below(tree: CommentedMap, name: str) -> CommentedMap:
    """The mapping under a name; made where there is none."""
    if not isinstance(tree.get(name), CommentedMap):
        tree[name] = CommentedMap()
    found: CommentedMap = tree[name]
    return found
