"""Ranges that are done, and the file that names them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.export.manifest import Manifest, ManifestRefused, Source, read_manifest, write_manifest

RANGES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda r: (min(r), max(r) + 1))
)


@given(RANGES, st.integers(0, 30), st.integers(0, 30))
def test_what_is_missing_and_what_is_done_make_up_the_range(
    ranges: list[tuple[int, int]], start: int, length: int
) -> None:
    source, held = Source(), set[int]()
    for begin, end in ranges:
        source.cover(begin, end)
        held |= set(range(begin, end))
    assert {n for n in range(40) if source.has(n)} == held
    assert all(a[1] < b[0] for a, b in zip(source.done, source.done[1:], strict=False))
    gaps = source.missing(start, start + length)
    missing = [n for begin, end in gaps for n in range(begin, end)]
    assert missing == sorted(set(range(start, start + length)) - held)
    assert all(begin < end for begin, end in gaps)
    assert source.end == max(held, default=-1) + 1


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    manifest = Manifest("decisions")
    manifest.source("0").cover(3, 9)
    manifest.source("1").lost.append((0, 3))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["_manifest.json"]


@pytest.mark.parametrize("content", [b"{", b'{"version": 2}', b'{"sources": 1}'])
def test_a_manifest_that_is_not_understood_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_manifest.json").write_bytes(content)
    with pytest.raises(ManifestRefused, match="_manifest"):
        read_manifest(tmp_path)


def test_a_folder_belongs_to_one_topic() -> None:
    manifest = Manifest()
    manifest.of_topic("a-decisions")
    manifest.of_topic("a-decisions")
    with pytest.raises(ManifestRefused, match="a-decisions, not b-decisions"):
        manifest.of_topic("b-decisions")
