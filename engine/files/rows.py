"""Rows into events by a mapping: the columns are looked up once, each row is a few list reads."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from engine.files.mapping import EventMapping
from engine.files.problems import ProblemKind
from schemas.events import ID_CHARS_MAX, Event

INTEGER_MAX: Final = 2**63 - 1
#: 9999-12-31, the last day a datetime holds.
TIME_MAX_MS: Final = 253_402_214_400_000
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}

#: A text, or a JSON value of a foreign JSON file, as the value of a property; ValueError if it is
#: not of the type.
Convert = Callable[[Any], Any]


class NotOneValue(NamedTuple):
    """Stands for a list or an object of a JSON file, where a mapping expects one value."""

    kind: str

    def __repr__(self) -> str:
        return self.kind


class RowRefused(Exception):
    """This row gives no event."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


#: One row: its append time and event; what rows of one event share (None: a row by itself), and its
#: entry in `products[]`. A plain tuple: a named one costs a twentieth of the row.
MappedRow = tuple[int, Event, tuple[Any, ...] | None, dict[str, Any] | None]


class RowMapper:
    """Turns rows (values by position) into events. `bad_values` of the last row: what was left out.

    `columns` are the names of the positions. With `texts` all values are texts (CSV), else they may
    be numbers, booleans or `NotOneValue` too; "" is nothing.
    """

    def __init__(self, rules: EventMapping, columns: list[str], *, texts: bool) -> None:
        converters = {**_CONVERTERS, "string": None} if texts else _CONVERTERS
        index = {column: number for number, column in enumerate(columns)}
        event = rules.event
        group = rules.group_by
        self.bad_values: list[str] = []
        self._all_texts = texts
        self._blank = frozenset(("", *rules.blank))
        self._user = index[rules.user]
        self._time = index[rules.time.column]
        self._to_ms = _TIMES[rules.time.unit]
        self._event = None if event.column is None else index[event.column]
        self._name = event.name or ""
        self._values = dict(event.values)
        self._keeps_others = event.others == "keep"
        self._ids = [index[column] for column in rules.id or ()]
        self._properties = [
            (index[column], spec.name or column, converters[spec.type])
            for column, spec in rules.properties.items()
        ]
        self._group = [index[column] for column in group.columns] if group else []
        self._products = frozenset(group.products) if group else frozenset()
        self._grouped = frozenset(group.events) if group else frozenset()

    def map(self, row: list[Any], default_id: str) -> MappedRow | None:
        """The event of a row, None for one the mapping leaves out; raises RowRefused."""
        blank = self._blank
        name = self._event_name(row)
        if name is None:
            return None
        user = row[self._user]
        if type(user) is not str:
            user = _text(user)
        if user in blank:
            raise RowRefused(ProblemKind.MISSING_ID, "the user is blank")
        moment = row[self._time]
        if moment in blank:
            raise RowRefused(ProblemKind.MISSING_TIME, "the time is blank")
        try:
            a_ms = self._to_ms(moment)
        except (ValueError, TypeError, OverflowError):
            raise RowRefused(ProblemKind.BAD_TIMESTAMP, f"not a time: {moment!r}") from None
        if not 0 <= a_ms <= TIME_MAX_MS:
            raise RowRefused(ProblemKind.BAD_TIMESTAMP, f"the time is out of range: {moment!r}")
        message_id = default_id
        if self._ids:
            parts = self._texts(row, self._ids)
            if blank.isdisjoint(parts):
                message_id = ":".join(parts)
        if len(user) > ID_CHARS_MAX or len(message_id) > ID_CHARS_MAX:
            raise RowRefused(ProblemKind.ID_TOO_LONG, f"over {ID_CHARS_MAX} characters")
        properties = self._read_properties(row)
        event = Event("track", message_id, name, user, None, None, None, None, properties)
        if not self._group or (self._grouped and name not in self._grouped):
            return a_ms, event, None, None
        return self._with_product(row, a_ms, event, user)

    def _texts(self, row: list[Any], numbers: list[int]) -> list[str]:
        if self._all_texts:
            return [row[number] for number in numbers]
        return [_text(row[number]) for number in numbers]

    def _event_name(self, row: list[Any]) -> str | None:
        if self._event is None:
            return self._name
        value = row[self._event]
        if type(value) is not str:
            value = _text(value)
        name = self._values.get(value)
        if name is None and self._keeps_others:
            name = value
        if name is not None and name in self._blank:
            raise RowRefused(ProblemKind.MISSING_EVENT, "the event is blank")
        return name

    def _read_properties(self, row: list[Any]) -> dict[str, Any]:
        blank = self._blank
        properties = {}
        for number, name, convert in self._properties:
            value = row[number]
            if value in blank:
                continue
            if convert is None:
                properties[name] = value
                continue
            try:
                properties[name] = convert(value)
            except (ValueError, TypeError, OverflowError):
                self.bad_values.append(f"{name}: {value!r}")
        return properties

    def _with_product(self, row: list[Any], a_ms: int, event: Event, user: str) -> MappedRow:
        parts = self._texts(row, self._group)
        if not self._blank.isdisjoint(parts):
            return a_ms, event, None, None
        product: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in (event.properties or {}).items():
            (product if name in self._products else rest)[name] = value
        event.properties = rest
        return a_ms, event, (user, event.event, *parts), product


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else ""


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


_CONVERTERS: Final[dict[str, Convert | None]] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
}
_TIMES: Final[dict[str, Callable[[Any], int]]] = {"ms": _int, "s": _from_s, "iso": _from_iso}
