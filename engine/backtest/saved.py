"""`--state DIR`: everything one run hands to the next, in one file written atomically.

The file is a line of JSON (`Header`), then one msgpack record a user with its length in front, then
an empty record and a checksum. Whatever does not fit the run is refused: another workspace,
another policy, another version, a file cut short.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final
from zlib import crc32

import msgspec

from engine.backtest.users import Slot, Users
from triggers.state import STATE_VERSION, encode_state

FILE_NAME: Final = "backtest.state"
#: Grows when the form of this file changes.
FORMAT: Final = 2
_LENGTH_BYTES: Final = 4
_RECORD_BYTES_MAX: Final = 64 * 1024 * 1024


class StateRefused(Exception):
    """The state cannot be continued by this run; the message says why and what to do."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`workspace`: digest of definitions, policies and options. `rows`: rows of event files read so
    far, which number the messages without an id. Milliseconds."""

    format: int
    state_version: int
    workspace: str
    users: int
    events: int
    rows: int
    watermark_ms: int
    first_ms: int | None


class _User(msgspec.Struct, array_like=True, gc=False):
    user: str
    state: bytes | None
    seen: int
    last: str | None
    wake: int
    merged_into: str


_user_decoder = msgspec.msgpack.Decoder(_User)


def workspace_digest(documents: Iterable[Any], options: dict[str, Any]) -> str:
    """One text for everything a verdict depends on beside the events. Short enough to be shown."""
    digest = sha256(msgspec.json.encode(options, order="deterministic"))
    for document in documents:
        digest.update(msgspec.json.encode(document, order="deterministic") + b"\n")
    return digest.hexdigest()[:16]


def save(folder: Path, header: Header, records: Iterable[bytes]) -> None:
    """Write the state of a run that has ended, in place of the earlier one. Raises OSError."""
    written = folder / f"{FILE_NAME}.{os.getpid()}"
    try:
        with written.open("wb") as out:
            _write(out, header, records)
            out.flush()
            os.fsync(out.fileno())
        written.replace(folder / FILE_NAME)
    finally:
        written.unlink(missing_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(out: IO[bytes], header: Header, records: Iterable[bytes]) -> None:
    check = 0

    def put(data: bytes) -> None:
        nonlocal check
        check = crc32(data, check)
        out.write(data)

    put(msgspec.json.encode(header) + b"\n")
    for record in records:
        put(len(record).to_bytes(_LENGTH_BYTES, "little") + record)
    put(bytes(_LENGTH_BYTES))
    out.write(check.to_bytes(_LENGTH_BYTES, "little"))


def records(users: Users) -> Iterator[bytes]:
    """What the file holds of each user."""
    encode = msgspec.msgpack.Encoder().encode
    for user, slot in users.all_slots():
        state = slot.packed if slot.state is None else encode_state(slot.state)
        yield encode(_User(user, state, slot.seen, slot.last, slot.wake, slot.merged_into))


def load(folder: Path, users: Users, *, workspace: str) -> Header | None:
    """Restore the users of the run before; None when there was none, and then there is the folder.

    Raises StateRefused, OSError: before anything is decided, also where nothing could be saved.
    """
    path = folder / FILE_NAME
    if folder.exists() and not folder.is_dir():
        raise StateRefused(f"{folder} is not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StateRefused(f"{folder} may not be written to")
    if not path.exists():
        return None
    with path.open("rb") as file:
        line = file.readline(10_000)
        header = _header(path, line)
        if header.format != FORMAT or header.state_version != STATE_VERSION:
            raise StateRefused(
                f"{path}: written by another version (format {header.format}, states "
                f"{header.state_version}; this one has {FORMAT}, {STATE_VERSION}): "
                "begin again with an empty folder"
            )
        if header.workspace != workspace:
            raise StateRefused(
                f"{path}: made with other definitions, policies or options "
                f"({header.workspace}, now {workspace}): what is pending would mean something "
                "else; begin again with an empty folder"
            )
        users.restore(_slots(path, file, crc32(line)))
    if len(users.earlier) != header.users:
        raise StateRefused(f"{path}: holds {len(users.earlier)} of {header.users} users")
    return header


def _header(path: Path, line: bytes) -> Header:
    try:
        return msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StateRefused(f"{path} is no state of a backtest") from None


def _slots(path: Path, file: IO[bytes], check: int) -> Iterator[tuple[str, Slot]]:
    while True:
        head = file.read(_LENGTH_BYTES)
        size = int.from_bytes(head, "little")
        if len(head) < _LENGTH_BYTES or size > _RECORD_BYTES_MAX:
            raise StateRefused(f"{path}: damaged")
        check = crc32(head, check)
        if not size:
            break
        record = file.read(size)
        check = crc32(record, check)
        try:
            found = _user_decoder.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise StateRefused(f"{path}: damaged") from None
        yield (
            found.user,
            Slot(
                packed=found.state,
                seen=found.seen,
                wake=found.wake,
                merged_into=found.merged_into,
                last=found.last,
            ),
        )
    if file.read() != check.to_bytes(_LENGTH_BYTES, "little"):
        raise StateRefused(f"{path}: damaged: its checksum differs")
