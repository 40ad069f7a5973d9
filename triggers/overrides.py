"""Policy values changed for one run: `policy.default.spacing=0s`."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from triggers.definition import Policy


class OverrideError(ValueError):
    """A change that names no policy value, or gives it an impossible one."""


def override_policies(
    policies: Mapping[str, Policy], changes: Iterable[str], grace: str | None = None
) -> dict[str, Policy]:
    """The policies with `policy.<name>.<field>=<value>` applied; `grace` changes all of them.

    A `default` policy exists always. Raises `OverrideError` that quotes the change.
    """
    documents: dict[str, dict[str, Any]] = {
        name: policy.to_document() for name, policy in {"default": Policy(), **policies}.items()
    }
    for change in changes:
        path, equals, value = change.partition("=")
        names = path.split(".")
        if not equals or len(names) != 3 or names[0] != "policy":
            raise OverrideError(f"'{change}' is not policy.<name>.<field>=<value>")
        if names[1] not in documents:
            known = ", ".join(sorted(documents))
            raise OverrideError(f"'{change}': there is no policy '{names[1]}' (there are {known})")
        documents[names[1]][names[2]] = value
    if grace is not None:
        for document in documents.values():
            document["grace"] = grace
    return {name: _policy(name, document) for name, document in documents.items()}


def _policy(name: str, document: dict[str, Any]) -> Policy:
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("policy", name, *first["loc"]))
        raise OverrideError(f"{where}: {first['msg']}") from None
