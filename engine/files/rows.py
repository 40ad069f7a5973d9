"""Blocks of rows into events by a mapping, column by column.

What holds for a whole column is asked once in C (are all cells texts, is one of them blank); only a
block in which something is amiss is looked at row by row. A row costs half of what it does row by
row.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from types import NoneType
from typing import Any, Final, NamedTuple

from engine.files.mapping import EventMapping, TimeUnit
from engine.files.numbering import Numbering
from engine.files.problems import ProblemKind
from engine.files.reading import TIME_MAX_MS
from engine.files.values import TIMES, TO_TIME, as_text, column_reader
from schemas.events import ID_CHARS_MAX, OWN_PREFIX, Event

#: What rows of one event share: user, event name, and the texts of the group's columns.
Group = tuple[str, ...]


class Block(NamedTuple):
    """Rows that follow each other, values by position, all of the same number of columns.

    `numbers`: which of the block's rows each one is, from 0: rows that could not be split are not
    here, but `total` counts them. `weight`: no row has more characters in its mapped columns.
    """

    rows: Sequence[Sequence[Any]]
    numbers: Sequence[int]
    lines: Sequence[int]
    total: int
    weight: int

    def only(self, selected: Sequence[bool]) -> "Block":
        """The rows that are selected."""
        return self._replace(
            rows=list(compress(self.rows, selected)),
            numbers=list(compress(self.numbers, selected)),
            lines=list(compress(self.lines, selected)),
        )


class Mapped(NamedTuple):
    """The events of a block: for each its append time, what it is grouped by (None: nothing), its
    entry in `products[]`, and its line."""

    times: list[int]
    events: list[Event]
    groups: Sequence[Group | None]
    products: Sequence[dict[str, Any] | None]
    lines: Sequence[int]


class RowProblem(NamedTuple):
    """A row, or a value of it, that was left out."""

    line: int
    kind: ProblemKind
    detail: str


class _Heads(NamedTuple):
    names: list[str]
    users: list[str]
    times: list[int]


#: Types of cells that name something, or are blank.
_NAMES: Final = {str, int, NoneType}
_NOTHING: Final = Mapped([], [], (), (), ())


class RowMapper:
    """Turns blocks of rows into events. `columns` are the names of the positions, `unit` is that of
    the times where it is not the mapping's.

    Values are texts (CSV), or what JSON and Parquet have: numbers, booleans, None, `NotOneValue`.
    """

    def __init__(
        self,
        rules: EventMapping,
        columns: list[str],
        numbering: Numbering,
        unit: TimeUnit | None = None,
    ) -> None:
        index = {column: number for number, column in enumerate(columns)}
        event = rules.event
        group = rules.group_by
        self._numbering = numbering
        self._columns = columns
        self._blank = frozenset((None, "", *rules.blank))
        self._user = index[rules.user]
        self._time = index[rules.time.column]
        self._to_ms = TO_TIME[unit or rules.time.unit]
        self._all_to_ms = TIMES[unit or rules.time.unit]
        self._event = None if event.column is None else index[event.column]
        self._name = event.name or ""
        self._values = dict(event.values)
        self._prefixes = sorted(event.prefixes.items(), key=lambda entry: -len(entry[0]))
        self._keeps_others = event.others == "keep"
        self._ids = [index[column] for column in rules.id or ()]
        self._properties = [
            (index[column], spec.name or column, column_reader(spec.type, self._blank))
            for column, spec in rules.properties.items()
        ]
        self._group = [index[column] for column in group.columns] if group else []
        self._products = group.products if group else ()
        self._grouped = frozenset(group.events) if group else frozenset()

    def map(self, block: Block) -> tuple[Mapped, list[RowProblem]]:
        """The events of a block and what was wrong with it, both in the order of the rows."""
        problems: list[RowProblem] = []
        mapped = self._mapped(block, problems)
        problems.sort(key=lambda problem: problem.line)
        return mapped, problems

    def _mapped(self, block: Block, problems: list[RowProblem]) -> Mapped:
        if self._event is not None and not self._keeps_others:
            named = [self._name_of(as_text(row[self._event])) is not None for row in block.rows]
            block = block if all(named) else block.only(named)
        heads = self._heads(block)
        if heads is None:
            # Blank users are what many histories have, and quickly told.
            block = self._with_users(block, problems)
            heads = self._heads(block)
        if heads is None:
            refused = [self._refusal(row) for row in block.rows]
            for line, why in zip(block.lines, refused, strict=True):
                if why is not None:
                    problems.append(RowProblem(line, *why))
            block = block.only([why is None for why in refused])
            heads = self._heads(block)
        if heads is None:
            self._numbering.block((), (), block.total)
            return _NOTHING
        base = self._numbering.block(heads.times, block.numbers, block.total)
        columns = list(zip(*block.rows, strict=True))
        ids = self._message_ids(columns, block, base, problems)
        wrong = _wrong_ids(ids)
        if wrong:
            problems += [RowProblem(block.lines[row], *why) for row, why in wrong.items()]
            good = [row not in wrong for row in range(len(ids))]
            block, ids = block.only(good), list(compress(ids, good))
            names, users, times = heads
            heads = _Heads(
                list(compress(names, good)),
                list(compress(users, good)),
                list(compress(times, good)),
            )
            columns = list(zip(*block.rows, strict=True))
        if not ids:
            return _NOTHING
        properties = self._read_properties(columns, block.lines, problems)
        events = [
            Event("track", message_id, name, user, properties=values)
            for message_id, name, user, values in zip(
                ids, heads.names, heads.users, properties, strict=True
            )
        ]
        groups, products = self._groups(columns, heads, properties, block.lines, problems)
        return Mapped(heads.times, events, groups, products, block.lines)

    def _heads(self, block: Block) -> _Heads | None:
        """Who did what when; None when there is no row or one of them has to be refused."""
        if not block.rows:
            return None
        columns = list(zip(*block.rows, strict=True))
        try:
            times = self._all_to_ms(columns[self._time])
        except (ValueError, TypeError, OverflowError):
            return None
        users = _texts(columns[self._user])
        names = self._names(columns)
        blank = self._blank
        if (
            min(times) < 0
            or max(times) > TIME_MAX_MS
            or not blank.isdisjoint(columns[self._time])
            or not blank.isdisjoint(users)
            or not blank.isdisjoint(names)
            or max(map(len, users)) > ID_CHARS_MAX
        ):
            return None
        return _Heads(names, users, times)

    def _with_users(self, block: Block, problems: list[RowProblem]) -> Block:
        blank = self._blank
        known = [as_text(row[self._user]) not in blank for row in block.rows]
        for line, row, is_known in zip(block.lines, block.rows, known, strict=True):
            if not is_known:
                detail = f"the user is {_unnamed(row[self._user])}"
                problems.append(RowProblem(line, ProblemKind.MISSING_ID, detail))
        return block if all(known) else block.only(known)

    def _refusal(self, row: Sequence[Any]) -> tuple[ProblemKind, str] | None:
        """Why a row with a user gives no event, None when it does; the conditions of `_heads`."""
        blank = self._blank
        user = as_text(row[self._user])
        if self._event is not None and self._name_of(as_text(row[self._event])) in blank:
            return ProblemKind.MISSING_EVENT, f"the event is {_unnamed(row[self._event])}"
        moment = row[self._time]
        if moment in blank:
            return ProblemKind.MISSING_TIME, "the time is blank"
        try:
            a_ms = self._to_ms(moment)
        except (ValueError, TypeError, OverflowError):
            return ProblemKind.BAD_TIMESTAMP, f"not a time: {moment!r}"
        if not 0 <= a_ms <= TIME_MAX_MS:
            return ProblemKind.BAD_TIMESTAMP, f"the time is out of range: {moment!r}"
        if len(user) > ID_CHARS_MAX:
            return ProblemKind.ID_TOO_LONG, f"over {ID_CHARS_MAX} characters"
        return None

    def _names(self, columns: list[tuple[Any, ...]]) -> list[str]:
        if self._event is None:
            return [self._name] * len(columns[0])
        values = _texts(columns[self._event])
        if self._prefixes:
            # Rows without a name were left out before, or keep the value.
            return [self._name_of(value) or value for value in values]
        return list(map(self._values.get, values, values))

    def _name_of(self, value: str) -> str | None:
        name = self._values.get(value)
        if name is None and value not in self._blank:
            for prefix, found in self._prefixes:
                if value.startswith(prefix):
                    return found
        return value if name is None and self._keeps_others else name

    def _message_ids(
        self,
        columns: list[tuple[Any, ...]],
        block: Block,
        base: int,
        problems: list[RowProblem],
    ) -> list[str]:
        parts = [_texts(columns[number]) for number in self._ids]
        self._check_names(columns, self._ids, block.lines, problems)
        if parts and all(map(self._blank.isdisjoint, parts)):
            return parts[0] if len(parts) == 1 else list(map(":".join, zip(*parts, strict=True)))
        name = self._numbering.name
        made_up = [name(base + number) for number in block.numbers]
        if not parts:
            return made_up
        return [
            ":".join(cells) if self._blank.isdisjoint(cells) else number
            for number, *cells in zip(made_up, *parts, strict=True)
        ]

    def _read_properties(
        self, columns: list[tuple[Any, ...]], lines: Sequence[int], problems: list[RowProblem]
    ) -> list[dict[str, Any]]:
        """The properties of each row, without the blank ones."""
        full: dict[str, Sequence[Any]] = {}
        sparse: dict[str, Sequence[Any]] = {}
        for index, name, read in self._properties:
            bad: list[int] = []
            values = read(columns[index], bad)
            for row in bad:
                detail = f"{name}: {columns[index][row]!r}"
                problems.append(RowProblem(lines[row], ProblemKind.BAD_VALUE, detail))
            (sparse if None in values else full)[name] = values
        names = list(full)
        if full:
            made = [dict(zip(names, row, strict=True)) for row in zip(*full.values(), strict=True)]
        else:
            made = [{} for _ in lines]
        if sparse:
            _fill_in(made, sparse)
        return made

    def _check_names(
        self,
        columns: list[tuple[Any, ...]],
        named: list[int],
        lines: Sequence[int],
        problems: list[RowProblem],
    ) -> None:
        """Count the cells of a JSON file that name nothing for their type: they are as if blank."""
        for number in named:
            column = columns[number]
            if set(map(type, column)) <= _NAMES:
                continue
            for line, cell in zip(lines, column, strict=True):
                if type(cell) not in _NAMES:
                    detail = f"{self._columns[number]}: {cell!r}"
                    problems.append(RowProblem(line, ProblemKind.BAD_VALUE, detail))

    def _groups(
        self,
        columns: list[tuple[Any, ...]],
        heads: _Heads,
        properties: list[dict[str, Any]],
        lines: Sequence[int],
        problems: list[RowProblem],
    ) -> tuple[Sequence[Group | None], Sequence[dict[str, Any] | None]]:
        """By what each row is grouped; the products' properties leave those of the event."""
        self._check_names(columns, self._group, lines, problems)
        count = len(heads.names)
        groups: list[Group | None] = [None] * count
        products: list[dict[str, Any] | None] = [None] * count
        if not self._group or (self._grouped and self._grouped.isdisjoint(heads.names)):
            return groups, products
        blank, grouped, names = self._blank, self._grouped, self._products
        parts = zip(*(_texts(columns[number]) for number in self._group), strict=True)
        rows = zip(heads.names, heads.users, parts, properties, strict=True)
        for number, (name, user, cells, values) in enumerate(rows):
            if (grouped and name not in grouped) or not blank.isdisjoint(cells):
                continue
            groups[number] = (user, name, *cells)
            products[number] = {key: values.pop(key) for key in names if key in values}
        return groups, products


def _wrong_ids(ids: list[str]) -> dict[int, tuple[ProblemKind, str]]:
    """The rows whose id the log would refuse, and why."""
    if max(map(len, ids)) <= ID_CHARS_MAX and OWN_PREFIX not in "".join(ids):
        return {}
    found = {}
    for row, message_id in enumerate(ids):
        if message_id.startswith(OWN_PREFIX):
            found[row] = ProblemKind.OWN_EVENT, "made by `tripline export --segment`"
        elif len(message_id) > ID_CHARS_MAX:
            found[row] = ProblemKind.ID_TOO_LONG, f"over {ID_CHARS_MAX} characters"
    return found


def _fill_in(made: list[dict[str, Any]], columns: dict[str, Sequence[Any]]) -> None:
    names = list(columns)
    nothing = (None,) * len(names)
    rows: Iterator[tuple[Any, ...]] = zip(*columns.values(), strict=True)
    for properties, cells in zip(made, rows, strict=True):
        if cells == nothing:
            continue
        for name, cell in zip(names, cells, strict=True):
            if cell is not None:
                properties[name] = cell


def _unnamed(cell: Any) -> str:
    return "blank" if type(cell) in _NAMES else f"{cell!r}, no text and no integer"


def _texts(column: Sequence[Any]) -> list[str]:
    if set(map(type, column)) == {str}:
        return list(column)
    return list(map(as_text, column))
