"""A workspace: all definitions together, and what makes them fit each other.

`load_documents` takes documents that are plain data already (the registry's); texts of files go
through `loader.load_workspace`. Both give a `Workspace` or raise `DefinitionErrors` with them all.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from triggers.audience import parse_audience
from triggers.definition import DEFAULT_POLICY, Policy, TriggerDefinition
from triggers.durations import format_duration
from triggers.fields import check_id
from triggers.lengths import payload_problems
from triggers.model import problems_of
from triggers.patterns.item import ItemWhen
from triggers.patterns.outcome import OutcomeWhen
from triggers.patterns.place import PlaceWhen
from triggers.places import unknown_places
from triggers.problems import Problem, suggestion
from triggers.shared import FILES, Shared, document_problems, mention_problems, parse_shared
from triggers.source import Source

TRIGGERS_MAX = 10_000
POLICIES_MAX = 1000


class Place(NamedTuple):
    """Where a trigger was written: its file, and the document in it."""

    file: str
    source: Source


@dataclass(frozen=True, slots=True)
class Workspace:
    """Definitions that fit each other: triggers by id, policies by name, `default` among them, and
    the shared documents by kind and name.

    `hints`: what looks like a slip though it may be right (`catalog_checks`), texts longer than
    their policy wants, live triggers without a message, caps of nobody's category. `places` of the
    triggers, where they come from files.
    """

    triggers: dict[str, TriggerDefinition]
    policies: dict[str, Policy]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    hints: "tuple[DefinitionError, ...]" = field(default=(), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)

    def placed(self, trigger: str, problem: Problem) -> "DefinitionError":
        """What is said of a trigger, with the place where it is written."""
        place = self.places.get(trigger)
        if place is None:
            return _without_place(_named(trigger), problem)
        position = place.source.position(problem.location, at_key=problem.at_key)
        return DefinitionError(place.file, *position, problem.message)


@dataclass(frozen=True, slots=True, order=True)
class DefinitionError:
    """One error and its place: line and column from 1, or 0 where there is no text to point into.

    `file` is a file name, or what else tells the document.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class DefinitionErrors(Exception):
    """All errors of a workspace, sorted by place."""

    def __init__(self, errors: Iterable[DefinitionError]) -> None:
        self.errors = sorted(set(errors))
        super().__init__("\n".join(str(error) for error in self.errors))


def load_documents(
    triggers: Iterable[Any],
    policies: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
    *,
    zones: Collection[str] | None = None,
) -> Workspace:
    """A workspace from trigger documents, policy documents by name, and shared documents by the
    stem of the file they stand in (`segments`, `relations`).

    `zones`: the known time zones; without them only the shape of a name is checked. Raises
    DefinitionErrors that name the trigger and the path in it.
    """
    errors: list[DefinitionError] = []
    loaded_policies, problems = parse_policies(policies or {}, zones)
    errors += [_without_place("policies", problem) for problem in problems]
    documents, faults = parse_documents(files or {})
    errors += [_without_place(stem, problem) for stem, problem in faults]
    shared = parse_shared(documents)
    loaded: dict[str, TriggerDefinition] = {}
    for number, document in enumerate(triggers, start=1):
        name = _name_of(document, number)
        trigger, problems = parse_trigger(document, zones)
        if trigger is not None:
            if trigger.id in loaded:
                problems.append(Problem(("id",), f"the id '{trigger.id}' is taken"))
            problems += policy_problems(trigger, loaded_policies)
            problems += audience_problems(trigger, shared)
            problems += payload_problems(trigger)
            loaded[trigger.id] = trigger
        errors += [_without_place(name, problem) for problem in problems]
    for trigger in loaded.values():
        problems = pattern_problems(trigger, loaded, shared)
        errors += [_without_place(_named(trigger.id), problem) for problem in problems]
    if len(loaded) > TRIGGERS_MAX:
        errors.append(DefinitionError("triggers", 0, 0, too_many(len(loaded))))
    if errors:
        raise DefinitionErrors(errors)
    return Workspace(loaded, loaded_policies, documents)


def parse_trigger(
    document: Any, zones: Collection[str] | None = None
) -> tuple[TriggerDefinition | None, list[Problem]]:
    """A trigger, or what is wrong with its document."""
    try:
        return TriggerDefinition.model_validate(document, context={"zones": zones}), []
    except ValidationError as error:
        return None, problems_of(error)


def parse_policies(
    document: Any, zones: Collection[str] | None = None
) -> tuple[dict[str, Policy], list[Problem]]:
    """Policies by name, with `default` always among them, and what is wrong with the others.

    A faulty policy counts as known, so that its triggers are not blamed for it.
    """
    policies: dict[str, Policy] = {DEFAULT_POLICY: Policy()}
    problems: list[Problem] = []
    if not isinstance(document, Mapping):
        return policies, [Problem((), "policies are a mapping from names to policies")]
    if len(document) > POLICIES_MAX:
        return policies, [Problem((), f"a workspace has at most {POLICIES_MAX} policies")]
    for name, body in document.items():
        if name in Policy.names() and not isinstance(body, Mapping):
            message = (
                f"`{name}` stands below the name of a policy: `{DEFAULT_POLICY}: {{{name}: ...}}`"
            )
            problems.append(Problem((name,), message, at_key=True))
            continue
        try:
            check_id(str(name))
            policies[str(name)] = Policy.model_validate(body, context={"zones": zones})
        except ValidationError as error:
            policies[str(name)] = Policy()
            problems += [
                Problem((name, *found.location), found.message, found.at_key)
                for found in problems_of(error)
            ]
        except ValueError as error:
            problems.append(Problem((name,), str(error), at_key=True))
    return policies, problems


def policy_problems(trigger: TriggerDefinition, policies: Mapping[str, Policy]) -> list[Problem]:
    """A trigger may only name a policy that exists, and its messages must outlive the settling."""
    policy = policies.get(trigger.policy)
    if policy is not None:
        return _settle_problems(trigger, policy)
    hint = suggestion(trigger.policy, policies)
    return [Problem(("policy",), f"unknown policy '{trigger.policy}'{hint}")]


def opt_in_problems(
    policies: Mapping[str, Policy], triggers: Iterable[TriggerDefinition]
) -> list[Problem]:
    """A category that needs an agreement must be one that a trigger has: a misspelt one would be
    sent without. Located in the policies' document."""
    known = sorted({trigger.category for trigger in triggers if trigger.category})
    return [
        Problem(
            (name, "opt_in", "categories", number),
            f"no trigger has the category '{category}'{suggestion(category, known)}",
        )
        for name, policy in policies.items()
        for number, category in enumerate(policy.opt_in.categories if policy.opt_in else ())
        if category not in known
    ]


def cap_hints(
    policies: Mapping[str, Policy], triggers: Iterable[TriggerDefinition]
) -> list[Problem]:
    """A cap of a category that no trigger has, perhaps misspelt, limits nothing. Located as
    those of `opt_in_problems`."""
    known = sorted({trigger.category for trigger in triggers if trigger.category})
    return [
        Problem(
            (name, "caps", number, "category"),
            f"no trigger has the category '{cap.category}', so this cap limits nothing"
            f"{suggestion(cap.category, known)}",
        )
        for name, policy in policies.items()
        for number, cap in enumerate(policy.caps)
        if cap.category is not None and cap.category not in known
    ]


def _settle_problems(trigger: TriggerDefinition, policy: Policy) -> list[Problem]:
    if trigger.class_ != "marketing" or not policy.settle_ms:
        return []
    waits_ms = [step.after_ms for step in trigger.series] or [trigger.wait_ms or 0]
    if min(map(trigger.expires_after_ms, waits_ms)) > policy.settle_ms:
        return []
    settle = format_duration(policy.settle_ms)
    message = (
        f"a message settles for {settle} (`settle` of its policy), which counts towards `expires`: "
        f"set `expires` to more than {settle}"
    )
    return [Problem(("expires",) if trigger.expires_ms is not None else ("policy",), message)]


def parse_documents(
    files: Mapping[str, Any],
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, Problem]]]:
    """The shared documents of files by stem, and what is wrong with them, located in its file."""
    documents: dict[str, dict[str, Any]] = {}
    faults: list[tuple[str, Problem]] = []
    for file in FILES:
        if file.stem in files:
            found, problems = file.parse(files[file.stem])
            documents |= {kind: bodies for kind, bodies in found.items() if bodies}
            faults += [(file.stem, problem) for problem in problems]
    by_kind = {kind: file for file in FILES for kind in file.kinds}
    for kind, name, problem in document_problems(parse_shared(documents)):
        file = by_kind[kind]
        location = (*file.place(kind, name), *problem.location)
        faults.append((file.stem, Problem(location, problem.message, problem.at_key)))
    return documents, faults


def audience_problems(trigger: TriggerDefinition, shared: Shared) -> list[Problem]:
    """An audience may only name segments, features and relations that exist."""
    if trigger.audience is None:
        return []
    return [
        Problem(("audience", *problem.location), problem.message, problem.at_key)
        for problem in mention_problems(parse_audience(trigger.audience), shared)
    ]


def pattern_problems(
    trigger: TriggerDefinition, triggers: Collection[str], shared: Shared
) -> list[Problem]:
    """What a pattern names must be there: places, relations, the trigger whose message it reacts
    to."""
    when = trigger.when
    if isinstance(when, ItemWhen) and when.relation not in shared.relations:
        hint = suggestion(when.relation, shared.relations)
        return [Problem(("when", "relation"), f"unknown relation '{when.relation}'{hint}")]
    if isinstance(when, PlaceWhen) and when.place not in shared.places:
        return [Problem(("when", "place"), unknown_places(when.place, shared.places))]
    if isinstance(when, OutcomeWhen):
        if when.trigger == trigger.id:
            message = "a trigger that reacts to itself would never come to an end"
            return [Problem(("when", "trigger"), message)]
        if when.trigger not in triggers:
            hint = suggestion(when.trigger, triggers)
            return [Problem(("when", "trigger"), f"unknown trigger '{when.trigger}'{hint}")]
    return []


def too_many(count: int) -> str:
    """What to say about `count` triggers."""
    return f"a workspace has at most {TRIGGERS_MAX} triggers, this has {count}"


def _name_of(document: Any, number: int) -> str:
    name = document.get("id") if isinstance(document, Mapping) else None
    return _named(name) if isinstance(name, str) else f"trigger {number}"


def _named(name: str) -> str:
    return f"trigger '{name[:64]}'"


def _without_place(name: str, problem: Problem) -> DefinitionError:
    path = ".".join(str(step) for step in problem.location)
    return DefinitionError(name, 0, 0, f"{path}: {problem.message}" if path else problem.message)
