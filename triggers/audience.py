"""Audiences: a filter over the user, as its author writes it, parsed into a tree of clauses.

    audience := {traits.<path>: operand | {operator: operand},
                 features.<name>: operand | {operator: operand},
                 segment: name | [any of these names],
                 did: {event, where, within, count: number | {operator: number}} | [all of these],
                 has: {relation: number | {operator: number}},
                 idle: duration,
                 all: [audience], any: [audience], not: audience}

Everything under one mapping must hold. Each clause is a `FactClause`: an operator and an operand as
in a `where`, about a `Fact` of the user instead of a path into an event. `membership` answers it.
A `still` is the same with traits only; there an operand may be `$start.<path>` or `$event.<path>`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema

from triggers.durations import parse_duration
from triggers.features import COUNT_MAX, FeatureDefinition
from triggers.fields import EventNames, Where, WindowMs
from triggers.filters import (
    BOTH,
    All,
    Clause,
    Node,
    Reference,
    WhereParser,
    clauses_of,
    references_in,
)
from triggers.model import Model, problems_of, refusal
from triggers.problems import Location, Problem, suggestion

DIDS_MAX = 20
SEGMENTS_MAX = 100

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NUMBER_OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "between")
AUDIENCE_KEYS = ("segment", "did", "has", "idle", "all", "any", "not")
_ROOTS = ("traits", "features")


class Trait(NamedTuple):
    """A trait by its path below `traits`; its kept part ends before the first `*`."""

    path: str

    @property
    def declared(self) -> str:
        return ".".join(_until_wild(self.path.split(".")))


class Declared(NamedTuple):
    """A feature of segments.yaml."""

    name: str


class Counted(NamedTuple):
    """What a `did` counts."""

    feature: FeatureDefinition


class Related(NamedTuple):
    """How many items of a relation the user has."""

    relation: str


class Silence(NamedTuple):
    """How long there was no activity; `idle_ms` is what it is compared with."""

    idle_ms: int


class Member(NamedTuple):
    """Which of these segments the user belongs to."""

    segments: tuple[str, ...]


Fact = Trait | Declared | Counted | Related | Silence | Member


@dataclass(frozen=True, slots=True)
class FactClause(Clause):
    """One comparison about the user; `path` is how `explain` calls the fact."""

    fact: Fact


class Mention(NamedTuple):
    """A name of another document that an audience uses: `kind` is segment, feature or relation."""

    location: Location
    kind: str
    name: str


class Parsed(NamedTuple):
    """An audience that is right by itself, unless there are `problems`."""

    tree: All
    mentions: tuple[Mention, ...]
    problems: tuple[Problem, ...]


class Did(Model):
    """`{event, where, within, count}`: how often the user did something; at least once."""

    events: EventNames = Field(alias="event")
    where: Where | None = None
    within_ms: WindowMs | None = Field(default=None, alias="within")

    def feature(self) -> FeatureDefinition:
        """What is counted."""
        return FeatureDefinition.model_validate({"compute": "count", **self.to_document()})

    def to_document(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def parse_audience(document: Any) -> Parsed:
    """Parse an audience; locations are relative to it."""
    return _parsed(_AudienceParser(()), document)


def parse_still(document: Any) -> Parsed:
    """Parse a `still`; locations are relative to it."""
    return _parsed(_StillParser(BOTH), document)


def check_name(name: Any, what: str) -> str | None:
    """What is wrong with the name of a segment, feature, relation or group, or None."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return (
        f"'{str(name)[:100]}' is not a {what}'s name: lower-case letters, digits, '-' and '_', "
        "64 characters at most"
    )


def _parsed(parser: "_AudienceParser", document: Any) -> Parsed:
    tree = parser.parse(document)
    return Parsed(tree, tuple(parser.mentions), tuple(parser.problems))


class _AudienceParser(WhereParser):
    def __init__(self, references: Collection[str]) -> None:
        super().__init__(references)
        self.mentions: list[Mention] = []

    def path(self, path: Any, condition: Any, location: Location) -> Sequence[Node]:
        root, _, rest = str(path).partition(".")
        if root == "traits":
            return _about(super().path(path, condition, location), Trait(rest))
        if root == "features" and rest:
            self.mention(location, "feature", rest)
            return _about(self.conditions(path, condition, location), Declared(rest))
        if path == "segment":
            return self.segments(condition, location)
        if path == "did":
            return self.dids(condition, location)
        if path == "has":
            return self.relations(condition, location)
        if path == "idle":
            return self.idle(condition, location)
        self.refuse(location, self.unknown(str(path)), at_key=True)
        return []

    def unknown(self, path: str) -> str:
        root, _, rest = path[:100].partition(".")
        if root in ("properties", "context", "event", "type"):
            return f"'{path[:100]}' is about an event: it goes into `where`, not into an audience"
        hint = suggestion(root, (*AUDIENCE_KEYS, *_ROOTS), template="{}." + rest if rest else "{}")
        return f"unknown condition '{path[:100]}' in an audience{hint}"

    def mention(self, location: Location, kind: str, name: Any) -> bool:
        problem = check_name(name, kind)
        if problem is not None:
            self.refuse(location, problem)
            return False
        self.mentions.append(Mention(location, kind, name))
        return True

    def segments(self, condition: Any, location: Location) -> Sequence[Node]:
        listed = condition if isinstance(condition, list | tuple) else [condition]
        if not listed or len(listed) > SEGMENTS_MAX:
            self.refuse(location, f"`segment` is a name or a list of 1 to {SEGMENTS_MAX} names")
            return []
        for number, name in enumerate(listed):
            self.mention((*location, number) if listed is condition else location, "segment", name)
        self.clauses += 1
        names = tuple(str(name) for name in listed)
        return [FactClause("segment", "in", list(names), Member(names))]

    def dids(self, condition: Any, location: Location) -> Sequence[Node]:
        listed = condition if isinstance(condition, list | tuple) else [condition]
        if not listed or len(listed) > DIDS_MAX:
            self.refuse(location, f"`did` is one of {{event: ...}} or a list of 1 to {DIDS_MAX}")
            return []
        found: list[Node] = []
        for number, did in enumerate(listed):
            found += self.did(did, (*location, number) if listed is condition else location)
        return found

    def did(self, document: Any, location: Location) -> Sequence[Node]:
        if not isinstance(document, Mapping):
            self.refuse(location, "`did` needs an event, such as {event: Order Completed}")
            return []
        rest = {name: value for name, value in document.items() if name != "count"}
        try:
            did = Did.model_validate(rest)
        except ValidationError as error:
            for problem in problems_of(error):
                self.refuse((*location, *problem.location), problem.message, at_key=problem.at_key)
            return []
        window = f" within {rest['within']}" if "within" in rest else ""
        label = f"did {' or '.join(did.events)}{window}"
        count = document.get("count", {"gte": 1})
        place = (*location, "count") if "count" in document else location
        return _about(self.numbers(label, count, place), Counted(did.feature()))

    def relations(self, condition: Any, location: Location) -> Sequence[Node]:
        if not isinstance(condition, Mapping) or not condition:
            self.refuse(location, "`has` maps relations to numbers, such as {cart: {gte: 1}}")
            return []
        found: list[Node] = []
        for name, number in condition.items():
            if self.mention((*location, name), "relation", name):
                clauses = self.numbers(f"has {name}", number, (*location, name))
                found += _about(clauses, Related(name))
        return found

    def idle(self, condition: Any, location: Location) -> Sequence[Node]:
        self.clauses += 1
        try:
            if not isinstance(condition, str):
                raise ValueError("`idle` is a duration, such as 30d")
            idle_ms = parse_duration(condition)
            if idle_ms < 1000:
                raise ValueError("this duration is at least 1s")
        except ValueError as error:
            self.refuse(location, str(error))
            return []
        return [FactClause("idle", "gte", idle_ms, Silence(idle_ms))]

    def numbers(self, label: str, condition: Any, location: Location) -> Sequence[Node]:
        """Comparisons with whole numbers, up to the largest that is counted."""
        clauses = self.conditions(label, condition, location)
        for clause in clauses:
            place = location
            if isinstance(condition, Mapping):
                place = (*location, clause.operator)
            if clause.operator not in _NUMBER_OPERATORS:
                self.refuse(place, f"a number is compared: not with `{clause.operator}`")
            elif not all(_is_count(item) for item in numbers_of(clause.operand)):
                self.refuse(place, f"this is compared with whole numbers from 0 to {COUNT_MAX:,}")
        return clauses


class _StillParser(_AudienceParser):
    """Traits only: what else may have changed by the time of sending is not asked again yet."""

    def path(self, path: Any, condition: Any, location: Location) -> Sequence[Node]:
        if str(path).partition(".")[0] == "traits":
            return super().path(path, condition, location)
        self.refuse(location, self.unknown(str(path)), at_key=True)
        return []

    def unknown(self, path: str) -> str:
        if path.partition(".")[0] == "item":
            return f"`{path[:100]}` comes with the catalogue: not available in this version"
        return f"`still` asks about traits, such as traits.plan: '{path[:100]}' is not one"


def numbers_of(operand: Any) -> list[Any]:
    """The operand, or the elements of a list of them."""
    return list(operand) if isinstance(operand, list | tuple) else [operand]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= COUNT_MAX


def _about(clauses: Sequence[Node], fact: Fact) -> Sequence[Node]:
    return [
        FactClause(clause.path, clause.operator, clause.operand, fact)
        for clause in clauses
        if isinstance(clause, Clause)
    ]


def _until_wild(names: list[str]) -> list[str]:
    return names[: names.index("*")] if "*" in names else names


def _validated(parse: Any) -> PlainValidator:
    def check(document: Any) -> dict[str, Any]:
        parsed: Parsed = parse(document)
        if parsed.problems:
            raise refusal(parsed.problems)
        made: dict[str, Any] = complete(document)
        return made

    return PlainValidator(check)


def complete(document: Any) -> Any:
    """The document with the count of each `did` written out."""
    if not isinstance(document, Mapping):
        return document
    made = dict(document)
    for group in ("all", "any"):
        if group in made:
            made[group] = [complete(item) for item in made[group]]
    if "not" in made:
        made["not"] = complete(made["not"])
    if "did" in made:
        did = made["did"]
        whole = [_with_count(one) for one in did] if isinstance(did, list | tuple) else None
        made["did"] = _with_count(did) if whole is None else whole
    return made


def _with_count(did: Any) -> dict[str, Any]:
    return {"count": {"gte": 1}, **did}


#: An audience in a definition; compile it with `membership.Memberships`.
AudienceDocument = Annotated[
    dict[str, Any], _validated(parse_audience), WithJsonSchema({"x-shape": "Audience"})
]
#: A `still` in a definition.
StillDocument = Annotated[
    dict[str, Any], _validated(parse_still), WithJsonSchema({"x-shape": "Still"})
]


def references_of(tree: All) -> list[Reference]:
    """The references the operands of a tree hold."""
    return [found for clause in clauses_of(tree) for found in references_in(clause.operand)]
