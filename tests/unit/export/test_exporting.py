"""Exactly once: however often, however interrupted, in whatever ranges a topic is exported."""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.export import folder as folders
from engine.export import manifest as manifests
from engine.export import run
from engine.export.folder import FolderBusyError, open_folder
from engine.export.manifest import ManifestRefused
from engine.export.repeats import Repeats
from engine.export.rows import DECISIONS, OUTCOMES, Dataset
from engine.files import EVERYTHING, Problems, Span
from schemas.decisions import DecisionRecord
from schemas.outcomes import OutcomeTopicRecord
from tests.unit.export.records import DAY_MS, T0_MS, FakeLog, decision, stored, suppressed


class LineFiles:
    """Instead of DuckDB, which takes 20 ms to write a file: the rows as they were handed to it."""

    def execute(self, query: str, sources: list[str]) -> None:
        target = query.split(" TO '")[1].split("'")[0]
        shutil.copyfile(sources[0], target)

    def close(self) -> None:
        """Nothing is open."""


def places(folder: Path) -> list[tuple[int, int]]:
    """The partition and offset of each row in such files."""
    rows = [
        msgspec.json.decode(line)
        for path in folder.glob("day=*/*.parquet")
        for line in path.read_bytes().splitlines()
    ]
    return sorted((row["partition"], row["offset"]) for row in rows)


class Killed(Exception):
    """The process ends here."""


def export(log: FakeLog, out: Path, span: Span = EVERYTHING) -> run.Exported:
    async def work() -> run.Exported:
        wanted = [
            await run.extent_in(log, "decisions", n, span) for n in range(len(log.partitions))
        ]
        with open_folder(out, DECISIONS) as folder:
            folder.manifest.of_topic("decisions")
            return await run.fill_folder(
                log, "decisions", wanted, DECISIONS, folder, problems, span
            )

    problems = Problems()
    return asyncio.run(work())


def log_of(*values: Sequence[int]) -> FakeLog:
    """Partitions of decisions by number; equal numbers give equal records. Days alternate."""
    return FakeLog([[decision(n, T0_MS + n % 3 * DAY_MS) for n in part] for part in values])


def test_a_row_stands_under_the_day_of_its_decision_with_typed_columns(tmp_path: Path) -> None:
    log = FakeLog([[decision(1), suppressed(2, T0_MS + DAY_MS + 1)], [decision(3, variant="a")]])
    done = export(log, tmp_path)
    assert (done.rows, done.files, done.repeated, done.lost) == (3, 3, 0, 0)
    folder = tmp_path / "decisions"
    assert sorted(str(path.relative_to(folder)) for path in folder.glob("*/*")) == [
        "day=2026-01-05/part-0-0.parquet",
        "day=2026-01-05/part-1-0.parquet",
        "day=2026-01-06/part-0-1.parquet",
    ]
    found = stored(
        folder,
        "source_partition, source_offset, trigger_id, user_id, outcome, reason, variant, revision",
    )
    assert found == [
        (0, 0, "cart", "u1", "ADMITTED", None, None, 2),
        (0, 1, "cart", "u2", "SUPPRESSED", "COOLDOWN", None, 2),
        (1, 0, "cart", "u3", "ADMITTED", None, "a", 2),
    ]
    times = [us // 1000 - T0_MS for (us,) in stored(folder, "epoch_us(decided_at)")]
    assert times == [0, 0, DAY_MS + 1]
    types = stored(folder, "typeof(decided_at), typeof(revision), typeof(source_offset)")
    assert set(types) == {("TIMESTAMP WITH TIME ZONE", "INTEGER", "BIGINT")}


@settings(max_examples=25)
@given(st.data())
def test_any_sequence_of_runs_ranges_and_crashes_gives_every_record_once(data: Any) -> None:
    numbers = st.lists(st.integers(0, 6), max_size=14)
    log = log_of(data.draw(numbers), data.draw(numbers))
    whole = log.partitions
    with (
        TemporaryDirectory() as place,
        patch.object(folders, "CHUNK_ROWS_MAX", 3),
        patch.object(run, "LOOK_BACK", 4),
        patch.object(run, "Repeats", lambda: Repeats(4)),
        patch.object(folders, "connect", LineFiles),
    ):
        out, once = Path(place, "out"), Path(place, "once")
        for _ in range(data.draw(st.integers(0, 4))):
            # The topic has grown up to here, the range is one of offsets, the run dies or not.
            log.partitions = [part[: data.draw(st.integers(0, 14))] for part in whole]
            held = [source_end(out, n) for n in range(2)]
            if any(len(part) < end for part, end in zip(log.partitions, held, strict=True)):
                continue
            bounds = data.draw(st.tuples(st.integers(0, 14), st.integers(0, 14)))
            span = Span(min(bounds), max(bounds)) if data.draw(st.booleans()) else EVERYTHING
            dies = dying(data.draw(st.integers(0, 12)))
            with (
                patch.object(folders, "settle", dies),
                patch.object(manifests, "settle", dies),
                suppress(Killed),
            ):
                export(log, out, span)
        log.partitions = whole
        export(log, out)
        export(log, once)
        assert places(out / "decisions") == places(once / "decisions")
        expected = [
            (number, offset)
            for number, part in enumerate(whole)
            for offset, value in enumerate(part)
            if value not in part[max(0, offset - 4) : offset]
        ]
        assert places(out / "decisions") == expected
        assert export(log, out).rows == 0


def source_end(out: Path, partition: int) -> int:
    manifest = manifests.read_manifest(out / "decisions") if out.exists() else None
    return manifest.source(str(partition)).end if manifest else 0


def dying(after: int) -> Any:
    """Gives so many files their names, then the process ends, before or after the last one's."""
    real, calls = manifests.settle, iter(range(1_000))

    def settle(unfinished: Path, path: Path) -> None:
        call = next(calls)
        if call == after:
            raise Killed
        real(unfinished, path)
        if call + 1 == after and after % 2:
            raise Killed

    return settle


def test_what_the_topic_lost_between_two_runs_is_said_once(tmp_path: Path) -> None:
    log = log_of(range(10))
    whole, log.partitions = log.partitions, [log.partitions[0][:4]]
    export(log, tmp_path)
    log.partitions, log.begins = whole, [7]
    done = export(log, tmp_path)
    assert (done.rows, done.lost) == (3, 3)
    assert [offset for (offset,) in stored(tmp_path / "decisions", "source_offset")] == [
        *range(4),
        *range(7, 10),
    ]
    assert export(log, tmp_path).lost == 0


def test_a_topic_that_began_before_the_first_run_lost_nothing(tmp_path: Path) -> None:
    log = log_of(range(10))
    log.begins = [7]
    assert export(log, tmp_path).lost == 0


def test_another_topic_of_the_same_name_is_refused(tmp_path: Path) -> None:
    export(log_of(range(5)), tmp_path)
    with pytest.raises(ManifestRefused, match="ends at 2, the folder holds it up to 5"):
        export(log_of(range(2)), tmp_path)


def test_what_is_no_decision_is_told_with_its_place_and_passed(tmp_path: Path) -> None:
    log = FakeLog([[b"{}", decision(1), b"no"]])
    problems = Problems()

    async def work() -> None:
        wanted = [await run.extent_in(log, "decisions", 0, EVERYTHING)]
        with open_folder(tmp_path, DECISIONS) as folder:
            await run.fill_folder(log, "decisions", wanted, DECISIONS, folder, problems, EVERYTHING)

    asyncio.run(work())
    assert stored(tmp_path / "decisions") == [(0, 1)]
    places = [(e.file, e.line) for found in problems.examples.values() for e in found]
    assert places == [("decisions[0]", 0), ("decisions[0]", 2)]


def test_a_word_of_a_later_release_reaches_the_warehouse(tmp_path: Path) -> None:
    value = decision(1).replace(b'"ADMITTED"', b'"PONDERED"').replace(b"{", b'{"mood":"good",', 1)
    export(FakeLog([[value]]), tmp_path)
    assert stored(tmp_path / "decisions", "outcome") == [("PONDERED",)]


@pytest.mark.parametrize(
    ("record", "dataset"), [(DecisionRecord, DECISIONS), (OutcomeTopicRecord, OUTCOMES)]
)
def test_every_field_of_a_record_has_a_column(record: type[Any], dataset: Dataset) -> None:
    own = {"partition", "offset"}
    assert {*record.__struct_fields__, *own} == set(dataset.decoder.type.__struct_fields__)


def test_files_without_a_manifest_are_left_alone(tmp_path: Path) -> None:
    export(log_of(range(3)), tmp_path)
    (tmp_path / "decisions" / "_manifest.json").unlink()
    with pytest.raises(ManifestRefused, match=r"no _manifest\.json"):
        export(log_of(range(3)), tmp_path)
    assert len(stored(tmp_path / "decisions")) == 3


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with open_folder(tmp_path, DECISIONS), pytest.raises(FolderBusyError, match="another export"):
        export(log_of(range(3)), tmp_path)


def test_a_repeat_is_an_equal_record_shortly_before() -> None:
    repeats = Repeats(look_back=2)
    values = [b"a", b"b", b"a", b"a", b"c", b"c", b"b", b"a"]
    found = [repeats.is_repeat(value, (), offset) for offset, value in enumerate(values)]
    assert found == [False, False, True, True, False, True, False, False]


def test_equal_records_of_one_commit_are_two_and_each_may_be_repeated() -> None:
    repeats = Repeats()
    marks = ["9.0:x:1", "9.0:x:2", "9.0:x:1", "9.0:x:2", "12.0:y:3", "12.0:y:4"]
    found = [
        repeats.is_repeat(b"goal", [("seq", mark.encode())], offset)
        for offset, mark in enumerate(marks)
    ]
    assert found == [False, False, True, True, True, True]
