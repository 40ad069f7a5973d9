"""The base of all definition models: frozen, no unknown fields, every error at its place.

Pydantic stops at the first error of a validator and words it for programmers; `Model` collects all
of a document's problems, each with its location in the document, worded for its author.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from triggers.problems import Location, Problem, quoted, suggestion

#: Names of the language that this version does not run yet, by where they stand. A part that brings
#: one to life deletes it here.
UNAVAILABLE: dict[str, frozenset[str]] = {
    "workspace": frozenset(),
    "trigger": frozenset({"pace"}),
    "message": frozenset({"email", "inbox", "sms", "webhook", "webpush"}),
    "policy": frozenset(),
    "test_event": frozenset({"item"}),
    "channel": frozenset({"email", "inbox", "sms", "webhook", "webpush"}),
}

_AT_KEY = "at_key"
_AT_VALUE = "at_value"


class Model(BaseModel):
    """A part of a definition. Subclasses add fields, `prepare` and `cross_problems`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    #: The row of `UNAVAILABLE` for its fields.
    row: ClassVar[str] = ""

    @classmethod
    def prepare(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Fill in what depends on other fields, before the fields are validated."""
        return document

    def cross_problems(self) -> Iterable[Problem]:
        """What is wrong between fields that are right by themselves."""
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _with_all_problems(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            some = quoted(cls.names()[:4])
            raise refusal([Problem((), f"must be a mapping of fields such as {some}")])
        document, problems = cls._known_part(value)
        try:
            made = handler(cls.prepare(document))
        except ValidationError as error:
            empty = {problem.location for problem in problems}
            problems += [p for p in problems_of(error) if p.location not in empty]
        else:
            if not problems:
                problems += made.cross_problems()
            if not problems:
                return made
        raise refusal(problems)

    @classmethod
    def names(cls) -> list[str]:
        """The names of its fields in a document."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def _known_part(cls, value: Mapping[Any, Any]) -> tuple[dict[str, Any], list[Problem]]:
        document: dict[str, Any] = {}
        problems = []
        names = cls.names()
        for name, item in value.items():
            if name not in names:
                problems.append(Problem((name,), unknown(name, names, row=cls.row), at_key=True))
            elif item is None:
                problems.append(Problem((name,), f"`{name}` is empty: leave it out", at_key=True))
            else:
                document[name] = item
        return document, problems


def unknown(name: Any, known: Iterable[str], *, row: str, what: str = "field") -> str:
    """What to say about a name that means nothing here: not yet, or not at all."""
    if name in UNAVAILABLE.get(row, ()):
        return f"`{name}` is not available in this version"
    return f"unknown {what} '{str(name)[:100]}'{suggestion(str(name), known)}"


def refusal(problems: Iterable[Problem]) -> ValidationError:
    """Problems as the error that pydantic carries outwards, adding the outer location."""
    return ValidationError.from_exception_data(
        "definition",
        [
            InitErrorDetails(
                type=PydanticCustomError(_AT_KEY if p.at_key else _AT_VALUE, _literal(p.message)),
                loc=p.location,
                input=None,
            )
            for p in problems
        ],
    )


def problems_of(error: ValidationError) -> list[Problem]:
    """All problems of a pydantic error, in our words."""
    found = []
    for details in error.errors(include_url=False):
        location: Location = details["loc"]
        if details["type"] in (_AT_KEY, _AT_VALUE):
            found.append(Problem(location, details["msg"], details["type"] == _AT_KEY))
        else:
            found.append(Problem(location, _wording(details)))
    return found


def _literal(message: str) -> Any:
    """A message as a template: pydantic types it as a literal string, and leaves braces alone."""
    return message


def _wording(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    subject = _subject(details["loc"])
    if kind == "missing":
        return f"{subject} is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        value = str(details["input"])[:100]
        return f"{subject} is one of {', '.join(known)}, not '{value}'{suggestion(value, known)}"
    if kind == "too_short" and context["min_length"] > 1:
        return f"{subject} has at least {context['min_length']} entries"
    if kind in _WORDINGS:
        return f"{subject} {_WORDINGS[kind].format(**context)}"
    return f"{subject}: {details['msg'].removeprefix('Input ')}"


_WORDINGS = {
    "string_type": "must be text: put it in quotes",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list: put what it holds in [ ]",
    "dict_type": "must be a mapping from names to values: {{name: ...}}",
    "string_too_short": "must not be empty",
    "string_too_long": "has at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "has at most {max_length} entries",
    "greater_than_equal": "is at least {ge}",
    "less_than_equal": "is at most {le}",
}


def _subject(location: Location) -> str:
    names = [part for part in location if isinstance(part, str)]
    return f"`{names[-1]}`" if names else "the definition"
