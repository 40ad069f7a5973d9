"""Looking for few lines of many."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.files.lines import LineReader
from engine.files.problems import Problems
from engine.files.source import folder_files


def lines_with(path: Path, marks: Sequence[bytes]) -> Iterator[bytes]:
    """The lines of a file, or of a folder of them, in which one of these stands: fifty times as
    fast as reading the events. What cannot be read is passed over.

    Raises FileRefused for a file that cannot be opened, or a folder without event files.
    """
    for file in folder_files(path) if path.is_dir() else [path]:
        for block in LineReader(file, Problems()).blocks():
            if any(mark in block for mark in marks):
                for line in block.split(b"\n"):
                    if any(mark in line for mark in marks):
                        yield line
