"""catalog.yaml, the event catalogue: which events are sent, and the types of what they carry.

```yaml
events:
  Product Added:
    description: from the apps, the website sends none        # for people
    count: 1200                                               # these three by --learn
    first: "2026-01-05T10:00:00.000Z"
    last: "2026-02-01T09:30:00.000Z"
    paths:
      properties.price: {types: {number: 1190, string: 10}, description: VAT included}
      properties.products.*.sku: string                       # short for {types: {string: 0}}
shared:                                                       # the same for all events
  paths:
    context.device.type: {types: {string: 1200}, examples: [android, ios]}
```

`paths` absent: not known, nothing about the event's paths is checked. `open: true` (of the whole,
an event, `shared`, or a path that is an object): there may be more than is listed. `examples: []`:
none are kept, now or later. Types carry the number of values seen; an integer is a number too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import Field, PlainValidator, StrictBool, StrictInt, StrictStr, ValidationError

from triggers.fields import Name
from triggers.model import Model, problems_of, refusal
from triggers.paths import LEAVES, check_path
from triggers.problems import Problem, suggestion

EVENTS_MAX: Final = 1000
EVENT_NAME_CHARS_MAX: Final = 256
PATHS_MAX: Final = 200
#: Of all events together: so many are read in seconds.
ALL_PATHS_MAX: Final = 10_000
#: Of one path: learned, and with those that people wrote.
EXAMPLES_MAX: Final = 5
EXAMPLES_KEPT_MAX: Final = 20
CATALOG_BYTES_MAX: Final = 8 * 1024 * 1024

TypeName = Literal["string", "number", "integer", "boolean", "object", "list", "null"]
TYPES: Final[tuple[TypeName, ...]] = get_args(TypeName)

M = TypeVar("M", bound=Model)


def _counted_types(value: Any) -> dict[TypeName, int]:
    """Types with counts, from `{string: 3}`, `[string, number]` or `string`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        entries = [((number,), name, 0) for number, name in enumerate(value)]
    elif isinstance(value, Mapping):
        entries = [((name,), name, count) for name, count in value.items()]
    else:
        raise ValueError(f"`types` is one of {', '.join(TYPES)}, or several with their counts")
    problems = []
    found: dict[TypeName, int] = {}
    for location, name, count in entries:
        if name not in TYPES:
            hint = suggestion(str(name), TYPES) or f": it is one of {', '.join(TYPES)}"
            problems.append(Problem(location, f"unknown type '{str(name)[:100]}'{hint}", True))
        elif type(count) is not int or count < 0:
            problems.append(Problem(location, "a count is a whole number from 0"))
        else:
            found[name] = count
    if problems:
        raise refusal(problems)
    return {name: found[name] for name in TYPES if name in found}


def _examples(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) > EXAMPLES_KEPT_MAX:
        raise ValueError(f"`examples` is a list of at most {EXAMPLES_KEPT_MAX} values")
    if not all(isinstance(item, str | int | float | bool) for item in value):
        raise ValueError("an example is a text, a number, true or false")
    return tuple(value)


class PathEntry(Model):
    """What is known of one path. No types: anything."""

    types: Annotated[dict[TypeName, int], PlainValidator(_counted_types)] = Field(
        default_factory=dict
    )
    format: Literal["date-time"] | None = None
    examples: Annotated[tuple[Any, ...], PlainValidator(_examples)] | None = None
    open: StrictBool = False
    description: Name | None = None

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; so below."""
        return _document(self)

    def cross_problems(self) -> Iterable[Problem]:
        if self.format is not None and self.types and "string" not in self.types:
            yield Problem(("format",), f"the format {self.format} is one of strings", at_key=True)


def _document(entry: Model, **parts: Any) -> dict[str, Any]:
    """The fields that say something, with `parts` in place of what is nested."""
    fields = {name: getattr(entry, name) for name in type(entry).model_fields} | parts
    return {name: value for name, value in fields.items() if value is not None}


def _all_of(
    value: Any, what: str, make: type[M], check: Callable[[str], str | None], count_max: int
) -> dict[str, M]:
    """A mapping from names to parts, with all problems of all parts."""
    if not isinstance(value, Mapping):
        raise ValueError(f"`{what}` is a mapping with a name for each")
    if len(value) > count_max:
        raise ValueError(f"`{what}` has at most {count_max} entries, this has {len(value)}")
    made: dict[str, M] = {}
    problems: list[Problem] = []
    for name, part in value.items():
        problem = check(name)
        if problem is not None:
            problems.append(Problem((name,), problem, at_key=True))
            continue
        try:
            made[name] = make.model_validate({} if part is None else part)
        except ValidationError as error:
            problems += [
                Problem((name, *p.location), p.message, p.at_key) for p in problems_of(error)
            ]
    if problems:
        raise refusal(problems)
    return made


def _check_catalog_path(path: str) -> str | None:
    if path in LEAVES:
        return f"`{path}` is always known: leave it out"
    return check_path(path)


def _paths(value: Any) -> dict[str, PathEntry]:
    if isinstance(value, Mapping):
        value = {
            path: {"types": part} if isinstance(part, str | list | tuple) else part
            for path, part in value.items()
        }
    return _all_of(value, "paths", PathEntry, _check_catalog_path, PATHS_MAX)


def _documents(entries: "Mapping[str, PathEntry] | Mapping[str, EventEntry]") -> dict[str, Any]:
    return {name: entry.to_document() for name, entry in entries.items()}


Paths = Annotated[dict[str, PathEntry], PlainValidator(_paths)]
Moment = Annotated[
    StrictStr, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", max_length=24)
]


class EventEntry(Model):
    """What is known of one event; `first` and `last`: when it was appended, UTC."""

    description: Name | None = None
    owner: Name | None = None
    count: Annotated[StrictInt, Field(ge=0)] = 0
    first: Moment | None = None
    last: Moment | None = None
    open: StrictBool = False
    paths: Paths | None = None

    def to_document(self) -> dict[str, Any]:
        return _document(self, paths=None if self.paths is None else _documents(self.paths))


class SharedEntry(Model):
    """`context` and `traits`: what SDKs add to every event, and what identify says of users."""

    open: StrictBool = False
    paths: Paths = Field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        return _document(self, paths=_documents(self.paths))

    def cross_problems(self) -> Iterable[Problem]:
        for path in self.paths:
            if path.startswith("properties."):
                yield Problem(("paths", path), "properties stand under their event", at_key=True)


def _check_event_name(name: str) -> str | None:
    if 0 < len(name) <= EVENT_NAME_CHARS_MAX:
        return None
    return f"an event's name has 1 to {EVENT_NAME_CHARS_MAX} characters"


def _events(value: Any) -> dict[str, EventEntry]:
    return _all_of(value, "events", EventEntry, _check_event_name, EVENTS_MAX)


class Catalog(Model):
    """The whole file."""

    open: StrictBool = False
    events: Annotated[dict[str, EventEntry], PlainValidator(_events)] = Field(default_factory=dict)
    shared: SharedEntry = SharedEntry()

    def to_document(self) -> dict[str, Any]:
        """The complete JSON form; validating it gives an equal catalogue."""
        events, shared = _documents(self.events), self.shared.to_document()
        return _document(self, events=events, shared=shared)

    def cross_problems(self) -> Iterable[Problem]:
        count = sum(len(entry.paths or ()) for entry in self.events.values())
        if count > ALL_PATHS_MAX:
            yield Problem((), f"a catalogue has at most {ALL_PATHS_MAX} paths, this has {count}")


def parse_catalog(document: Any) -> tuple[Catalog | None, list[Problem]]:
    """A catalogue, or what is wrong with its document."""
    try:
        return Catalog.model_validate({} if document is None else document), []
    except ValidationError as error:
        return None, problems_of(error)
