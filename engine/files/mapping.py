"""`mapping.yaml`: which column of a foreign file is what.

```yaml
user: customer                        # column of the user id
time: {column: ts, unit: ms}          # ms, s or iso; iso without an offset is UTC
event:                                # a column, or {name: Order Completed} for all rows
  column: action
  values: {buy: Order Completed, pv: Product Viewed}
  prefixes: {C: Order Cancelled}      # by how other values begin, the longest first; "" is any
  others: keep                        # keep (default) the value as the name, or leave_out the row
id: order_no                          # a column or a list; blank: the row number
properties:
  sku: product_id                     # column: name, a text
  price: {name: price, type: float}   # string, int, float, bool
group_by: {columns: order_no, products: [product_id, price]}
blank: ["(not set)"]                  # texts that mean nothing, beside the empty one
delimiter: ";"                        # of a CSV file; a .tsv has tabs
encoding: windows-1251                # utf-8 (default), latin-1, windows-1251, windows-1252
```

In a Parquet file columns have types, which have to be those the mapping says: `ms` and `s` are
numbers, `iso` is a timestamp, a date or a text; user, event, id and group are texts or integers.

Columns of a JSON file are names of fields, dotted to reach below. `group_by` makes one event of the
rows of one user and event name whose `columns` are equal and filled, and whose times are at most
`within` (default 0s) after the first row's. The properties in `products` go into `products[]`, one
entry a row, the others come from the first row that has them; with `events` only these are grouped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, StrictStr, ValidationError

from triggers.fields import DurationMs
from triggers.model import Model, problems_of
from triggers.problems import Location, Problem, suggestion
from triggers.source import Source, SourceError, read_source
from triggers.workspace import DefinitionError, DefinitionErrors

#: With names this short and columns this few the names of a row fill less than a quarter of what an
#: event may weigh.
COLUMNS_MAX = 200
NAME_CHARS_MAX = 64
WITHIN_MAX_MS = 3_600_000

Column = Annotated[StrictStr, Field(min_length=1, max_length=256)]
PropertyName = Annotated[StrictStr, Field(min_length=1, max_length=NAME_CHARS_MAX)]
EventName = Annotated[StrictStr, Field(min_length=1, max_length=256)]

TimeUnit = Literal["ms", "s", "iso"]


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Columns = Annotated[
    tuple[Column, ...], BeforeValidator(_as_tuple), Field(min_length=1, max_length=20)
]


class TimeColumn(Model):
    """The append time of a row."""

    column: Column
    unit: TimeUnit


class EventColumn(Model):
    """The event's name: from a column, or the same for all rows."""

    name: EventName | None = None
    column: Column | None = None
    values: dict[EventName, EventName] = Field(default_factory=dict)
    prefixes: dict[Annotated[StrictStr, Field(max_length=256)], EventName] = Field(
        default_factory=dict, max_length=100
    )
    others: Literal["keep", "leave_out"] = "keep"

    def cross_problems(self) -> Iterable[Problem]:
        if (self.name is None) == (self.column is None):
            yield Problem((), "`event` has either `column` or `name`")
        elif self.name is not None and self.values:
            yield Problem(("values",), "`values` needs `column`", at_key=True)
        elif self.name is not None and self.prefixes:
            yield Problem(("prefixes",), "`prefixes` needs `column`", at_key=True)


class Property(Model):
    """A column that becomes a property `name` (default: the column's own)."""

    name: PropertyName | None = None
    type: Literal["string", "int", "float", "bool"] = "string"


class GroupBy(Model):
    """Rows that are one event."""

    columns: Columns
    products: tuple[PropertyName, ...] = Field(min_length=1, max_length=COLUMNS_MAX)
    events: Annotated[tuple[EventName, ...], BeforeValidator(_as_tuple)] = ()
    within_ms: Annotated[DurationMs, Field(le=WITHIN_MAX_MS)] = Field(default=0, alias="within")


def _as_event(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


def _as_properties(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        column: {"name": spec} if isinstance(spec, str) else ({} if spec is None else spec)
        for column, spec in value.items()
    }


class EventMapping(Model):
    """The whole file."""

    user: Column
    time: TimeColumn
    event: Annotated[EventColumn, BeforeValidator(_as_event)]
    id: Columns | None = None
    properties: Annotated[
        dict[Column, Property], BeforeValidator(_as_properties), Field(max_length=COLUMNS_MAX)
    ] = Field(default_factory=dict)
    group_by: GroupBy | None = None
    blank: tuple[StrictStr, ...] = Field(default=(), max_length=100)
    delimiter: Annotated[StrictStr, Field(pattern=r"^[,;|\t ]$")] = ","
    encoding: Literal["utf-8", "latin-1", "windows-1251", "windows-1252"] = "utf-8"

    def cross_problems(self) -> Iterable[Problem]:
        names = [spec.name or column for column, spec in self.properties.items()]
        for number, name in enumerate(names):
            column = list(self.properties)[number]
            if len(name) > NAME_CHARS_MAX:
                message = f"name it: a property's name has at most {NAME_CHARS_MAX} characters"
                yield Problem(("properties", column), message, at_key=True)
            if name in names[:number]:
                yield Problem(("properties", column), f"the property '{name}' stands here twice")
        for number, name in enumerate(self.group_by.products if self.group_by else ()):
            if name not in names:
                message = f"'{name}' is no property of this mapping{suggestion(name, names)}"
                yield Problem(("group_by", "products", number), message)

    def columns(self) -> dict[str, Location]:
        """Every column the mapping reads, and where it says so."""
        found: dict[str, Location] = {self.user: ("user",), self.time.column: ("time", "column")}
        if self.event.column is not None:
            found.setdefault(self.event.column, ("event", "column"))
        for number, column in enumerate(self.id or ()):
            found.setdefault(column, ("id", number))
        for column in self.properties:
            found.setdefault(column, ("properties", column))
        for number, column in enumerate(self.group_by.columns if self.group_by else ()):
            found.setdefault(column, ("group_by", "columns", number))
        return found


@dataclass(frozen=True, slots=True)
class FileMapping:
    """A mapping and the text it came from, so that later errors point into it."""

    file: str
    source: Source
    rules: EventMapping

    def check_header(self, header: list[str], file: str) -> None:
        """Raise DefinitionErrors for columns that the file does not have, or has twice."""
        found = []
        for column, location in self.rules.columns().items():
            if column not in header:
                hint = suggestion(column, header)
                found.append((location, f"no column '{column}' in {file}{hint}"))
            elif header.count(column) > 1:
                found.append((location, f"{file} has more than one column '{column}'"))
        if found:
            self.refuse_columns(found)

    def refuse_columns(self, found: Iterable[tuple[Location, str]]) -> NoReturn:
        """Raise DefinitionErrors: for each place of the mapping what is wrong with its column."""
        raise _errors(
            self.file,
            self.source,
            [
                Problem(location, message, at_key=location[0] == "properties")
                for location, message in found
            ],
        )


def load_mapping(path: Path) -> FileMapping:
    """Read and check a mapping (YAML, or JSON by its name).

    Raises DefinitionErrors, every error with file, line and column.
    """
    file = str(path)
    try:
        text = path.read_bytes().decode()
        sources = read_source(text, is_json=path.suffix == ".json")
    except OSError as error:
        raise DefinitionErrors([DefinitionError(file, 0, 0, str(error.strerror))]) from None
    except UnicodeDecodeError:
        raise DefinitionErrors([DefinitionError(file, 1, 1, "this is not UTF-8 text")]) from None
    except SourceError as error:
        raise DefinitionErrors([DefinitionError(file, *error.position, error.message)]) from None
    if len(sources) != 1:
        raise DefinitionErrors([DefinitionError(file, 1, 1, "a mapping is one document")])
    (source,) = sources
    if source.problems:
        raise DefinitionErrors(DefinitionError(file, *at, text) for at, text in source.problems)
    try:
        rules = EventMapping.model_validate(source.data)
    except ValidationError as error:
        raise _errors(file, source, problems_of(error)) from None
    return FileMapping(file, source, rules)


def _errors(file: str, source: Source, problems: Iterable[Problem]) -> DefinitionErrors:
    return DefinitionErrors(
        DefinitionError(
            file, *source.position(problem.location, at_key=problem.at_key), problem.message
        )
        for problem in problems
    )
