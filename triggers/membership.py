"""Does a user belong to an audience? Compiled once to closures over the user's state.

`Memberships` compiles the audiences of one program: equal features are noted once, segments are
judged by shared functions. A `Membership` answers `judge` in Kleene's logic (None: could not be
evaluated) and `explain`, each clause by itself. Times are compared here, at the decision time, so
what the state has not yet forgotten does not count.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from triggers.audience import (
    Counted,
    Declared,
    Fact,
    FactClause,
    Member,
    Related,
    Silence,
    Trait,
    numbers_of,
)
from triggers.conditions import (
    ClauseResult,
    conjunction,
    disjunction,
    judge_of,
    negation,
    resolve,
    written,
)
from triggers.features import Feature, FeatureDefinition, make_feature
from triggers.filters import All, Clause, clauses_of, references_in
from triggers.notes import Note
from triggers.operators import make_test
from triggers.paths import MISSING, is_wild, wild_reader
from triggers.relations import Relation
from triggers.shared import Shared
from triggers.state import UserState

NO_FIELDS: Mapping[str, Any] = {}


class View(NamedTuple):
    """What a clause is judged on: `fields` are the kept values of `$start` and `$event`."""

    state: UserState
    at_ms: int
    fields: Mapping[str, Any]


Judge = Callable[[View], bool | None]
Reader = Callable[[View], Any]


class Needs(NamedTuple):
    """What has to be kept of users for an audience. `silence_ms`: the shortest, 0 for none."""

    traits: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    silence_ms: int = 0


class Membership:
    """A compiled audience. `needs`: what it reads."""

    __slots__ = ("_clauses", "_judge", "_memberships", "needs")

    def __init__(self, tree: All, memberships: "Memberships") -> None:
        self._clauses = clauses_of(tree)
        self._memberships = memberships
        self._judge = judge_of(tree, memberships.judge_clause)
        self.needs = memberships.needs(tree)

    def judge(
        self, state: UserState, at_ms: int, fields: Mapping[str, Any] = NO_FIELDS
    ) -> bool | None:
        """Whether the user belongs to it at `at_ms`; None: could not be evaluated."""
        return self._judge(View(state, at_ms, fields))

    def explain(
        self, state: UserState, at_ms: int, fields: Mapping[str, Any] = NO_FIELDS
    ) -> list[ClauseResult]:
        """Each clause by itself, in the order written."""
        view = View(state, at_ms, fields)
        return [self._memberships.explain_clause(clause, view) for clause in self._clauses]


class Memberships:
    """The audiences of one program."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._features: dict[str, Feature] = {}
        self._relations: dict[str, Relation] = {}
        self._segments: dict[str, Judge] = {}

    def judge_clause(self, clause: Clause) -> Judge:
        """One clause as a function."""
        fact = _fact(clause)
        if isinstance(fact, Member):
            return disjunction([self._segment(name) for name in fact.segments])
        read = self._reader(fact)
        if isinstance(fact, Silence):
            return _silence(read, fact.idle_ms)
        wild = is_wild(clause.path)
        if not references_in(clause.operand):
            test = make_test(clause.operator, clause.operand, wild=wild)
            return lambda view: test(read(view))

        def judge(view: View) -> bool | None:
            compared = resolve(clause.operator, clause.operand, view.fields)
            return make_test(clause.operator, compared, wild=wild)(read(view))

        return judge

    def explain_clause(self, clause: Clause, view: View) -> ClauseResult:
        """How one clause comes out. Of a segment the value is which of those named fit."""
        fact = _fact(clause)
        if isinstance(fact, Member):
            value: Any = [name for name in fact.segments if self._segment(name)(view)]
        else:
            value = self._reader(fact)(view)
        return ClauseResult(
            path=clause.path,
            operator=clause.operator,
            operand=written(clause.operand),
            value=value,
            result=self.judge_clause(clause)(view),
            compared=resolve(clause.operator, clause.operand, view.fields),
        )

    def needs(self, tree: All) -> Needs:
        """What a tree reads, with the segments it refers to."""
        traits: dict[str, None] = {}
        notes: dict[str, Note] = {}
        silences: list[int] = []
        seen: set[str] = set()
        trees = [tree]
        while trees:
            for clause in clauses_of(trees.pop()):
                fact = _fact(clause)
                if isinstance(fact, Trait):
                    traits[fact.declared] = None
                elif isinstance(fact, Silence):
                    silences.append(fact.idle_ms)
                elif isinstance(fact, Member):
                    trees += self._trees(fact.segments, seen)
                elif isinstance(fact, Related):
                    notes[f"relation {fact.relation}"] = self._relation(fact.relation)
                else:
                    feature = self._feature(self._definition(fact))
                    feature.keep = max(feature.keep, _largest(clause.operand) + 1)
                    notes[f"feature {feature.key}"] = feature
        return Needs(tuple(traits), tuple(notes.values()), min(silences, default=0))

    def _trees(self, names: tuple[str, ...], seen: set[str]) -> list[All]:
        found: list[All] = []
        for name in names:
            for each in (name, *self._shared.ahead.get(name, ())):
                if each not in seen:
                    seen.add(each)
                    found.append(self._shared.segments[each].tree)
        return found

    def _segment(self, name: str) -> Judge:
        judge = self._segments.get(name)
        if judge is None:
            ahead = [negation(self._fits(other)) for other in self._shared.ahead.get(name, ())]
            judge = self._segments[name] = conjunction([self._fits(name), *ahead])
        return judge

    def _fits(self, name: str) -> Judge:
        return judge_of(self._shared.segments[name].tree, self.judge_clause)

    def _reader(self, fact: Fact) -> Reader:
        if isinstance(fact, Trait):
            return _trait(fact)
        if isinstance(fact, Silence):
            return _silent_ms
        if isinstance(fact, Related):
            relation = self._relation(fact.relation)
            return lambda view: relation.count(view.state, view.at_ms)
        feature = self._feature(self._definition(fact))
        return lambda view: feature.value(view.state, view.at_ms)

    def _definition(self, fact: Fact) -> FeatureDefinition:
        if isinstance(fact, Declared):
            return self._shared.features[fact.name]
        assert isinstance(fact, Counted)
        return fact.feature

    def _feature(self, definition: FeatureDefinition) -> Feature:
        found = self._features.get(definition.key)
        if found is None:
            found = self._features[definition.key] = make_feature(definition)
        return found

    def _relation(self, name: str) -> Relation:
        found = self._relations.get(name)
        if found is None:
            found = self._relations[name] = Relation(name, self._shared.relations[name])
        return found


def _fact(clause: Clause) -> Fact:
    assert isinstance(clause, FactClause)  # nothing else stands in an audience
    return clause.fact


def _trait(fact: Trait) -> Reader:
    declared = fact.declared
    if declared == fact.path:
        return lambda view: view.state.traits.get(declared, MISSING)
    rest = fact.path[len(declared) + 1 :].split(".")
    return wild_reader(lambda view: view.state.traits.get(declared, MISSING), rest)


def _silent_ms(view: View) -> Any:
    seen = view.state.seen
    return view.at_ms - seen if seen else MISSING


def _silence(read: Reader, idle_ms: int) -> Judge:
    """Of a user of whom no activity is known nobody can say how long they were silent."""

    def judge(view: View) -> bool | None:
        silent_ms = read(view)
        return None if silent_ms is MISSING else silent_ms >= idle_ms

    return judge


def _largest(operand: Any) -> int:
    numbers = [item for item in numbers_of(operand) if type(item) in (int, float)]
    return int(max(numbers, default=0))
