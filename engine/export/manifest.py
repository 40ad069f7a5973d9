"""What an output folder holds: offsets by source.

A source is a partition (`"3"`) or a file (`"file-<digest of its contents>"`); its records are
numbered by offset or line, and ranges go up to, not including, their second number. Files are
written before the manifest names their ranges; those it does not name are what an interrupted run
left behind, and are written anew.
"""

import os
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

FILE_NAME: Final = "_manifest.json"
VERSION: Final = 1

Range: TypeAlias = tuple[int, int]


class ManifestRefused(Exception):
    """The folder cannot be gone on with; the message says why."""


class Source(msgspec.Struct, omit_defaults=True):
    """`done`: ranges that are in the folder, apart and in order. `lost`: ranges that the topic no
    longer had when a run came for them."""

    done: list[Range] = []
    lost: list[Range] = []

    @property
    def end(self) -> int:
        """Everything exported lies below this offset."""
        return self.done[-1][1] if self.done else 0

    def missing(self, start: int, end: int) -> list[Range]:
        """What of the range is not done yet."""
        gaps = []
        for begin, until in self.done:
            if begin >= end:
                break
            if start < begin:
                gaps.append((start, begin))
            start = max(start, until)
        if start < end:
            gaps.append((start, end))
        return gaps

    def cover(self, start: int, end: int) -> None:
        """The range is done."""
        merged: list[Range] = []
        for begin, until in sorted([*self.done, (start, end)]):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
            else:
                merged.append((begin, until))
        self.done = merged

    def has(self, offset: int) -> bool:
        """Whether the record is done."""
        return any(begin <= offset < until for begin, until in self.done)


class Manifest(msgspec.Struct):
    """`topic` is empty as long as only files were exported."""

    topic: str = ""
    sources: dict[str, Source] = {}
    version: int = VERSION

    def source(self, name: str) -> Source:
        """The source of that name, a new one where nothing of it was exported."""
        return self.sources.setdefault(name, Source())

    def of_topic(self, topic: str) -> None:
        """From here on the folder belongs to this topic; raises ManifestRefused for another one."""
        if self.topic not in ("", topic):
            raise ManifestRefused(f"the folder holds the topic {self.topic}, not {topic}")
        self.topic = topic


def read_manifest(folder: Path) -> Manifest | None:
    """None where there is none. Raises ManifestRefused, OSError."""
    try:
        content = (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestRefused(f"{folder / FILE_NAME}: {error}") from None
    if manifest.version != VERSION:
        raise ManifestRefused(f"{folder / FILE_NAME}: version {manifest.version}, not {VERSION}")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace it at once, on the disk when this returns."""
    unfinished = folder / f"{FILE_NAME}.unfinished"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    settle(unfinished, folder / FILE_NAME)


def settle(unfinished: Path, path: Path) -> None:
    """Give a finished file its name, on the disk when this returns."""
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
