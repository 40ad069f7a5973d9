"""The structure of a `where`: parsed once from its document form into a tree of clauses.

    where   := {path: operand | {operator: operand, ...}, all: [where], any: [where], not: where}
    operand := a scalar, or a reference `$start.<path>` / `$event.<path>`

Everything under one mapping must hold. A parsed filter is correct: what could not mean anything is
a `Problem` here, at registration, and never a surprise at the first event.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from triggers.operators import OPERATORS
from triggers.paths import PATH_CHARS_MAX, check_path, is_wild
from triggers.problems import Location, Problem, suggestion

CLAUSES_MAX = 200
DEPTH_MAX = 10
LIST_MAX = 1000
TEXT_CHARS_MAX = 4096

GROUPS = ("all", "any", "not")
_REFERENCE = re.compile(r"\$([A-Za-z_]+)(?:\.(.*))?", re.DOTALL)
_SCALARS = (str, int, float, bool)


#: What a reference may begin with: `$start` is the first event of an activation, `$event` the one
#: that completed it.
START, EVENT = "start", "event"
BOTH = (START, EVENT)


@dataclass(frozen=True, slots=True)
class Reference:
    """`$start.<path>` or `$event.<path>`: a value kept of an event of the instance."""

    path: str
    root: str = START

    @property
    def key(self) -> str:
        """Its name among the kept fields: what was kept of `$event` has a `$` before its path."""
        return self.path if self.root == START else f"${self.path}"

    def __str__(self) -> str:
        return f"${self.root}.{self.path}"


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison; `operand` may be, or hold, a Reference."""

    path: str
    operator: str
    operand: Any


@dataclass(frozen=True, slots=True)
class All:
    """Kleene's `and`."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Kleene's `or`."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """Kleene's `not`: what could not be evaluated stays so."""

    node: "Node"


Node = Clause | All | AnyOf | Not


def parse_where(where: Any, *, references: Collection[str] = ()) -> tuple[All, list[Problem]]:
    """Parse `where`; `references`: which of `$start` and `$event` have a meaning here.

    The tree is whole only when there are no problems. Locations are relative to `where`.
    """
    parser = WhereParser(references)
    return parser.parse(where), parser.problems


def clauses_of(node: Node) -> list[Clause]:
    """All clauses below a node, in the order they were written."""
    if isinstance(node, Clause):
        return [node]
    if isinstance(node, Not):
        return clauses_of(node.node)
    return [clause for child in node.nodes for clause in clauses_of(child)]


def references_in(operand: Any) -> list[Reference]:
    """The references an operand is or holds."""
    if isinstance(operand, Reference):
        return [operand]
    if isinstance(operand, Mapping):
        operand = list(operand.values())
    return [item for item in operand if isinstance(item, Reference)] if _is_list(operand) else []


def _is_list(operand: Any) -> bool:
    return isinstance(operand, list | tuple)


class WhereParser:
    """Walks one `where`, counts its clauses and collects what is wrong with it."""

    def __init__(self, references: Collection[str]) -> None:
        self.references = references
        self.problems: list[Problem] = []
        self.clauses = 0

    def parse(self, where: Any) -> All:
        """The tree of a whole `where`; what is wrong is in `problems` afterwards."""
        tree = self.mapping(where, (), 1)
        if self.clauses > CLAUSES_MAX:
            message = f"a filter has at most {CLAUSES_MAX} clauses, this has {self.clauses}"
            self.refuse((), message)
        return tree

    def refuse(self, location: Location, message: str, *, at_key: bool = False) -> None:
        self.problems.append(Problem(location, message, at_key))

    def mapping(self, where: Any, location: Location, depth: int) -> All:
        if not isinstance(where, Mapping):
            self.refuse(location, "a filter maps paths to conditions, such as properties.price: 20")
            return All(())
        if not where:
            self.refuse(location, "an empty filter: leave it out")
        if depth > DEPTH_MAX:
            self.refuse(location, f"a filter nests at most {DEPTH_MAX} deep")
            return All(())
        nodes: list[Node] = []
        for key, value in where.items():
            if key in GROUPS:
                nodes.append(self.group(key, value, (*location, key), depth + 1))
            else:
                nodes.extend(self.path(key, value, (*location, key)))
        return All(tuple(nodes))

    def group(self, name: str, value: Any, location: Location, depth: int) -> Node:
        if name == "not":
            return Not(self.mapping(value, location, depth))
        if not isinstance(value, list | tuple) or not value:
            self.refuse(location, f"`{name}` is a list of filters")
            return All(())
        if len(value) > LIST_MAX:
            self.refuse(location, f"a list has at most {LIST_MAX} elements")
            return All(())
        nodes = tuple(self.mapping(v, (*location, i), depth) for i, v in enumerate(value))
        return AnyOf(nodes) if name == "any" else All(nodes)

    def path(self, path: Any, condition: Any, location: Location) -> Sequence[Node]:
        problem = check_path(path) if isinstance(path, str) else "a path is text"
        if problem is not None:
            self.refuse(location, problem, at_key=True)
        return self.conditions(path, condition, location)

    def conditions(self, path: Any, condition: Any, location: Location) -> list[Clause]:
        """The clauses of one path: an operand, or operands by operator."""
        if not isinstance(condition, Mapping):
            if _is_list(condition):
                self.refuse(location, "a list needs an operator, such as {in: [...]}")
                return []
            return [self.clause(str(path), "eq", condition, location)]
        if not condition:
            self.refuse(location, "a condition needs an operator, such as {gte: 20}")
        clauses = []
        for operator, operand in condition.items():
            if operator in OPERATORS:
                clauses.append(self.clause(str(path), operator, operand, (*location, operator)))
            else:
                self.refuse((*location, operator), _unknown_operator(operator), at_key=True)
        return clauses

    def clause(self, path: str, operator: str, operand: Any, location: Location) -> Clause:
        self.clauses += 1
        operand = self.operand(operand, location)
        problem = check_operand(operator, operand)
        if problem is not None:
            self.refuse(location, problem)
        return Clause(path, operator, operand)

    def operand(self, operand: Any, location: Location) -> Any:
        """The operand with its references found: by itself, in a list, in a mapping."""
        if isinstance(operand, str):
            return self.text(operand, location)
        if _is_list(operand):
            if len(operand) > LIST_MAX:
                self.refuse(location, f"a list has at most {LIST_MAX} elements")
                return []
            return [
                self.text(item, (*location, i)) if isinstance(item, str) else item
                for i, item in enumerate(operand)
            ]
        if isinstance(operand, Mapping):
            return {
                key: self.text(item, (*location, key)) if isinstance(item, str) else item
                for key, item in operand.items()
            }
        return operand

    def text(self, text: str, location: Location) -> Any:
        if len(text) > TEXT_CHARS_MAX:
            self.refuse(location, f"a text has at most {TEXT_CHARS_MAX} characters here")
            return text
        match = _REFERENCE.fullmatch(text)
        if match is None:
            return text
        name, path = match.groups()
        if path is None and name not in ("start", "event"):
            return text
        problem = self.reference_problem(name, path or "")
        if problem is not None:
            self.refuse(location, problem)
        return Reference((path or "")[: PATH_CHARS_MAX + 1], name if name in BOTH else START)

    def reference_problem(self, name: str, path: str) -> str | None:
        if name not in BOTH:
            hint = suggestion(name, BOTH, template="${}." + path)
            return f"unknown reference '${name}'{hint}"
        if name not in self.references:
            if name == EVENT:
                other = "use `$start`" if self.references else "name its path in a condition"
                return f"`$event` is the event itself here: {other}"
            return "`$start` is not known yet here: a reference goes into `unless`, a later step"
        if not path:
            return f"a reference names a path, such as '${name}.properties.product_id'"
        return check_path(path)


def _unknown_operator(operator: Any) -> str:
    if operator in GROUPS:
        return f"`{operator}` goes around paths, not under one"
    return f"unknown operator '{operator}'{suggestion(str(operator), OPERATORS)}"


def check_operand(operator: str, operand: Any) -> str | None:
    """What is wrong with the operand of an operator, or None."""
    if isinstance(operand, Reference) and operator not in ("exists", "between", "within_km"):
        if is_wild(operand.path) and operator not in ("eq", "in", "not_in"):
            return f"a reference with '*' goes with eq, in or not_in, not with {operator}"
        return None
    if operator in ("eq", "ne"):
        return None if operand is None else _check_scalar(operator, operand)
    if operator in ("in", "not_in"):
        return _check_list(operator, operand)
    if operator == "exists":
        return None if isinstance(operand, bool) else "`exists` is true or false"
    if operator == "prefix":
        return None if isinstance(operand, str) else "`prefix` takes a text"
    if operator == "contains":
        return _check_scalar(operator, operand)
    if operator == "between":
        return _check_between(operand)
    if operator == "within_km":
        return _check_within_km(operand)
    return None if _order_kind(operand) else f"`{operator}` takes a number or a text"


def _check_scalar(operator: str, operand: Any) -> str | None:
    if isinstance(operand, float) and not isfinite(operand):
        return "not a finite number"
    if isinstance(operand, _SCALARS):
        return None
    if operand is None:
        return f"`{operator}` does not take null: `exists: false` asks for absence"
    return f"`{operator}` takes one text, number, true or false"


def _check_list(operator: str, operand: Any) -> str | None:
    if not _is_list(operand) or not operand:
        return f"`{operator}` takes a list of values"
    for item in operand:
        if isinstance(item, Reference):
            if is_wild(item.path):
                return f"a reference with '*' stands alone: {operator}: {item}"
            continue
        problem = _check_scalar(operator, item)
        if problem is not None:
            return problem
    return None


def _order_kind(operand: Any) -> str | None:
    """What the operand can be ordered with: numbers, texts, or anything (a reference)."""
    if isinstance(operand, Reference):
        return None if is_wild(operand.path) else "anything"
    if isinstance(operand, str):
        return "texts"
    if isinstance(operand, bool) or not isinstance(operand, int | float) or not isfinite(operand):
        return None
    return "numbers"


def _check_between(operand: Any) -> str | None:
    if not _is_list(operand) or len(operand) != 2:
        return "`between` takes two ends, such as [10, 20]"
    low, high = operand
    kinds = {_order_kind(low), _order_kind(high)}
    if None in kinds or len(kinds - {"anything"}) > 1:
        return "`between` takes two numbers or two texts"
    if "anything" not in kinds and low > high:
        return f"`between` never holds: {low} is above {high}"
    return None


def _check_within_km(operand: Any) -> str | None:
    if not isinstance(operand, Mapping) or set(operand) != {"lat", "lon", "km"}:
        return "`within_km` takes {lat: ..., lon: ..., km: ...}"
    for name, limit in (("lat", 90), ("lon", 180)):
        kind = _order_kind(operand[name])
        if kind == "numbers" and not -limit <= operand[name] <= limit:
            return f"`{name}` is a number of degrees from -{limit} to {limit}"
        if kind not in ("numbers", "anything"):
            return f"`{name}` is a number of degrees"
    if _order_kind(operand["km"]) != "numbers" or operand["km"] <= 0:
        return "`km` is a number above 0"
    return None
