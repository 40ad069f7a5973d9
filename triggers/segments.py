"""segments.yaml: named audiences, exclusive groups of them, and computed features.

    loyal: {did: {event: Order Completed, within: 180d, count: {gte: 5}}}
    dormant: {idle: 30d}
    groups: {lifecycle: {exclusive: [loyal, dormant]}}
    features: {orders: {compute: count, event: Order Completed, within: 90d}}

A user belongs to the first segment of an exclusive group that fits, and to no other of it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr, ValidationError

from triggers.audience import AudienceDocument, check_name
from triggers.features import FeatureDefinition
from triggers.model import Model, problems_of
from triggers.problems import Location, Problem

SEGMENT, GROUP, FEATURE = "segment", "group", "feature"
NAMES_MAX = 1000

_SECTIONS = {"groups": GROUP, "features": FEATURE}


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{twice[0]}' stands here twice")
    return names


class SegmentDefinition(Model):
    """A named audience."""

    audience: AudienceDocument


class GroupDefinition(Model):
    """`{exclusive: [...]}`: a user belongs to the first of these segments that fits."""

    exclusive: Annotated[
        tuple[StrictStr, ...], Field(min_length=2, max_length=100), AfterValidator(_each_once)
    ]
    """Segments, the first that fits is the one a user belongs to."""


def place_in_segments(kind: str, name: str) -> Location:
    """Where a document stands in segments.yaml."""
    section = next((section for section, of in _SECTIONS.items() if of == kind), None)
    return (name,) if section is None else (section, name)


def parse_segments(document: Any) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The documents of segments.yaml by kind and name, and what is wrong with the others.

    A faulty document counts as known, with an empty body, so that others are not blamed for it.
    """
    found: dict[str, dict[str, Any]] = {SEGMENT: {}, GROUP: {}, FEATURE: {}}
    if not isinstance(document, Mapping):
        return found, [Problem((), "segments are a mapping from names to audiences")]
    problems: list[Problem] = []
    for name, body in document.items():
        if name == "snapshots":
            message = "`snapshots` (sql, csv) are not available in this version"
            problems.append(Problem((name,), message, at_key=True))
        elif name in _SECTIONS:
            if isinstance(body, Mapping):
                for below, item in body.items():
                    _take(found, problems, _SECTIONS[name], (name, below), item)
            else:
                problems.append(Problem((name,), f"`{name}` is a mapping from names to them"))
        else:
            _take(found, problems, SEGMENT, (name,), body)
    for kind, documents in found.items():
        if len(documents) > NAMES_MAX:
            problems.append(Problem((), f"a workspace has at most {NAMES_MAX:,} {kind}s"))
    return found, problems


def _take(
    found: dict[str, dict[str, Any]],
    problems: list[Problem],
    kind: str,
    location: Location,
    body: Any,
) -> None:
    name = location[-1]
    message = check_name(name, kind)
    if message is not None:
        problems.append(Problem(location, message, at_key=True))
        return
    try:
        found[kind][str(name)] = _document(kind, body)
    except ValidationError as error:
        found[kind][str(name)] = {}
        inner = 1 if kind == SEGMENT else 0
        problems += [
            Problem((*location, *problem.location[inner:]), problem.message, problem.at_key)
            for problem in problems_of(error)
        ]


def _document(kind: str, body: Any) -> dict[str, Any]:
    if kind == FEATURE:
        return FeatureDefinition.model_validate(body).to_document()
    if kind == GROUP:
        return GroupDefinition.model_validate(body).model_dump(mode="json")
    return SegmentDefinition.model_validate({"audience": body}).audience
