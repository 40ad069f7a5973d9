"""Named documents beside triggers and policies: what triggers share by name.

A workspace file holds documents of one or several kinds (`FILES`), each under its name; the
registry carries every document with a revision of its own. `Shared` is all of them parsed, for
checking and for compiling. Another kind of document is one row in `FILES` and a field of `Shared`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from triggers.places import Place, parse_place_list, parse_places
from triggers.problems import Location, Problem

PLACE = "place"

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


@dataclass(frozen=True, slots=True)
class Shared:
    """All shared documents, parsed."""

    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)


NOTHING_SHARED = Shared()


def parse_shared(documents: Documents) -> Shared:
    """Parse documents that were checked one by one; a faulty one is empty and stays so."""
    lists = documents.get(PLACE, {})
    return Shared(places={name: parse_place_list(body)[0] for name, body in lists.items()})


def _parse_places(document: Any) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    lists, problems = parse_places(document)
    found = {
        name: [place.model_dump(mode="json") for place in places] for name, places in lists.items()
    }
    return {PLACE: found}, problems


def _at_name(kind: str, name: str) -> Location:
    return (name,)


FILES = (DocumentFile("places", (PLACE,), _parse_places, _at_name),)
#: What a document is called where the order of kinds matters.
KINDS = tuple(kind for file in FILES for kind in file.kinds)
