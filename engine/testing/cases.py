"""The tests of a workspace, each with what it takes to run it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.overrides import assume_consent, override_policies
from triggers.program import Program
from triggers.shared import Documents
from triggers.testcases import TriggerTest
from triggers.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Case:
    """`test` of `trigger`. `file` and `line` are where it is written."""

    trigger: TriggerDefinition
    test: TriggerTest
    file: str
    line: int
    program: Program
    definitions: Mapping[str, TriggerDefinition]

    @property
    def title(self) -> str:
        """`abandoned-cart › an order in time cancels`; what `-k` searches."""
        return f"{self.trigger.id} › {self.test.name}"


def cases_of(workspace: Workspace) -> Iterator[Case]:
    """Every test of a workspace, in the order of its files.

    A test is about what a definition says, so the trigger and its partners run as `live` whatever
    their state, and nobody else: a new trigger cannot break the tests of another one.
    """
    policies = override_policies(workspace.policies, (), grace="0s")
    places = workspace.places
    for trigger in sorted(
        workspace.triggers.values(), key=lambda one: (places[one.id].file, one.id)
    ):
        programs: dict[tuple[bool, tuple[str, ...]], Program] = {}
        place = places[trigger.id]
        for number, test in enumerate(trigger.tests):
            taking_part = tuple(dict.fromkeys((trigger.id, *test.with_)))
            definitions = {name: workspace.triggers[name] for name in taking_part}
            # Without `consent` the user has agreed to all, as they have a device without `devices`.
            key = (test.consent is None, taking_part)
            if key not in programs:
                asked = assume_consent(policies) if test.consent is None else policies
                programs[key] = _program(definitions, asked, workspace.documents)
            line, _ = place.source.position(("tests", number), at_key=False)
            yield Case(trigger, test, place.file, line, programs[key], definitions)


def _program(
    definitions: Mapping[str, TriggerDefinition],
    policies: Mapping[str, Policy],
    documents: Documents,
) -> Program:
    registered = [RegisteredTrigger(found, 1, "live", 0) for found in definitions.values()]
    program = compile_program(1, registered, policies, documents)
    # Idle triggers may be late by their granule, as absences by their grace: here both are exact.
    program.granule_ms = min(program.granule_ms, 1)
    return program


def selector(expression: str) -> Callable[[str], bool]:
    """Whether a title fits `-k`: texts it contains, joined by `and`, `or` and `not`.

    `and` binds tighter than `or`; upper and lower case are the same. Raises ValueError.
    """
    choices = [
        [_term(term) for term in _split(alternative, "and")]
        for alternative in _split(expression, "or")
    ]

    def fits(title: str) -> bool:
        text = title.casefold()
        return any(all((part in text) is wanted for part, wanted in terms) for terms in choices)

    return fits


def _split(text: str, word: str) -> list[str]:
    parts: list[list[str]] = [[]]
    for token in text.split():
        if token == word:
            parts.append([])
        else:
            parts[-1].append(token)
    return [" ".join(part) for part in parts]


def _term(term: str) -> tuple[str, bool]:
    wanted = not (term == "not" or term.startswith("not "))
    part = term if wanted else term[3:].strip()
    if not part:
        raise ValueError("-k takes texts joined by and, or, not: `cart and not late`")
    return part.casefold(), wanted
