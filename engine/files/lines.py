"""A file as blocks of whole lines, unpacked on the way; memory is bounded by a block and a line."""

import codecs
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final, Protocol

import zstandard

from engine.files.problems import FileRefused, ProblemKind, Problems

#: A line longer than this is skipped: no event may be that large.
LINE_BYTES_MAX: Final = 1_048_576
#: A block stays in the second-level cache with all that is made of it: twice as fast as 256 KiB.
_BLOCK: Final = 32_768
#: Small, because a few bytes of packed data can unpack to many thousand: of Zstandard at worst a
#: block of 128 KiB is written in four bytes.
_PACKED_CHUNK: Final = 4_096
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
#: A Zstandard file may begin with a frame to be skipped: 0x184D2A5?.
_ZSTD_SKIPPED: Final = b"\x2a\x4d\x18"

#: Gets the bytes of the file read since the last call, as they lie on the disk.
Advance = Callable[[int], None]


def no_advance(_bytes: int) -> None:
    """Nobody watches."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class LineReader:
    """Lines of one file with their newlines; `line` is the number of the last one given out.

    Packing is told by the first bytes, not by the name. Raises FileRefused when the file cannot be
    opened or is UTF-16; whatever else it holds is never an error, but counted in `problems`.
    """

    def __init__(self, path: Path, problems: Problems, advance: Advance = no_advance) -> None:
        self.path = path
        self.file = str(path)
        self.line = 0
        self._problems = problems
        self._advance = advance

    def batches(self) -> Iterator[list[bytes]]:
        """Lists of complete lines, the last one of the file perhaps without its newline.

        `line` is that of the first line of the list minus one, until the next list is asked for.
        """
        for block in self._blocks():
            lines = _lines_of(block)
            yield lines
            self.line += len(lines)

    def blocks(self) -> Iterator[bytes]:
        """Complete lines in one piece; `line` and the last newline as for `batches`."""
        for block in self._blocks():
            yield block
            self.line += len(_lines_of(block))

    def _blocks(self) -> Iterator[bytes]:
        rest = b""
        skipping = False
        for chunk in self._unmarked():
            end = chunk.rfind(b"\n")
            if skipping:
                if end < 0:
                    continue
                # The newline stays: the skipped line counts as an empty one.
                start = chunk.find(b"\n")
                block, rest, skipping = chunk[start : end + 1], chunk[end + 1 :], False
            elif end < 0:
                rest += chunk
                block = None
            else:
                block, rest = rest + chunk[: end + 1], chunk[end + 1 :]
            if block is not None:
                yield block
            if len(rest) > LINE_BYTES_MAX:
                self._problem(ProblemKind.TOO_LARGE, f"a line of over {LINE_BYTES_MAX} bytes")
                rest, skipping = b"", True
        if rest:
            yield rest

    def _unmarked(self) -> Iterator[bytes]:
        """The contents without the byte order mark that editors on Windows begin a file with."""
        chunks = self._chunks()
        first = next(chunks, b"")
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise FileRefused(f"{self.file}:1: this is UTF-16; save it as UTF-8")
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as raw:
                head = raw.read(4)
                raw.seek(0)
                if head[:2] == _GZIP:
                    yield from _gathered(self._unpacked(raw, "gzip"))
                elif head == _ZSTD or _is_skippable(head):
                    yield from _gathered(self._unpacked(raw, "zstd"))
                else:
                    while chunk := raw.read(_BLOCK):
                        self._advance(len(chunk))
                        yield chunk
        except OSError as error:
            raise FileRefused(f"{self.file}: cannot be read: {error.strerror}") from None

    def _unpacked(self, raw: IO[bytes], packing: str) -> Iterator[bytes]:
        """The contents of all members or frames, one after the other."""
        unpacker = _unpacker(packing)
        fed = False
        while data := raw.read(_PACKED_CHUNK):
            self._advance(len(data))
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


def _lines_of(block: bytes) -> list[bytes]:
    # `split` and `count` go byte by byte, this by the C library's search: a fifth of the price.
    return BytesIO(block).readlines()


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of a block or more."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= _BLOCK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


def _is_skippable(head: bytes) -> bool:
    return head[1:] == _ZSTD_SKIPPED and head[0] >> 4 == 5


def _unpacker(packing: str) -> _Unpacker:
    if packing == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
