"""Definitions against the event catalogue: names it does not know, types that can never match.

With a catalogue a misspelt event or path and a comparison that no seen type can pass are errors.
Without one only the names of the ecommerce spec are known (`ecommerce`), anything may exist beside
them, and what looks like a slip is a hint: said, never refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from triggers.catalog import Catalog, EventEntry, PathEntry
from triggers.ecommerce import ALIASES, ECOMMERCE
from triggers.paths import is_wild
from triggers.problems import Location, Problem, suggestion
from triggers.uses import ClauseUse, NameUse, PathUse, Uses, shared_uses_of, uses_of

#: Two names of the spec itself are up to 0.86 alike; a slip in one of them is nearer.
_SLIP: Final = 0.87
_ALIASES_BACK: Final = {v2: v1 for v1, v2 in ALIASES.items()}

#: How values compare: an integer is a number.
_KINDS: Final = {
    "string": "text",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "object": "object",
    "list": "list",
    "null": "null",
}
_SCALARS: Final = frozenset({"text", "number", "boolean"})
_ORDERED: Final = frozenset({"text", "number"})
#: What else than any scalar an operator compares.
_COMPARABLE: Final = {
    **dict.fromkeys(("gt", "gte", "lt", "lte", "between"), _ORDERED),
    "prefix": frozenset({"text"}),
}
_SAID: Final = {
    "text": "a text",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "list": "a list",
    "null": "null",
}

#: The kinds a value may have; None: any.
Kinds = frozenset[str] | None


class _Unknown:
    """The type of `_UNKNOWN`: no event has this path."""


_UNKNOWN: Final = _Unknown()


def catalog_problems(document: Any, catalog: Catalog, stem: str = "") -> list[Problem]:
    """What is wrong with a valid trigger's document by this catalogue, or with that of the shared
    definitions called `stem` (`segments`, `relations`)."""
    return list(_Checker(catalog, strict=True).problems(_uses(document, stem)))


def catalog_hints(document: Any, catalog: Catalog | None, stem: str = "") -> list[Problem]:
    """What its author may want to know, though nothing is wrong for certain."""
    if catalog is None:
        return list(_Checker(ECOMMERCE, strict=False).problems(_uses(document, stem)))
    return list(_alias_hints(_uses(document, stem), catalog))


def _uses(document: Any, stem: str) -> Uses:
    return shared_uses_of(stem, document) if stem else uses_of(document)


def _alias_hints(uses: Uses, catalog: Catalog) -> Iterator[Problem]:
    """Both names of one event are sent: an `unless` with one of them would miss the other."""
    named = {(_role(use), use.name) for use in uses.names}
    for use in uses.names:
        other = ALIASES.get(use.name) or _ALIASES_BACK.get(use.name)
        both = other in catalog.events and use.name in catalog.events
        if other is not None and both and (_role(use), other) not in named:
            message = f"'{other}' is sent too and means the same: [{use.name}, {other}]"
            yield Problem(use.location, message)


def _role(use: NameUse) -> Location:
    """`when`, `unless`, ...: what the name is for."""
    return use.location[:1]


@dataclass(frozen=True, slots=True)
class _Checker:
    """`strict`: what the catalogue does not have does not exist."""

    catalog: Catalog
    strict: bool

    def problems(self, uses: Uses) -> Iterator[Problem]:
        for name in uses.names:
            yield from self.name_problems(name)
        for path in uses.paths:
            yield from self.path_problems(path)
        for clause in uses.clauses:
            found = list(self.path_problems(clause.subject))
            for reference in clause.references.values():
                found += self.path_problems(reference)
            yield from found or self.clause_problems(clause)

    def name_problems(self, use: NameUse) -> Iterator[Problem]:
        name, known = use.name, self.catalog.events
        if name in known or (self.strict and self.catalog.open):
            return
        other = ALIASES.get(name)
        if self.strict:
            other = other if other in known else _ALIASES_BACK.get(name)
            if other in known:
                hint = f" (did you mean '{other}'?)"
            else:
                hint = suggestion(name, known) or ": catalog.yaml does not have it"
            yield Problem(use.location, f"unknown event '{name}'{hint}")
        elif other is not None:
            message = f"'{name}' is the version 1 name of '{other}': name what is really sent"
            yield Problem(use.location, message)
        elif hint := suggestion(name, known, likeness=_SLIP):
            yield Problem(use.location, f"'{name}' is no name of the ecommerce spec{hint}")

    def path_problems(self, use: PathUse) -> Iterator[Problem]:
        entries = self.entries(use.events)
        if entries is None or self.find(use, entries) is not _UNKNOWN:
            return
        if use.other and self.find(replace(use, path=use.other), entries) is not _UNKNOWN:
            return
        known = [path for paths in self.listed(entries) for path in paths]
        of = " or ".join(use.events[:3])
        if self.strict:
            hint = _nearest(use.path, known) or ": catalog.yaml does not have it"
        else:
            hint = _nearest(use.path, known, _SLIP)
        if hint:
            what = f"unknown path '{use.path}'"
            message = f"{what} of {of}{hint}" if of and _is_property(use.path) else f"{what}{hint}"
            yield Problem(use.location, message, use.at_key)

    def clause_problems(self, clause: ClauseUse) -> Iterator[Problem]:
        kinds = self.kinds(clause.subject)
        if kinds is None:
            return
        elements = self.elements(clause.subject)
        found = {text: self.operand_kinds(use) for text, use in clause.references.items()}
        for location, wanted, what in _unmet(clause, kinds, elements, found):
            verdict = "always holds" if clause.operator in ("ne", "not_in") else "never holds"
            if not self.strict:
                verdict += " by the ecommerce spec"
            path = clause.subject.path
            message = f"{verdict}: {path} is {_said(kinds)}, not {what or _said(wanted)}"
            yield Problem(location, message)

    def entries(self, events: Iterable[str]) -> list[EventEntry] | None:
        """What is known of these events; None when one of them is not known at all."""
        if any(name not in self.catalog.events for name in events):
            return None
        return [self.catalog.events[name] for name in events]

    def find(self, use: PathUse, entries: list[EventEntry]) -> Kinds | _Unknown:
        """The kinds of a path in any of the events, or _UNKNOWN when none of them has it."""
        shared = self.catalog.shared
        if not _is_property(use.path):
            root = use.path.split(".")[0] + "."
            listed = self.listed(entries)
            if shared.open or not any(path.startswith(root) for paths in listed for path in paths):
                return None
        elif any(entry.paths is None or entry.open for entry in entries):
            kinds = [_look_up(use.path, entry.paths or {}) for entry in entries]
            return None if any(found is _UNKNOWN for found in kinds) else _union(kinds)
        kinds = [_look_up(use.path, paths) for paths in self.listed(entries)]
        kinds = [found for found in kinds if found is not _UNKNOWN]
        return _union(kinds) if kinds else _UNKNOWN

    def listed(self, entries: list[EventEntry]) -> list[Mapping[str, PathEntry]]:
        return [*(entry.paths or {} for entry in entries), self.catalog.shared.paths]

    def kinds(self, use: PathUse) -> Kinds:
        """Null is left out: it says nothing of the values that are there."""
        entries = self.entries(use.events)
        found = None if entries is None else self.find(use, entries)
        return None if found is None or isinstance(found, _Unknown) else (found - {"null"}) or None

    def elements(self, use: PathUse) -> Kinds:
        return self.kinds(PathUse(f"{use.path}.*", use.events, use.location))

    def operand_kinds(self, use: PathUse) -> "_Operand":
        return _Operand(self.kinds(use), self.elements(use), is_wild(use.path))


@dataclass(frozen=True, slots=True)
class _Operand:
    """What a reference leads to: one value, or several under `*`."""

    kinds: Kinds
    elements: Kinds
    wild: bool


def _nearest(path: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The nearest path below the same root, else the same names below another one."""
    root, _, rest = path.partition(".")
    below = {found.partition(".")[2]: found for found in known}
    same = [name for name, found in below.items() if found.startswith(f"{root}.")]
    hint = suggestion(rest, same, template=f"{root}.{{}}", likeness=likeness)
    return hint or suggestion(below.get(rest, ""), below.values(), likeness=1)


def _is_property(path: str) -> bool:
    return path.startswith("properties.")


def _look_up(path: str, paths: Mapping[str, PathEntry]) -> Kinds | _Unknown:
    entry = paths.get(path)
    if entry is not None:
        return frozenset(_KINDS[name] for name in entry.types) or None
    below = f"{path}."
    found = [known[len(below) :] for known in paths if known.startswith(below)]
    if found:
        return frozenset("list" if rest.split(".")[0] == "*" else "object" for rest in found)
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        above = paths.get(".".join(names[:end]))
        if above is not None:
            return None if above.open else _UNKNOWN
    return _UNKNOWN


def _union(found: Iterable[Kinds | _Unknown]) -> Kinds:
    kinds: frozenset[str] = frozenset()
    for one in found:
        if one is None or isinstance(one, _Unknown):
            return None
        kinds |= one
    return kinds


def _said(kinds: Kinds) -> str:
    said = [_SAID[kind] for kind in _SAID if kind in (kinds or ())]
    return " or ".join(said)


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _unmet(
    clause: ClauseUse, kinds: frozenset[str], elements: Kinds, references: Mapping[str, _Operand]
) -> Iterator[tuple[Location, frozenset[str], str]]:
    """Parts of the operand that no value of these kinds fits: place, kinds wanted, what it is."""
    operator, operand = clause.operator, clause.operand
    if operator == "exists" or operand is None:
        return
    if operator == "within_km":
        wanted: list[tuple[Location, Kinds, str]] = [(clause.location, frozenset({"object"}), "")]
    elif operator == "contains":
        wanted = [(clause.location, *_holder(operand, kinds, elements, references))]
    elif isinstance(operand, list | tuple):
        wanted = [
            ((*clause.location, number), *_wanted(item, operator, references, alone=False))
            for number, item in enumerate(operand)
        ]
    else:
        wanted = [(clause.location, *_wanted(operand, operator, references, alone=True))]
    for location, fits, what in wanted:
        if fits is not None and not fits & kinds:
            yield location, fits, what


def _wanted(
    operand: Any, operator: str, references: Mapping[str, _Operand], *, alone: bool
) -> tuple[Kinds, str]:
    """The kinds that one operand can be compared with, and what it is in words.

    `alone`: it is the whole operand, so that a reference under `in` leads to a list.
    """
    comparable = _COMPARABLE.get(operator, _SCALARS)
    if not _is_reference(operand):
        kind = _kind_of(operand)
        said = (
            _SAID[kind] if kind == "boolean" else f"{_SAID[kind].replace('a ', 'the ')} {operand!r}"
        )
        return comparable & {kind}, said[:100]
    reference = references.get(operand)
    if reference is None or reference.kinds is None:
        return None, ""
    said = f"{_said(reference.kinds)} as {operand} is"
    if alone and operator in ("in", "not_in") and not reference.wild:
        if "list" not in reference.kinds:
            return frozenset(), f"in {said}"
        return reference.elements, f"in {said}"
    return comparable & reference.kinds, said


def _holder(
    operand: Any, kinds: frozenset[str], elements: Kinds, references: Mapping[str, _Operand]
) -> tuple[Kinds, str]:
    """The kinds that can contain the operand: a text a text, a list what its elements equal."""
    fits, said = _wanted(operand, "contains", references, alone=True)
    if fits is None:
        return None, ""
    holders = fits & {"text"}
    if "list" not in kinds or elements is None or fits & elements:
        return holders | {"list"}, ""
    return holders, f"a list with {said}"


def _is_reference(operand: Any) -> bool:
    return isinstance(operand, str) and operand.startswith("$")
