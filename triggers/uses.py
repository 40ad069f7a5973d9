"""Where a definition names events and paths: read off its document, whatever the pattern.

In `when`, `unless`, `goal` and `audience` a mapping with `event` names events; its `where` filters
them, its `distinct`, `same` and `value` are paths into them. That holds for every pattern, one of
steps included, so a new one needs nothing here. The texts of messages name paths of the first and
the last of `when`. Locations are those of the author's document.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triggers.filters import GROUPS
from triggers.paths import LEAVES, check_path
from triggers.problems import Location
from triggers.texts import compile_text

_ROOTS: Final = ("when", "unless", "goal", "audience")
_PATH_FIELDS: Final = ("distinct", "same", "value")
_MESSAGES: Final = ("message", "messages", "experiment")
_TEXTS: Final = ("title", "body", "link", "image")
#: What is shared refers to no event of a trigger.
_NOTHING: Final[Mapping[str, tuple[str, ...]]] = {"start": (), "event": ()}
_NO_SEGMENTS: Final = ("groups", "snapshots")
#: What Liquid itself says of a list or a text.
_LIQUID: Final = ("size", "first", "last")
_REFERENCE: Final = re.compile(r"\$(start|event)\.(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NameUse:
    """An event's name, and where it stands."""

    name: str
    location: Location


@dataclass(frozen=True, slots=True)
class PathUse:
    """A path into one of `events` (none: into what is shared by all). `other`: a path that will do
    as well."""

    path: str
    events: tuple[str, ...]
    location: Location
    at_key: bool = False
    other: str = ""


@dataclass(frozen=True, slots=True)
class ClauseUse:
    """One comparison. `references`: the operand's, by the text that stands for each."""

    subject: PathUse
    operator: str
    operand: Any
    location: Location
    references: Mapping[str, PathUse]


@dataclass(frozen=True, slots=True)
class Uses:
    """All uses of one definition, in the order of its text."""

    names: list[NameUse]
    paths: list[PathUse]
    clauses: list[ClauseUse]


def uses_of(document: Any) -> Uses:
    """The uses of a valid trigger's document."""
    uses = Uses([], [], [])
    if not isinstance(document, Mapping):
        return uses
    when = list(_event_mappings(document.get("when"), ("when",)))
    named = {
        "start": _names(when[0][0]) if when else (),
        "event": _names(when[-1][0]) if when else (),
    }
    for root in _ROOTS:
        for found, location in _event_mappings(document.get(root), (root,)):
            events = _names(found)
            uses.names.extend(_name_uses(found["event"], (*location, "event")))
            uses.clauses.extend(_clauses(found.get("where"), events, (*location, "where"), named))
        uses.paths.extend(_path_fields(document.get(root), (root,)))
    started = tuple(dict.fromkeys(name for found, _ in when for name in _names(found)))
    uses.paths.extend(_path_uses(document.get("per"), started, ("per",)))
    uses.paths.extend(_trait_fields(document.get("when"), ("when",)))
    uses.clauses.extend(_audience(document.get("audience"), ("audience",), named))
    for root in _MESSAGES:
        for source, location in _texts(document.get(root), (root,)):
            uses.paths.extend(_said(source, location, named))
    return uses


def shared_uses_of(stem: str, document: Any) -> Uses:
    """The uses of a valid document of shared definitions: `segments` or `relations`."""
    uses = Uses([], [], [])
    if isinstance(document, Mapping):
        for name, found in document.items():
            if stem == "relations":
                _relation(found, (name,), uses)
            elif name == "features" and isinstance(found, Mapping):
                for feature, computed in found.items():
                    _condition(computed, (name, feature), uses)
            elif name not in _NO_SEGMENTS:
                _condition(found, (name,), uses)
    return uses


def _condition(value: Any, location: Location, uses: Uses) -> None:
    """A segment's condition, or a feature: its `of` is a path into its events."""
    for found, here in _event_mappings(value, location):
        events = _names(found)
        uses.names.extend(_name_uses(found["event"], (*here, "event")))
        uses.paths.extend(_path_uses(found.get("of"), events, (*here, "of")))
        uses.clauses.extend(_clauses(found.get("where"), events, (*here, "where"), _NOTHING))
    uses.clauses.extend(_audience(value, location, _NOTHING))


def _relation(relation: Any, location: Location, uses: Uses) -> None:
    """`add` and `remove` name events; `item` stands in each, or at its name in their products."""
    if not isinstance(relation, Mapping):
        return
    item = relation.get("item")
    for role in ("add", "remove"):
        having: tuple[str, ...] = ()
        for entry, here in _entries(relation.get(role), (*location, role)):
            whole = entry if isinstance(entry, Mapping) else {"event": entry}
            place = (*here, "event") if isinstance(entry, Mapping) else here
            names = list(_name_uses(whole.get("event"), place))
            events = tuple(use.name for use in names)
            uses.names.extend(names)
            uses.clauses.extend(_clauses(whole.get("where"), events, (*here, "where"), _NOTHING))
            having += () if whole.get("all") else events
        if having and isinstance(item, str) and _is_below_a_root(item):
            product = f"properties.products.*.{item.removeprefix('properties.')}"
            uses.paths.append(PathUse(item, having, (*location, "item"), other=product))


def _entries(value: Any, location: Location) -> Iterator[tuple[Any, Location]]:
    if isinstance(value, list | tuple):
        yield from ((entry, (*location, number)) for number, entry in enumerate(value))
    else:
        yield value, location


def _event_mappings(value: Any, location: Location) -> Iterator[tuple[Mapping[str, Any], Location]]:
    if isinstance(value, Mapping):
        if "event" in value:
            yield value, location
        for key, item in value.items():
            if key != "where":
                yield from _event_mappings(item, (*location, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _event_mappings(item, (*location, number))


def _names(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(use.name for use in _name_uses(found["event"], ()))


def _name_uses(value: Any, location: Location) -> Iterator[NameUse]:
    if isinstance(value, str):
        yield NameUse(value, location)
    elif isinstance(value, list | tuple):
        for number, name in enumerate(value):
            if isinstance(name, str):
                yield NameUse(name, (*location, number))


def _path_fields(value: Any, location: Location) -> Iterator[PathUse]:
    """`distinct`, `same`, `value`: beside an `event`, or around the steps of a sequence."""
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _path_fields(item, (*location, number))
    if not isinstance(value, Mapping):
        return
    events: tuple[str, ...] = ()
    for found, _ in _event_mappings(value, location):
        events += _names(found)
    for key, item in value.items():
        if key in _PATH_FIELDS and events:
            yield from _path_uses(item, events, (*location, key))
        elif key != "where":
            yield from _path_fields(item, (*location, key))


def _path_uses(value: Any, events: tuple[str, ...], location: Location) -> Iterator[PathUse]:
    if isinstance(value, str) and _is_below_a_root(value):
        yield PathUse(value, events, location)
    elif isinstance(value, list | tuple):
        for number, path in enumerate(value):
            yield from _path_uses(path, events, (*location, number))


def _trait_fields(when: Any, location: Location) -> Iterator[PathUse]:
    if isinstance(when, Mapping):
        trait, date = when.get("trait"), when.get("date")
        if isinstance(trait, str):
            yield PathUse(f"traits.{trait.removeprefix('traits.')}", (), (*location, "trait"))
        if isinstance(date, str) and date.startswith("traits."):
            yield PathUse(date, (), (*location, "date"))


def _audience(
    value: Any, location: Location, named: Mapping[str, tuple[str, ...]]
) -> Iterator[ClauseUse]:
    """Conditions on traits; segments, `did` and `has` stand between them."""
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _audience(item, (*location, number), named)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key in GROUPS:
                yield from _audience(item, (*location, key), named)
            elif isinstance(key, str) and key.startswith("traits."):
                yield from _clauses({key: item}, (), location, named)


def _texts(value: Any, location: Location) -> Iterator[tuple[str, Location]]:
    """The templates below, each locale's by itself."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = (*location, key)
            by_locale = item if isinstance(item, Mapping) else {}
            if key in _TEXTS and isinstance(item, str):
                yield item, here
            elif key in _TEXTS and any(isinstance(text, str) for text in by_locale.values()):
                yield from ((text, (*here, locale)) for locale, text in by_locale.items())
            else:
                yield from _texts(item, here)


def _said(
    source: str, location: Location, named: Mapping[str, tuple[str, ...]]
) -> Iterator[PathUse]:
    for root, path in compile_text(source).paths:
        names = path.split(".")
        ends = [at for at, name in enumerate(names) if at > 1 and name in _LIQUID]
        known = ".".join(names[: ends[0]]) if ends else path
        # What is no event of the client (a trait, a date, a signal) may carry anything.
        if _is_below_a_root(known) and (named[root] or not known.startswith("properties.")):
            yield PathUse(known, named[root], location)


def _clauses(
    where: Any, events: tuple[str, ...], location: Location, named: Mapping[str, tuple[str, ...]]
) -> Iterator[ClauseUse]:
    if isinstance(where, list | tuple):
        for number, item in enumerate(where):
            yield from _clauses(item, events, (*location, number), named)
    if not isinstance(where, Mapping):
        return
    for key, condition in where.items():
        here = (*location, key)
        if key in GROUPS:
            yield from _clauses(condition, events, here, named)
        elif isinstance(key, str) and _is_below_a_root(key):
            subject = PathUse(key, events, here, at_key=True)
            bare = not isinstance(condition, Mapping)
            for operator, operand in {"eq": condition}.items() if bare else condition.items():
                place = here if bare else (*here, operator)
                references = dict(_references(operand, place, named))
                yield ClauseUse(subject, operator, operand, place, references)


def _references(
    operand: Any, location: Location, named: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, PathUse]]:
    if isinstance(operand, str):
        match = _REFERENCE.fullmatch(operand)
        if match is not None and _is_below_a_root(match[2]):
            yield operand, PathUse(match[2], named[match[1]], location)
    elif isinstance(operand, Mapping | list | tuple):
        entries = operand.items() if isinstance(operand, Mapping) else enumerate(operand)
        for key, item in entries:
            if isinstance(item, str):
                yield from _references(item, (*location, key), named)


def _is_below_a_root(path: str) -> bool:
    return path not in LEAVES and check_path(path) is None
