"""Parquet files as blocks of rows: row groups are read one after the other by DuckDB."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.files.lines import Advance
from engine.files.mapping import FileMapping, TimeUnit
from engine.files.problems import FileRefused, ProblemKind, Problems
from engine.files.rows import Block
from triggers.problems import Location

if TYPE_CHECKING:
    import duckdb

#: One vector of DuckDB.
_ROWS: Final = 2_048
_NUMBER_CHARS: Final = 25
_MAGIC: Final = b"PAR1"
_INTEGERS: Final = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
)
_NUMBERS: Final = _INTEGERS | {"HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"}
_TEXTS: Final = frozenset({"VARCHAR", "ENUM", "UUID"})
_MOMENTS: Final = frozenset(
    {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"}
)
#: A folder called `at=2026-01-05` would else stand in for the column `at` of the files in it.
_READ: Final = "read_parquet(?, hive_partitioning = false)"
#: The type of a column without a value, which writers give when they have seen none.
_EMPTY: Final = '"NULL"'
#: What a column may be, by what the mapping takes it for, and how messages call it.
_ALLOWED: Final = {
    "name": (_TEXTS | _INTEGERS, "a text or an integer"),
    "string": (_TEXTS | _MOMENTS, "a text or a timestamp"),
    "int": (_INTEGERS, "an integer"),
    "float": (_NUMBERS, "a number"),
    "bool": (frozenset({"BOOLEAN"}), "true or false"),
    "ms": (_INTEGERS, "an integer"),
    "s": (_NUMBERS, "a number"),
    "iso": (_TEXTS | _MOMENTS, "a timestamp, a date or a text"),
}


class ParquetRows:
    """The rows of one file. `columns` are those the mapping names, in the order of the values;
    `unit` is that of the time's.

    Raises FileRefused for a file that is no Parquet, DefinitionErrors for a mapping with columns
    that are not there or of another type.
    """

    def __init__(
        self, path: Path, problems: Problems, mapping: FileMapping, advance: Advance
    ) -> None:
        import duckdb

        self._file = str(path)
        self._problems = problems
        self._advance = advance
        self._error = duckdb.Error
        self._rows = 0
        try:
            with path.open("rb") as raw:
                head = raw.read(len(_MAGIC))
            self._bytes = path.stat().st_size
        except OSError as error:
            raise FileRefused(f"{path}: cannot be read: {error.strerror}") from None
        if head != _MAGIC:
            raise FileRefused(f"{path}: this is no Parquet file: it does not begin with PAR1")
        self._connection = connect()
        self.columns = list(mapping.rules.columns())
        self.unit = mapping.rules.time.unit
        self._select = ""
        name = not_a_pattern(self._file)
        try:
            described = self._connection.execute(
                f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {_READ})",
                [name],
            ).fetchall()
            counted = self._connection.execute(
                "SELECT num_rows FROM parquet_file_metadata(?)", [name]
            ).fetchall()
        except self._error as error:
            self._damaged(error)
            return
        types: dict[str, str] = dict(described)
        self._rows = counted[0][0]
        mapping.check_header(list(types), self._file)
        self._select, self.unit = _selected(mapping, self.columns, types, self._file)

    def blocks(self) -> Iterator[Block]:
        """The rows; those of a damaged file up to the damage."""
        if not self._select:
            return
        done = 0
        try:
            cursor = self._connection.execute(self._select, [not_a_pattern(self._file)])
            while rows := cursor.fetchmany(_ROWS):
                weight = sum(_longest(column) for column in zip(*rows, strict=True))
                lines = range(done + 1, done + len(rows) + 1)
                before = self._bytes * done // max(self._rows, 1)
                done += len(rows)
                self._advance(self._bytes * done // max(self._rows, 1) - before)
                yield Block(rows, range(len(rows)), lines, len(rows), weight)
        except self._error as error:
            self._damaged(error, done + 1)
        finally:
            self._connection.close()

    def _damaged(self, error: Exception, row: int = 1) -> None:
        detail = str(error).partition("\n")[0]
        self._problems.add(ProblemKind.DAMAGED, self._file, row, detail)


def connect() -> "duckdb.DuckDBPyConnection":
    """A database in memory for reading and writing files."""
    import duckdb

    # One thread: it is one core that is measured and shared, and rows keep their order. Nothing is
    # fetched over the network on behalf of a file.
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": "512MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def not_a_pattern(path: str) -> str:
    """A path as DuckDB takes it where it would look for `*`, `?` and `[`."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _selected(
    mapping: FileMapping, columns: list[str], types: dict[str, str], file: str
) -> tuple[str, TimeUnit]:
    """The query, and the unit of its times; each column is of a type that the mapping takes."""
    wrong: list[tuple[Location, str]] = []
    time, takes = mapping.rules.time, _takes(mapping)
    unit = time.unit
    parts = []
    for column in columns:
        kind = types[column].partition("(")[0]
        for take, location in takes[column]:
            allowed, called = _ALLOWED[take]
            if kind not in allowed and kind != _EMPTY:
                message = f"column '{column}' of {file} is {types[column]}, not {called}"
                wrong.append((location, message))
        only_time = column == time.column and len(takes[column]) == 1
        if only_time and kind in _MOMENTS:
            unit = "ms"
        parts.append(_expression(column, kind, not only_time))
    if wrong:
        mapping.refuse_columns(wrong)
    return f"SELECT {', '.join(parts)} FROM {_READ}", unit


def _takes(mapping: FileMapping) -> dict[str, list[tuple[str, Location]]]:
    rules = mapping.rules
    found: dict[str, list[tuple[str, Location]]] = {}
    for column, location in mapping.rules.columns().items():
        is_property = location[0] == "properties"
        if location[0] != "time" and not is_property:
            found.setdefault(column, []).append(("name", location))
    time = rules.time
    found.setdefault(time.column, []).append((time.unit, ("time", "column")))
    for column, spec in rules.properties.items():
        found.setdefault(column, []).append((spec.type, ("properties", column)))
    return found


def _expression(column: str, kind: str, as_text: bool) -> str:
    quoted = '"' + column.replace('"', '""') + '"'
    if kind in _MOMENTS:
        moment = f"epoch_us({quoted}) // 1000"
        as_iso = f"strftime(make_timestamp_ms({moment}), '%Y-%m-%dT%H:%M:%S.%gZ')"
        return as_iso if as_text else moment
    if kind in ("DECIMAL", "FLOAT", "HUGEINT"):
        return f"{quoted}::DOUBLE"
    return f"{quoted}::VARCHAR" if kind in ("ENUM", "UUID") else quoted


def _longest(column: tuple[Any, ...]) -> int:
    types = set(map(type, column))
    if str not in types:
        return _NUMBER_CHARS
    return max(map(len, column if types == {str} else filter(None, column)), default=0)
