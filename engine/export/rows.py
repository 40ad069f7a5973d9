"""The rows of the warehouse: typed columns, one per field, in this order. docs/interfaces.md has
what they mean.

Columns have other names than fields where a query would not read the column otherwise: a bare
`user` is the session's user in SQL, and `offset`, `at`, `by`, `start`, `trigger` are words of it.
Outcomes and reasons are texts here: a record of a later release may hold a word this one does not
know, and it has to reach the warehouse all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

import msgspec

#: What the columns INTEGER and BIGINT hold: one number beyond would stop the whole chunk.
Small = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Large = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ExportedDecision(msgspec.Struct, gc=False):
    """A decision. A backtest's has no `revision` and no `delivery_id`; `partition` is None where it
    came from a file, `offset` then its line, from 0."""

    trigger: str
    user: str
    activation: str
    at: datetime
    outcome: str
    reason: str | None = None
    start: str | None = None
    event: str | None = None
    variant: str | None = None
    revision: Small | None = None
    delivery_id: str | None = None
    by: str | None = None
    would: str | None = None
    version: Small | None = None
    partition: int | None = None
    offset: int = 0


class ExportedOutcome(msgspec.Struct, gc=False):
    """What became of a delivery. `value` is in millionths."""

    kind: str
    delivery_id: str
    trigger: str
    user: str
    at: datetime
    revision: Small | None = None
    variant: str | None = None
    channel: str | None = None
    value: Large = 0
    version: Small | None = None
    partition: int | None = None
    offset: int = 0


Row: TypeAlias = ExportedDecision | ExportedOutcome

_TYPES: Final = {
    "at": "TIMESTAMPTZ",
    "revision": "INTEGER",
    "version": "INTEGER",
    "value": "BIGINT",
    "partition": "INTEGER",
    "offset": "BIGINT",
}
_COLUMNS: Final = {
    "trigger": "trigger_id",
    "user": "user_id",
    "start": "start_id",
    "event": "event_id",
    "by": "by_delivery_id",
    "version": "record_version",
    "partition": "source_partition",
    "offset": "source_offset",
}


class BadRow(Exception):
    """A record that is no row of its dataset; the message says why."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """`fields`: DuckDB's types of a row's JSON; `selected`: the columns of the files as SQL."""

    name: str
    decoder: "msgspec.json.Decoder[Row]"
    fields: str
    selected: str

    def row(self, value: bytes | None, partition: int | None, offset: int) -> Row:
        """The row of a record, with its place; raises BadRow. A time without an offset is UTC."""
        try:
            row = self.decoder.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRow(str(error)) from None
        try:
            # A time at either end of the calendar may leave it in UTC.
            row.at = (row.at if row.at.tzinfo else row.at.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError as error:
            raise BadRow(str(error)) from None
        row.partition, row.offset = partition, offset
        return row


def _dataset(name: str, row: type[Row], at: str, made: Mapping[str, str]) -> Dataset:
    names = row.__struct_fields__
    fields = ", ".join(f"'{field}': '{_TYPES.get(field, 'VARCHAR')}'" for field in names)
    columns = _COLUMNS | {"at": at}
    selected = ", ".join(
        f"{made.get(field) or _quoted(field)} AS {columns.get(field, field)}" for field in names
    )
    return Dataset(name, msgspec.json.Decoder(row), f"{{{fields}}}", selected)


def _quoted(field: str) -> str:
    return f'"{field}"'


#: Exact: a product of decimals is none of floats.
_VALUE: Final = "CAST(value * CAST(0.000001 AS DECIMAL(7, 6)) AS DECIMAL(25, 6))"
DECISIONS: Final = _dataset("decisions", ExportedDecision, "decided_at", {})
OUTCOMES: Final = _dataset("outcomes", ExportedOutcome, "happened_at", {"value": _VALUE})
