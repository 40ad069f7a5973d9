"""Named documents beside triggers and policies: what triggers share by name.

A workspace file holds documents of one or several kinds (`FILES`), each under its name; the
registry carries every document with a revision of its own. `Shared` is all of them parsed, for
checking (`document_problems`, `mention_problems`) and for compiling. Another kind of document is
one row in `FILES` and a field of `Shared`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from triggers.audience import (
    Declared,
    FactClause,
    Mention,
    Parsed,
    check_name,
    numbers_of,
    parse_audience,
)
from triggers.features import COUNT_MAX, FeatureDefinition
from triggers.filters import clauses_of
from triggers.model import problems_of, refusal
from triggers.places import Place, parse_place_list, parse_places
from triggers.problems import Location, Problem, suggestion
from triggers.relations import RelationDefinition
from triggers.segments import (
    FEATURE,
    GROUP,
    NAMES_MAX,
    SEGMENT,
    GroupDefinition,
    parse_segments,
    place_in_segments,
)

RELATION = "relation"
PLACE = "place"
#: How deep segments may refer to segments, and how many clauses one may come to with all of them.
NESTED_MAX = 10
CLAUSES_MAX = 2000

#: Documents in their complete form, by kind and name.
Documents = Mapping[str, Mapping[str, Any]]
NO_DOCUMENTS: Documents = {}


class DocumentFile(NamedTuple):
    """`<stem>.yaml` (or .json) of a workspace: the kinds of documents in it, how to read it, and
    where a document stands."""

    stem: str
    kinds: tuple[str, ...]
    parse: Callable[[Any], tuple[dict[str, dict[str, Any]], list[Problem]]]
    place: Callable[[str, str], Location]


class Fault(NamedTuple):
    """A problem of a document, located within the document."""

    kind: str
    name: str
    problem: Problem


def parse_relations(document: Any) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The documents of relations.yaml, and what is wrong with the others; a faulty one counts as
    known."""
    found: dict[str, dict[str, Any]] = {}
    if not isinstance(document, Mapping):
        return {RELATION: found}, [Problem((), "relations are a mapping from names to relations")]
    problems: list[Problem] = []
    for name, body in document.items():
        message = check_name(name, RELATION)
        if message is not None:
            problems.append(Problem((name,), message, at_key=True))
            continue
        try:
            found[name] = RelationDefinition.model_validate(body).to_document()
        except ValidationError as error:
            found[name] = {}
            problems += [
                Problem((name, *problem.location), problem.message, problem.at_key)
                for problem in problems_of(error)
            ]
    if len(found) > NAMES_MAX:
        problems.append(Problem((), f"a workspace has at most {NAMES_MAX:,} relations"))
    return {RELATION: found}, problems


def _parse_places(document: Any) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    lists, problems = parse_places(document)
    found = {
        name: [place.model_dump(mode="json") for place in places] for name, places in lists.items()
    }
    return {PLACE: found}, problems


def _at_name(kind: str, name: str) -> Location:
    return (name,)


FILES = (
    DocumentFile("segments", (SEGMENT, GROUP, FEATURE), parse_segments, place_in_segments),
    DocumentFile("relations", (RELATION,), parse_relations, _at_name),
    DocumentFile("places", (PLACE,), _parse_places, _at_name),
)
#: What a document is called where the order of kinds matters.
KINDS = tuple(kind for file in FILES for kind in file.kinds)


@dataclass(frozen=True, slots=True)
class Shared:
    """All shared documents, parsed. `ahead`: by segment, those before it in its exclusive group."""

    segments: Mapping[str, Parsed] = field(default_factory=dict)
    groups: Mapping[str, GroupDefinition] = field(default_factory=dict)
    features: Mapping[str, FeatureDefinition] = field(default_factory=dict)
    relations: Mapping[str, RelationDefinition] = field(default_factory=dict)
    ahead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)

    def knows(self, kind: str) -> Mapping[str, Any]:
        """The documents of a kind that audiences mention."""
        known = {SEGMENT: self.segments, FEATURE: self.features, RELATION: self.relations}
        return known[kind]


NOTHING_SHARED = Shared()


def parse_shared(documents: Documents) -> Shared:
    """Parse documents that were checked one by one; a faulty one stands there empty and stays so.

    Raises ValidationError for what a newer release wrote.
    """
    groups = {
        name: GroupDefinition.model_validate(body)
        for name, body in documents.get(GROUP, {}).items()
        if body
    }
    ahead: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        for number, name in enumerate(group.exclusive):
            ahead.setdefault(name, group.exclusive[:number])
    return Shared(
        segments={name: _segment(body) for name, body in documents.get(SEGMENT, {}).items()},
        groups=groups,
        features={
            name: FeatureDefinition.model_validate(body or _UNKNOWN_FEATURE)
            for name, body in documents.get(FEATURE, {}).items()
        },
        relations={
            name: RelationDefinition.model_validate(body or _UNKNOWN_RELATION)
            for name, body in documents.get(RELATION, {}).items()
        },
        ahead=ahead,
        places={name: parse_place_list(body)[0] for name, body in documents.get(PLACE, {}).items()},
    )


#: What a faulty document counts as: known, and compared with anything.
_UNKNOWN_FEATURE = {"compute": "last", "event": "?", "of": "event"}
_UNKNOWN_RELATION = {"add": "?", "item": "event"}


def _segment(body: Any) -> Parsed:
    parsed = parse_audience(body)
    if body and parsed.problems:
        raise refusal(parsed.problems)
    return parsed._replace(problems=())


def document_problems(shared: Shared) -> list[Fault]:
    """What is wrong between documents that are right by themselves."""
    faults = [
        Fault(SEGMENT, name, problem)
        for name, parsed in shared.segments.items()
        for problem in mention_problems(parsed, shared)
    ]
    owner: dict[str, str] = {}
    for group, definition in shared.groups.items():
        for number, name in enumerate(definition.exclusive):
            place = ("exclusive", number)
            if name not in shared.segments:
                hint = suggestion(name, shared.segments)
                message = f"unknown segment '{name[:100]}'{hint}"
                faults.append(Fault(GROUP, group, Problem(place, message)))
            elif owner.setdefault(name, group) != group:
                message = f"the segment '{name}' is in the group '{owner[name]}' already"
                faults.append(Fault(GROUP, group, Problem(place, message)))
    return faults or _nesting_faults(shared)


def mention_problems(parsed: Parsed, shared: Shared) -> list[Problem]:
    """Names that do not exist, and counts compared with more than is counted."""
    problems = [
        Problem(mention.location, _unknown(mention, shared), mention.kind != SEGMENT)
        for mention in parsed.mentions
        if mention.name not in shared.knows(mention.kind)
    ]
    for clause in clauses_of(parsed.tree):
        if not (isinstance(clause, FactClause) and isinstance(clause.fact, Declared)):
            continue
        feature = shared.features.get(clause.fact.name)
        if feature is not None and feature.is_number and _too_large(clause.operand):
            place = next(m.location for m in parsed.mentions if m.name == clause.fact.name)
            message = f"'{clause.path}' counts up to {COUNT_MAX:,}: compare it with less"
            problems.append(Problem(place, message))
    return problems


def _too_large(operand: Any) -> bool:
    return any(type(item) in (int, float) and item > COUNT_MAX for item in numbers_of(operand))


def _unknown(mention: Mention, shared: Shared) -> str:
    hint = suggestion(mention.name, shared.knows(mention.kind))
    file = next(file.stem for file in FILES if mention.kind in file.kinds)
    if not shared.knows(mention.kind):
        hint = f": there is none in {file}.yaml"
    return f"unknown {mention.kind} '{mention.name}'{hint}"


def _nesting_faults(shared: Shared) -> list[Fault]:
    """Segments that depend on themselves, nest too deep, or come to too many clauses."""
    below = {name: _below(shared, name) for name in shared.segments}
    depth: dict[str, int] = {}
    size: dict[str, int] = {}
    left = dict(below)
    while left:
        ready = [name for name, needs in left.items() if not needs & left.keys()]
        if not ready:
            return [_cycle(left)]
        for name in ready:
            del left[name]
            depth[name] = 1 + max((depth[other] for other in below[name]), default=0)
            own = len(clauses_of(shared.segments[name].tree))
            size[name] = own + sum(size[other] for other in below[name])
    faults = []
    for name in shared.segments:
        if depth[name] > NESTED_MAX:
            message = f"segments refer to segments at most {NESTED_MAX} deep"
            faults.append(Fault(SEGMENT, name, Problem((), message, at_key=True)))
        elif size[name] > CLAUSES_MAX:
            message = f"with the segments it refers to this has more than {CLAUSES_MAX:,} clauses"
            faults.append(Fault(SEGMENT, name, Problem((), message, at_key=True)))
    return faults


def _below(shared: Shared, name: str) -> set[str]:
    """The segments that must be known to know whether a user belongs to this one."""
    mentioned = {m.name for m in shared.segments[name].mentions if m.kind == SEGMENT}
    return mentioned | set(shared.ahead.get(name, ()))


def _cycle(left: Mapping[str, Iterable[str]]) -> Fault:
    path = [min(left)]
    while True:
        step = min(name for name in left[path[-1]] if name in left)
        if step in path:
            ring = [*path[path.index(step) :], step]
            message = f"the segment '{step}' depends on itself: {' -> '.join(ring)}"
            return Fault(SEGMENT, step, Problem((), message, at_key=True))
        path.append(step)
