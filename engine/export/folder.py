"""A folder of Parquet files: `day=2026-11-22/part-<source>-<first offset>.parquet`.

The day is that of the column `at`, UTC. A chunk of records becomes a file for each of its days,
then the manifest names the chunk. One process at a time; readers see whole files only.
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from engine.export.manifest import (
    Manifest,
    ManifestRefused,
    read_manifest,
    settle,
    write_manifest,
)
from engine.export.rows import Dataset, Row
from engine.files.parquet import connect, not_a_pattern

if TYPE_CHECKING:
    import duckdb

#: A chunk is held in memory until it is written.
CHUNK_ROWS_MAX: Final = 100_000
CHUNK_BYTES_MAX: Final = 32 * 1_048_576
_LOCK: Final = "_lock"
_ROWS: Final = "_rows.jsonl"
_PART: Final = re.compile(r"part-(\w+(?:-[0-9a-f]+)?)-(\d+)\.parquet")
_encode = msgspec.json.Encoder().encode


class FolderBusyError(Exception):
    """Another run writes into the folder."""


@dataclass(slots=True)
class _Day:
    """The rows of one day in a chunk, as JSON lines."""

    first: int
    lines: list[bytes]


class Folder:
    """One dataset's folder; see `open_folder`. `files` counts what was written."""

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        manifest: Manifest,
        database: "duckdb.DuckDBPyConnection",
    ) -> None:
        self.manifest = manifest
        self.files = 0
        self._path = path
        self._database = database
        self._dataset = dataset
        self._days: dict[str, _Day] = {}
        self._rows = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """The chunk is to be written before more is put in."""
        return self._rows >= CHUNK_ROWS_MAX or self._bytes >= CHUNK_BYTES_MAX

    def put(self, row: Row) -> None:
        """Add a row to the chunk. Rows come in the order of their offsets."""
        name = row.at.date().isoformat()
        day = self._days.get(name)
        if day is None:
            day = self._days[name] = _Day(row.offset, [])
        line = _encode(row)
        day.lines.append(line)
        self._rows += 1
        self._bytes += len(line)

    def finish(self, source: str, start: int, end: int) -> None:
        """Write the chunk: the records of `source` from `start` up to, not including, `end`."""
        for name, day in self._days.items():
            self._write(day.lines, self._path / f"day={name}", f"part-{source}-{day.first}.parquet")
        self._days.clear()
        self._rows = self._bytes = 0
        self.manifest.source(source).cover(start, end)
        write_manifest(self._path, self.manifest)

    def _write(self, lines: list[bytes], folder: Path, name: str) -> None:
        import duckdb

        folder.mkdir(exist_ok=True)
        rows, unfinished = self._path / _ROWS, folder / f"{name}.unfinished"
        rows.write_bytes(b"\n".join(lines))
        dataset = self._dataset
        target = str(unfinished).replace("'", "''")
        try:
            self._database.execute(
                f"COPY (SELECT {dataset.selected} FROM read_json(?, format='newline_delimited', "
                f"columns={dataset.fields})) TO '{target}' (FORMAT parquet, COMPRESSION zstd)",
                [not_a_pattern(str(rows))],
            )
        except duckdb.IOException as error:
            raise OSError(f"{unfinished}: cannot be written: {error}") from None
        rows.unlink()
        settle(unfinished, folder / name)
        self.files += 1


@contextmanager
def open_folder(out: Path, dataset: Dataset) -> Iterator[Folder]:
    """The folder `out/<dataset>`, made where it is missing and freed of what an interrupted run
    left behind. Raises FolderBusyError, ManifestRefused, OSError."""
    path = out / dataset.name
    path.mkdir(parents=True, exist_ok=True)
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(f"{path}: another export writes there") from None
        manifest = read_manifest(path)
        parts = sorted(path.glob("day=*/part-*"))
        if manifest is None:
            if any(part.suffix == ".parquet" for part in parts):
                raise ManifestRefused(
                    f"{path}: has files but no _manifest.json that says what they hold; move them"
                )
            manifest = Manifest()
            # Before the first file: a folder with files and without one was not made here.
            write_manifest(path, manifest)
        _tidy(path, parts, manifest)
        database = connect()
        try:
            yield Folder(path, dataset, manifest, database)
        finally:
            database.close()


def _tidy(path: Path, parts: list[Path], manifest: Manifest) -> None:
    for part in parts:
        named = _PART.fullmatch(part.name)
        if part.suffix == ".unfinished":
            part.unlink()
        elif named is not None:
            source = manifest.sources.get(named[1])
            if source is None or not source.has(int(named[2])):
                part.unlink()
    (path / _ROWS).unlink(missing_ok=True)
