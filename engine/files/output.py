"""Writing event files: one message a line, packed by what the name ends in."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import zstandard

ZSTD_LEVEL: Final = 12


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream to write to; `.gz` and `.zst` are packed. Equal input gives equal bytes.

    Raises OSError for a path that cannot be written.
    """
    with path.open("wb") as raw:
        if path.suffix == ".gz":
            # A name or a time in the header would make equal contents differ.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                yield cast(IO[bytes], packed)
        elif path.suffix == ".zst":
            with zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(raw) as writer:
                yield writer
        else:
            yield raw
