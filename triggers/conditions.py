"""Conditions: a `where` compiled once to closures, split by what it has to know.

`compile_filter` parses and compiles; `Filter.static` judges an event alone, `Filter.dynamic` holds
what was kept of it (`event_paths`) against what was kept of the instance (`start_paths` of its
first event, `completing_paths` of its last), and their conjunction is the filter. Answers are
Kleene's: True, False, or None for "could not evaluate". What each operator means is said in
`operators`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas.events import Event
from triggers.filters import (
    START,
    All,
    AnyOf,
    Clause,
    Node,
    Not,
    Reference,
    clauses_of,
    parse_where,
    references_in,
)
from triggers.operators import equals, index_key, make_test
from triggers.paths import MISSING, Many, compile_path, is_wild, project, property_name
from triggers.problems import Problem

__all__ = ["ClauseResult", "Fields", "Filter", "FilterError", "compile_filter", "index_key"]

#: Kept values by dotted path, as `paths.project` makes them.
Fields = Mapping[str, Any]

_Judge = Callable[[Any], bool | None]


class FilterError(ValueError):
    """A `where` that cannot be compiled; `problems` says what is wrong, relative to it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ClauseResult:
    """How one clause came out, for `explain`.

    `operand` as written, `compared` with its references resolved; `value` is what the event held
    (MISSING when absent, a Many under `*`).
    """

    path: str
    operator: str
    operand: Any
    value: Any
    result: bool | None
    compared: Any


class Filter:
    """A compiled `where`. Absent parts always hold: `static` and `dynamic` may both be None."""

    __slots__ = (
        "_clauses",
        "completing_paths",
        "discriminators",
        "dynamic",
        "event_paths",
        "start_paths",
        "static",
    )

    def __init__(self, tree: All, one_event: bool = False) -> None:
        if one_event:
            tree = of_start(tree)
        conjuncts = _flatten(tree)
        alone = [node for node in conjuncts if not _references([node])]
        paired = [node for node in conjuncts if _references([node])]
        #: Judges the event alone: the conjuncts without `$start`.
        self.static: Callable[[Event], bool | None] | None = (
            conjunction([judge_of(node, _event_clause) for node in alone]) if alone else None
        )
        #: Judges (fields of the event, fields of the start): the conjuncts with `$start`.
        self.dynamic: Callable[[Fields, Fields], bool | None] | None = (
            _paired([judge_of(node, _fields_clause) for node in paired]) if paired else None
        )
        #: What `dynamic` reads of the event; of `$start` and of `$event`.
        self.event_paths = _unique(c.path for node in paired for c in clauses_of(node))
        found = _references(paired)
        self.start_paths = _unique(r.path for r in found if r.root == START)
        self.completing_paths = _unique(r.path for r in found if r.root != START)
        #: Equalities every match fulfils, `(path, allowed values)`: by `index_key`, for an index.
        self.discriminators = _discriminators(alone)
        self._clauses = clauses_of(tree)

    @property
    def clauses(self) -> list[tuple[str, str, Any]]:
        """(path, operator, operand) of each clause, as written."""
        return [(c.path, c.operator, written(c.operand)) for c in self._clauses]

    def explain(self, event: Event, start_fields: Fields) -> list[ClauseResult]:
        """Each clause by itself, in the order written."""
        fields = project(event, _unique(clause.path for clause in self._clauses))
        results = []
        for clause in self._clauses:
            value = _value(fields, clause.path)
            compared = resolve(clause.operator, clause.operand, start_fields)
            result = make_test(clause.operator, compared, wild=is_wild(clause.path))(value)
            shown = written(clause.operand)
            results.append(
                ClauseResult(clause.path, clause.operator, shown, value, result, compared)
            )
        return results


def compile_filter(
    where: Mapping[str, Any] | None, *, references: Collection[str] = (), one_event: bool = False
) -> Filter:
    """Compile a `where` (None: always holds).

    `references`: which of `$start` and `$event` are known here. `one_event`: they are the same
    event, so that its fields are kept once. Raises FilterError with every problem found.
    """
    if where is None:
        return Filter(All(()))
    tree, problems = parse_where(where, references=references)
    if problems:
        raise FilterError(problems)
    return Filter(tree, one_event)


def _flatten(tree: All) -> list[Node]:
    """The top-level conjuncts: an `all` among them is no more than its parts."""
    conjuncts: list[Node] = []
    for node in tree.nodes:
        conjuncts.extend(_flatten(node) if isinstance(node, All) else [node])
    return conjuncts


def _unique(paths: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _references(nodes: list[Node]) -> list[Reference]:
    return [
        reference
        for node in nodes
        for clause in clauses_of(node)
        for reference in references_in(clause.operand)
    ]


def of_start(node: All) -> All:
    """The same tree with every `$event` read as `$start`."""
    return All(tuple(_node_of_start(child) for child in node.nodes))


def _node_of_start(node: Node) -> Node:
    if isinstance(node, Clause):
        return replace(node, operand=_operand_of_start(node.operand))
    if isinstance(node, Not):
        return Not(_node_of_start(node.node))
    return type(node)(tuple(_node_of_start(child) for child in node.nodes))


def _operand_of_start(operand: Any) -> Any:
    if isinstance(operand, Reference):
        return Reference(operand.path)
    if isinstance(operand, Mapping):
        return {name: _operand_of_start(item) for name, item in operand.items()}
    if isinstance(operand, list | tuple):
        return [_operand_of_start(item) for item in operand]
    return operand


def _discriminators(nodes: list[Node]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    found = []
    for node in nodes:
        if not isinstance(node, Clause) or is_wild(node.path):
            continue
        if node.operator == "eq" and node.operand is not None:
            found.append((node.path, (node.operand,)))
        elif node.operator == "in":
            found.append((node.path, tuple(node.operand)))
    return tuple(found)


def judge_of(node: Node, of_clause: Callable[[Clause], _Judge]) -> _Judge:
    """A tree as one function; `of_clause` makes that of a clause."""
    if isinstance(node, Clause):
        return of_clause(node)
    if isinstance(node, Not):
        return negation(judge_of(node.node, of_clause))
    judges = [judge_of(child, of_clause) for child in node.nodes]
    return disjunction(judges) if isinstance(node, AnyOf) else conjunction(judges)


def negation(judge: _Judge) -> _Judge:
    def negated(subject: Any) -> bool | None:
        result = judge(subject)
        return None if result is None else not result

    return negated


def conjunction(judges: list[_Judge]) -> _Judge:
    if len(judges) == 1:
        return judges[0]
    if len(judges) == 2:
        return _both(judges[0], judges[1])

    def all_of(subject: Any) -> bool | None:
        answer: bool | None = True
        for judge in judges:
            result = judge(subject)
            if result is False:
                return False
            if result is None:
                answer = None
        return answer

    return all_of


def _both(first: _Judge, second: _Judge) -> _Judge:
    """Two clauses are the common case: without the loop it is a third faster."""

    def both(subject: Any) -> bool | None:
        one = first(subject)
        if one is False:
            return False
        two = second(subject)
        return two if one is True or two is False else None

    return both


def disjunction(judges: list[_Judge]) -> _Judge:
    def any_of(subject: Any) -> bool | None:
        answer: bool | None = False
        for judge in judges:
            result = judge(subject)
            if result is True:
                return True
            if result is None:
                answer = None
        return answer

    return any_of


def _event_clause(clause: Clause) -> _Judge:
    test = make_test(clause.operator, clause.operand, wild=is_wild(clause.path))
    name = property_name(clause.path)
    if name:
        return _property_clause(name, test)
    read = compile_path(clause.path)
    return lambda event: test(read(event))


def _property_clause(name: str, test: _Judge) -> _Judge:
    """`properties.<name>` without a call for the path: most clauses of most filters."""

    def judge(event: Event) -> bool | None:
        properties = event.properties
        return test(MISSING if properties is None else properties.get(name, MISSING))

    return judge


def _paired(judges: list[_Judge]) -> Callable[[Fields, Fields], bool | None]:
    judge = conjunction(judges)
    return lambda fields, start: judge((fields, start))


def _fields_clause(clause: Clause) -> _Judge:
    """A clause over (fields of the event, fields of the start)."""
    path, operator, operand = clause.path, clause.operator, clause.operand
    if not references_in(operand):
        test = make_test(operator, operand, wild=is_wild(path))
        return lambda pair: test(_value(pair[0], path))
    if operator == "eq" and not is_wild(path) and not is_wild(operand.path):
        return _same_clause(path, operand.key)

    def judge(pair: tuple[Fields, Fields]) -> bool | None:
        resolved = resolve(operator, operand, pair[1])
        return make_test(operator, resolved, wild=is_wild(path))(_value(pair[0], path))

    return judge


def _same_clause(path: str, start_path: str) -> _Judge:
    """`path: $start.path`, the common reference."""

    def judge(pair: tuple[Fields, Fields]) -> bool | None:
        value, operand = pair[0].get(path), pair[1].get(start_path)
        return False if value is None or operand is None else equals(value, operand)

    return judge


def _value(fields: Fields, path: str) -> Any:
    """A kept value; what a path with `*` found was kept as a plain list."""
    value = fields.get(path, MISSING)
    return Many(value) if value is not MISSING and is_wild(path) else value


def resolve(operator: str, operand: Any, start: Fields) -> Any:
    """The operand with values for its references; MISSING (the clause is False) without them.

    Only `in` can do without: the other elements of its list may still be equal.
    """
    if isinstance(operand, Reference):
        value = _value(start, operand.key)
        return MISSING if value is None else value
    if not references_in(operand):
        return operand
    if isinstance(operand, Mapping):
        point = {name: resolve(operator, item, start) for name, item in operand.items()}
        return MISSING if any(item is MISSING for item in point.values()) else point
    items = [resolve(operator, item, start) for item in operand]
    if operator != "in" and any(item is MISSING for item in items):
        return MISSING
    return items


def written(operand: Any) -> Any:
    """The operand as its author wrote it."""
    if isinstance(operand, Reference):
        return str(operand)
    if isinstance(operand, Mapping):
        return {name: written(item) for name, item in operand.items()}
    return [written(item) for item in operand] if isinstance(operand, list) else operand
