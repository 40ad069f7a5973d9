"""Packing and unpacking by other means than the code under test."""

import gzip
from pathlib import Path

import zstandard


def unpacked(path: Path) -> bytes:
    """The contents of a plain, gzip or Zstandard file, by its name."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return data


def pack(data: bytes, packing: str) -> bytes:
    """`data` as one gzip member, one Zstandard frame, or as it is (plain)."""
    if packing == "gzip":
        return gzip.compress(data)
    if packing == "zstd":
        return zstandard.ZstdCompressor(write_content_size=False).compress(data)
    return data
