"""Cells into values: texts of a CSV file, or what JSON and Parquet have in their place."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any, Final, NamedTuple

INTEGER_MAX: Final = 2**63 - 1
#: A text of an integer this short is surely within INTEGER_MAX.
_SURELY_INTEGER: Final = 18
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}

#: A cell as the value of a property; ValueError, TypeError or OverflowError if it is not of the
#: type.
Convert = Callable[[Any], Any]
#: A column as values, None where it is blank; the rows of values that are not of the type are added
#: to the list.
ReadColumn = Callable[[Sequence[Any], list[int]], Sequence[Any]]
#: A column of these types at once; None when it has to be looked at cell by cell.
Quick = Callable[[Sequence[Any], set[type], frozenset[str | None]], Sequence[Any] | None]


class NotOneValue(NamedTuple):
    """Stands for a list or an object of a JSON file, where a mapping expects one value."""

    kind: str

    def __repr__(self) -> str:
        return self.kind


def as_text(value: Any) -> str:
    """The text of a cell that names something: a text, or an integer; "" for anything else."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int else ""


def column_reader(kind: str, blank: frozenset[str | None]) -> ReadColumn:
    """How to read a column of `kind` (string, int, float, bool)."""
    convert, quick = _CONVERTERS[kind], _QUICK[kind]

    def read(column: Sequence[Any], bad: list[int]) -> Sequence[Any]:
        types = set(map(type, column))
        try:
            values = _around_nulls(quick, column, types, blank)
        except (ValueError, TypeError, OverflowError):
            values = None
        return _one_by_one(column, convert, blank, bad) if values is None else values

    return read


def _around_nulls(
    quick: Quick, column: Sequence[Any], types: set[type], blank: frozenset[str | None]
) -> Sequence[Any] | None:
    if NoneType not in types:
        return quick(column, types, blank)
    present = [cell for cell in column if cell is not None]
    values = quick(present, types - {NoneType}, blank) if present else ()
    if values is None:
        return None
    following = iter(values)
    return [None if cell is None else next(following) for cell in column]


def _one_by_one(
    column: Sequence[Any], convert: Convert, blank: frozenset[str | None], bad: list[int]
) -> list[Any]:
    values: list[Any] = [None] * len(column)
    for number, cell in enumerate(column):
        if cell in blank:
            continue
        try:
            values[number] = convert(cell)
        except (ValueError, TypeError, OverflowError):
            bad.append(number)
    return values


# What these take, the conversions of single cells below take too, with the same value.


def _quick_strings(
    column: Sequence[Any], types: set[type], blank: frozenset[str | None]
) -> Sequence[Any] | None:
    if types != {str}:
        return None
    if blank.isdisjoint(column):
        return column
    return [None if cell in blank else cell for cell in column]


def _quick_ints(
    column: Sequence[Any], types: set[type], blank: frozenset[str | None]
) -> Sequence[Any] | None:
    if types == {int}:
        return column if min(column) >= -INTEGER_MAX and max(column) <= INTEGER_MAX else None
    if types != {str} or max(map(len, column)) > _SURELY_INTEGER or "_" in "".join(column):
        return None
    return [None if cell in blank else int(cell) for cell in column]


def _quick_floats(
    column: Sequence[Any], types: set[type], blank: frozenset[str | None]
) -> Sequence[Any] | None:
    values: Sequence[Any]
    if types == {float}:
        values = column
    elif types == {str} and "_" not in "".join(column):
        values = [None if cell in blank else float(cell) for cell in column]
    else:
        return None
    # The sum is not finite if one of them is not.
    total = sum(filter(None, values))
    return values if total - total == 0 else None


def _quick_bools(
    column: Sequence[Any], types: set[type], _blank: frozenset[str | None]
) -> Sequence[Any] | None:
    return column if types == {bool} else None


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _int(value: Any) -> int:
    number = int(value)
    # `int` also takes 1_000, 1.5 and true, none of which is an integer in a file.
    is_text = type(value) is str
    if ("_" in value if is_text else type(value) is not int) or abs(number) > INTEGER_MAX:
        raise ValueError
    return number


def _float(value: Any) -> float:
    number = float(value)
    is_text = type(value) is str
    if "_" in value if is_text else type(value) not in (float, int):
        raise ValueError
    # NaN and infinity have no JSON: their difference with themselves is not 0.
    if number - number != 0:
        raise ValueError
    return number


def _bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    try:
        return _BOOLEANS[value.lower()]
    except (KeyError, AttributeError):
        raise ValueError from None


def _from_s(value: Any) -> int:
    # 1.001 s is 1000.9999999999999 ms as a binary number: round to microseconds first.
    return round(_float(value) * 1_000_000) // 1000


def _from_iso(value: Any) -> int:
    moment = datetime.fromisoformat(_string(value).strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) // 1000


def _all_from_ms(column: Sequence[Any]) -> list[int]:
    if set(map(type, column)) == {str} and "_" not in "".join(column):
        return list(map(int, column))
    return list(map(_int, column))


def _all_from_s(column: Sequence[Any]) -> list[int]:
    return list(map(_from_s, column))


def _all_from_iso(column: Sequence[Any]) -> list[int]:
    # A second holds many rows: no text is read twice.
    known = {cell: _from_iso(cell) for cell in dict.fromkeys(column)}
    return [known[cell] for cell in column]


_CONVERTERS: Final[dict[str, Convert]] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
}
_QUICK: Final = {
    "string": _quick_strings,
    "int": _quick_ints,
    "float": _quick_floats,
    "bool": _quick_bools,
}
#: The append time of one cell by the unit of the column.
TO_TIME: Final[dict[str, Callable[[Any], int]]] = {"ms": _int, "s": _from_s, "iso": _from_iso}
#: The same for a whole column; raises as for the first cell that is none.
TIMES: Final[dict[str, Callable[[Sequence[Any]], list[int]]]] = {
    "ms": _all_from_ms,
    "s": _all_from_s,
    "iso": _all_from_iso,
}
