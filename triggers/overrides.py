"""Policy values changed for one run: `policy.default.spacing=0s`."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from triggers.definition import Policy
from triggers.model import problems_of
from triggers.source import SourceError, read_source


class OverrideError(ValueError):
    """A change that names no policy value, or gives it an impossible one."""


def override_policies(
    policies: Mapping[str, Policy], changes: Iterable[str], grace: str | None = None
) -> dict[str, Policy]:
    """The policies with `policy.<name>.<field>=<value>` applied; `grace` changes all of them.

    A value is written as in policy.yaml (`0s`, `5`, `[{max: 1, per: 7d}]`), a field below another
    with a dot (`text.title_max`). A `default` policy exists always. Raises `OverrideError` that
    quotes the change.
    """
    documents: dict[str, dict[str, Any]] = {
        name: policy.to_document() for name, policy in {"default": Policy(), **policies}.items()
    }
    for change in changes:
        path, equals, value = change.partition("=")
        root, *names = path.split(".")
        if not equals or root != "policy" or len(names) < 2 or "" in names:
            raise OverrideError(f"'{change}' is not policy.<name>.<field>=<value>")
        if names[0] not in documents:
            known = ", ".join(sorted(documents))
            raise OverrideError(f"'{change}': there is no policy '{names[0]}' (there are {known})")
        place = documents
        for name in names[:-1]:
            below = place.setdefault(name, {})
            if not isinstance(below, dict):
                raise OverrideError(f"'{change}': '{name}' has nothing below it")
            place = below
        place[names[-1]] = _value(change, value)
    if grace is not None:
        for document in documents.values():
            document["grace"] = grace
    return {name: _policy(name, document) for name, document in documents.items()}


def assume_consent(policies: Mapping[str, Policy]) -> dict[str, Policy]:
    """The policies without `opt_in`: as if everybody had agreed to what needs it."""
    return {name: policy.model_copy(update={"opt_in": None}) for name, policy in policies.items()}


def _value(change: str, text: str) -> Any:
    try:
        sources = read_source(text, is_json=False)
    except SourceError as error:
        raise OverrideError(f"'{change}': {error}") from None
    problems = [problem for source in sources for _, problem in source.problems]
    if len(sources) != 1 or problems:
        raise OverrideError(f"'{change}': {problems[0] if problems else 'one value is wanted'}")
    return sources[0].data


def _policy(name: str, document: dict[str, Any]) -> Policy:
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = problems_of(error)[0]
        where = ".".join(str(part) for part in ("policy", name, *first.location))
        raise OverrideError(f"{where}: {first.message}") from None
