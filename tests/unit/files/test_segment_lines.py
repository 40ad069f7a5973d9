from pathlib import Path

import pytest

from engine.files import FileRefused, Problems, UnsortedError, read_events
from schemas.events import EVENT_BYTES_MAX, occurred_at_ms
from tests.unit.files.reading import read, segment, write

BASE_MS = 1_767_607_200_000


def lines(*messages: bytes) -> bytes:
    return b"".join(message + b"\n" for message in messages)


def test_append_time_is_received_at_else_timestamp(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        lines(
            segment(1_000, timestamp="2026-01-05T10:00:00.400Z"),
            segment(0, receivedAt="", timestamp="2026-01-05T10:00:02Z"),
            segment(0, receivedAt="2026-01-05T15:00:03+05:00"),
        ),
    )
    found, counts, _ = read(path)
    assert [event.a_ms - BASE_MS for event in found] == [1_000, 2_000, 3_000]
    assert counts == {}


def test_client_time_is_never_after_the_append_time(tmp_path: Path) -> None:
    early = segment(1_000, timestamp="2026-01-05T10:00:00.400Z")
    ahead = segment(2_000, timestamp="2026-01-05T11:00:00Z")
    found, _, _ = read(write(tmp_path / "a.jsonl", lines(early, ahead)))
    times = [occurred_at_ms(event.event, event.a_ms) - BASE_MS for event in found]
    assert times == [400, 2_000]


def test_a_missing_message_id_is_the_number_of_the_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        lines(segment(1, messageId=""), segment(2), segment(3, messageId="")),
    )
    found, _, _ = read(path)
    assert [event.event.message_id for event in found] == ["1", "m2", "3"]
    carried, _, _ = read(path, row_from=100)
    assert [event.event.message_id for event in carried] == ["101", "m2", "103"]


def test_raw_is_the_message_as_it_stands_unless_its_id_was_made_up(tmp_path: Path) -> None:
    whole, without = segment(1), segment(2, messageId="")
    found, _, _ = read(write(tmp_path / "a.jsonl", lines(whole, without)))
    assert [event.raw for event in found] == [whole, None]


def test_what_cannot_be_read_is_counted_with_its_place_and_the_rest_is_read(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "a.jsonl",
        lines(
            segment(1),
            b"{oops",
            segment(2, userId=5),
            segment(2, userId=""),
            segment(2, event=""),
            segment(2, receivedAt=""),
            segment(2, receivedAt="yesterday"),
            segment(2, messageId="m" * 257),
            b"[]",
            b'{"type":"track","properties":{"a":' + b"[" * 20_000,
            segment(2, properties={"x": "y" * 70_000}),
            segment(2, receivedAt="1969-01-01T00:00:00Z"),
            b"\xff\xfe",
            b"",
            b"   ",
            segment(3),
        ),
    )
    found, counts, said = read(path)
    assert [event.event.message_id for event in found] == ["m1", "m3"]
    assert (
        counts
        == {
            "MALFORMED_JSON": 2,
            "WRONG_TYPE": 2,
            "MISSING_ID": 1,
            "MISSING_EVENT": 1,
            "MISSING_TIME": 1,
            "BAD_TIMESTAMP": 2,
            "ID_TOO_LONG": 1,
            "TOO_LARGE": 1,
        }
        or counts["TOO_DEEP"]
    )
    assert any(line.startswith(f"  {path}:2: ") for line in said)


def test_a_time_at_the_end_of_the_calendar_is_none(tmp_path: Path) -> None:
    # Warehouses write it for "never"; what waits from there on would have no date.
    never = ["9999-12-31T00:00:00Z", "9999-12-31T23:59:59-14:00", "9000-01-01T00:00:00.001Z"]
    messages = [segment(1, receivedAt=moment) for moment in never]
    path = write(tmp_path / "a.jsonl", lines(segment(1), *messages))
    found, counts, said = read(path)
    assert (len(found), counts) == (1, {"BAD_TIMESTAMP": 3})
    assert said[1] == f"  {path}:2: the time is out of range: 9999-12-31 00:00:00+00:00"


def test_only_the_first_five_places_of_a_kind_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b"nonsense\n" * 1_000)
    _, counts, said = read(path)
    assert counts == {"MALFORMED_JSON": 1_000}
    assert said[0] == "MALFORMED_JSON: 1000"
    assert [line.split(":")[1] for line in said[1:]] == ["1", "2", "3", "4", "5"]


def test_strict_refuses_the_file_at_the_first_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines(segment(1), b"nonsense", segment(2)))
    with pytest.raises(FileRefused, match=r"a\.jsonl:2: MALFORMED_JSON"):
        list(read_events(path, problems=Problems(strict=True)))


def test_a_file_out_of_order_is_refused_with_the_place_and_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines(segment(5), segment(5), segment(9), segment(7)))
    with pytest.raises(UnsortedError, match=r"a\.jsonl:4: appended 2 ms before.*--sort"):
        list(read_events(path))


def test_sorting_puts_events_in_order_and_keeps_ties_as_they_stand(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        lines(
            segment(9, messageId="last"),
            segment(5, messageId="tie 1"),
            segment(1, messageId="first"),
            segment(5, messageId="tie 2"),
        ),
    )
    found, _, _ = read(path, sort=True)
    ids = [event.event.message_id for event in found]
    assert ids == ["first", "tie 1", "tie 2", "last"]


def test_a_message_that_grows_with_its_number_is_sorted_on_disk_all_the_same(
    tmp_path: Path,
) -> None:
    whole = segment(2, messageId="", properties={"text": ""})
    text = "x" * (EVENT_BYTES_MAX - len(whole))
    large = segment(2, messageId="", properties={"text": text})
    path = write(tmp_path / "a.jsonl", lines(large, segment(1, messageId="")))
    found, counts, _ = read(path, sort=True, sort_events_max=1)
    assert [event.event.message_id for event in found] == ["2", "1"]
    assert counts == {}


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match=r"none\.jsonl: cannot be read: No such file"):
        list(read_events(tmp_path / "none.jsonl"))


def test_parquet_and_csv_without_a_mapping_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="Parquet"):
        list(read_events(write(tmp_path / "a.parquet", b"PAR1")))
    with pytest.raises(FileRefused, match="--map"):
        list(read_events(write(tmp_path / "a.csv.gz", b"")))


def test_an_empty_file_has_no_events_and_no_problems(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", b"")) == ([], {}, [])
