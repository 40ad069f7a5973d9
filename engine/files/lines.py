"""A file as batches of lines, unpacked on the way; memory is bounded by a chunk and a line."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol

import zstandard

from engine.files.problems import FileRefused, ProblemKind, Problems

#: A line longer than this is skipped: no event may be that large.
LINE_BYTES_MAX: Final = 1_048_576
_PLAIN_CHUNK: Final = 262_144
#: Small, because a few bytes of packed data can unpack to many thousand.
_PACKED_CHUNK: Final = 32_768
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
#: A Zstandard file may begin with a frame to be skipped: 0x184D2A5?.
_ZSTD_SKIPPED: Final = b"\x2a\x4d\x18"


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class LineReader:
    """Lines of one file without their newline; `line` is the number of the last one given out.

    Packing is told by the first bytes, not by the name. Raises FileRefused when the file cannot be
    opened; whatever it holds is never an error, but counted in `problems`.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self.path = path
        self.file = str(path)
        self.line = 0
        self._problems = problems

    def batches(self) -> Iterator[list[bytes]]:
        """Lists of complete lines, the last one perhaps without its newline.

        `line` is that of the first line of the list minus one, until the next list is asked for.
        """
        rest = b""
        skipping = False
        for chunk in self._chunks():
            found = chunk.split(b"\n")
            if skipping:
                if len(found) == 1:
                    continue
                found[0] = b""
                skipping = False
            elif rest:
                found[0] = rest + found[0]
            rest = found.pop()
            if found:
                yield found
                self.line += len(found)
            if len(rest) > LINE_BYTES_MAX:
                self._problem(ProblemKind.TOO_LARGE, f"a line of over {LINE_BYTES_MAX} bytes")
                rest, skipping = b"", True
        if rest:
            yield [rest]
            self.line += 1

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as raw:
                head = raw.read(4)
                raw.seek(0)
                if head[:2] == _GZIP:
                    yield from self._unpacked(raw, "gzip")
                elif head == _ZSTD or _is_skippable(head):
                    yield from self._unpacked(raw, "zstd")
                else:
                    while chunk := raw.read(_PLAIN_CHUNK):
                        yield chunk
        except OSError as error:
            raise FileRefused(f"{self.file}: cannot be read: {error.strerror}") from None

    def _unpacked(self, raw: IO[bytes], packing: str) -> Iterator[bytes]:
        """The contents of all members or frames, one after the other."""
        unpacker = _unpacker(packing)
        fed = False
        while data := raw.read(_PACKED_CHUNK):
            while data:
                if unpacker.eof:
                    unpacker, fed = _unpacker(packing), False
                try:
                    chunk = unpacker.decompress(data)
                except (zlib.error, zstandard.ZstdError) as error:
                    self._problem(ProblemKind.DAMAGED, f"{packing}: {error}")
                    return
                fed = True
                if chunk:
                    yield chunk
                data = unpacker.unused_data if unpacker.eof else b""
        if fed and not unpacker.eof:
            self._problem(ProblemKind.TRUNCATED, f"{packing} data stops before its end")

    def _problem(self, kind: ProblemKind, detail: str) -> None:
        self._problems.add(kind, self.file, self.line + 1, detail)


def _is_skippable(head: bytes) -> bool:
    return head[1:] == _ZSTD_SKIPPED and head[0] >> 4 == 5


def _unpacker(packing: str) -> _Unpacker:
    if packing == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
