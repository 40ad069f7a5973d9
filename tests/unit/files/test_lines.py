import gzip
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.files import FileRefused, Problems
from engine.files.lines import LINE_BYTES_MAX, LineReader
from tests.unit.files.packed import pack
from tests.unit.files.reading import mapping, read, segment, write
from triggers.workspace import DefinitionErrors

PACKINGS = ("plain", "gzip", "zstd")
HISTORY = b"".join(segment(n, properties={"n": n * 7919}) + b"\n" for n in range(300))
CSV_RULES = """
user: user
time: {column: at, unit: ms}
event: what
properties: {n: {type: int}}
group_by: {columns: g, products: [n]}
"""


def all_lines(path: Path) -> tuple[list[bytes], dict[str, int]]:
    problems = Problems()
    batches = LineReader(path, problems).batches()
    found = [line.removesuffix(b"\n") for batch in batches for line in batch]
    return found, {str(kind): count for kind, count in problems.counts.items()}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packing_is_told_by_the_contents_not_by_the_name(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "misnamed.jsonl.gz", pack(HISTORY, packing))
    assert all_lines(path) == (HISTORY.split(b"\n")[:-1], {})


@pytest.mark.parametrize("packing", PACKINGS)
@given(
    content=st.lists(st.binary(max_size=50), max_size=30).map(b"\n".join), size=st.integers(1, 400)
)
def test_lines_are_those_of_the_contents_wherever_chunks_end(
    packing: str, content: bytes, size: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.files.lines._BLOCK", size)
        patched.setattr("engine.files.lines._PACKED_CHUNK", size)
        # A byte that begins no packing; what follows may be anything.
        path = write(Path(folder) / "a", pack(b"x" + content, packing))
        expected = (b"x" + content).split(b"\n")
        if not expected[-1]:
            expected.pop()
        assert all_lines(path) == (expected, {})


def test_a_zstandard_file_may_begin_with_a_frame_to_be_skipped(tmp_path: Path) -> None:
    skippable = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    path = write(tmp_path / "a", skippable + pack(b"one\n", "zstd"))
    assert all_lines(path) == ([b"one"], {})


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_several_members_are_one_file(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "a", pack(b"one\ntw", packing) + pack(b"o\nthree", packing))
    assert all_lines(path) == ([b"one", b"two", b"three"], {})


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@settings(max_examples=60)
@given(data=st.data())
def test_packed_data_cut_anywhere_gives_its_beginning_and_is_counted_once(
    packing: str, data: st.DataObject
) -> None:
    packed = pack(HISTORY, packing)
    cut = data.draw(st.integers(4, len(packed) - 1))
    with TemporaryDirectory() as folder:
        found, counts = all_lines(write(Path(folder) / "a", packed[:cut]))
    assert HISTORY.startswith(b"\n".join(found))
    assert counts == {"TRUNCATED": 1}


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_damaged_data_gives_what_comes_before_it_and_is_counted(
    tmp_path: Path, packing: str
) -> None:
    first = pack(HISTORY, packing)
    path = write(tmp_path / "a", first + b"this is no packed data at all")
    assert all_lines(path) == (HISTORY.split(b"\n")[:-1], {"DAMAGED": 1})


def test_a_checksum_that_does_not_fit_is_damage(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(HISTORY))
    packed[-8] ^= 1
    assert all_lines(write(tmp_path / "a", bytes(packed)))[1] == {"DAMAGED": 1}
    summed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(HISTORY))
    summed[-1] ^= 1
    assert all_lines(write(tmp_path / "b", bytes(summed)))[1] == {"DAMAGED": 1}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_byte_order_mark_costs_no_event_and_utf_16_is_named(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "a.jsonl", pack(b"\xef\xbb\xbf" + HISTORY, packing))
    found, counts, _ = read(path)
    assert (len(found), counts) == (300, {})
    for encoding in ("utf-16-le", "utf-16-be"):
        wide = ("\ufeff" + HISTORY.decode()).encode(encoding)
        with pytest.raises(FileRefused, match=r"a\.jsonl:1: this is UTF-16"):
            read(write(path, pack(wide, packing)))


def test_a_line_without_end_is_skipped_and_numbers_stay_right(tmp_path: Path) -> None:
    endless = b"x" * (3 * LINE_BYTES_MAX)
    content = segment(1) + b"\n" + endless + b"\nnonsense\n" + segment(2) + b"\n"
    found, counts, said = read(write(tmp_path / "a.jsonl", content))
    assert [event.event.message_id for event in found] == ["m1", "m2"]
    assert counts == {"TOO_LARGE": 1, "MALFORMED_JSON": 1}
    path = tmp_path / "a.jsonl"
    assert f"  {path}:2: a line of over {LINE_BYTES_MAX} bytes" in said
    assert any(line.startswith(f"  {path}:3: ") for line in said)


_PIECES = (
    *(b'"', b",", b"\n", b"\r", b"\0", b"{", b"}", b"[", b"\xff", b"1", b"NaN", b"u"),
    *(b"user,at,what,n,g\n", b"u,1,Seen,5,g\n", b'{"user":', segment(5)),
)


@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(lambda tail: b"\x1f\x8b" + tail),
        st.binary(max_size=100).map(lambda tail: b"\x28\xb5\x2f\xfd" + tail),
        st.lists(st.sampled_from(_PIECES), max_size=40).map(b"".join),
        st.lists(st.sampled_from(_PIECES), max_size=40).map(
            lambda pieces: b"user,at,what,n,g\n" + b"".join(pieces)
        ),
    ),
    name=st.sampled_from(["a.jsonl", "a.csv", "a.foreign", "a.zst"]),
    sort=st.booleans(),
)
def test_no_bytes_whatever_end_in_anything_but_events_problems_or_a_refusal(
    content: bytes, name: str, sort: bool
) -> None:
    with TemporaryDirectory() as folder:
        rules = None if name == "a.jsonl" else mapping(Path(folder), CSV_RULES)
        path = write(Path(folder) / name, content)
        with suppress(FileRefused, DefinitionErrors):
            read(path, rules, sort=sort)
