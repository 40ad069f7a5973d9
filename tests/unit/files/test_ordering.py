import contextlib
import gc
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files.ordering import in_order
from engine.files.reader import EVENTS
from engine.files.reading import FileEvent
from schemas.events import Event


def event(number: int) -> Event:
    return Event("track", str(number), "Seen", "u1", properties={"n": number})


@given(
    times=st.lists(st.integers(0, 8), max_size=60),
    in_memory_max=st.integers(1, 70),
    runs_max=st.integers(1, 5),
)
def test_runs_on_disk_give_what_sorting_in_memory_gives(
    times: list[int], in_memory_max: int, runs_max: int
) -> None:
    events = [FileEvent(a_ms, event(number), None) for number, a_ms in enumerate(times)]
    expected = [
        (a_ms, found.message_id) for a_ms, found, _ in sorted(events, key=lambda entry: entry[0])
    ]
    found = [
        (a_ms, e.message_id, e.properties)
        for a_ms, e, _ in in_order(events, EVENTS, in_memory_max, runs_max)
    ]
    assert [(a_ms, message_id) for a_ms, message_id, _ in found] == expected
    assert all(properties == {"n": int(message_id)} for _, message_id, properties in found)


def test_the_message_as_it_stands_survives_the_disk() -> None:
    raw = b'{"type":"track", "messageId":"x","event":"Seen","userId":"u1","more":[1, 2]}\r'
    made = [
        FileEvent(5, event(1), raw),
        FileEvent(4, event(2), None),
        FileEvent(3, event(3), None),
    ]
    found = list(in_order(made, EVENTS, 1))
    assert [(a_ms, kept) for a_ms, _, kept in found] == [(3, None), (4, None), (5, raw)]
    assert found[2][1].message_id == "x"


def test_nothing_is_left_on_disk_when_sorting_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sorting = in_order((FileEvent(n, event(n), None) for n in range(9)), EVENTS, 2)
    assert next(sorting).a_ms == 0
    assert os.listdir(tmp_path) == []
    assert open_below(tmp_path)
    sorting.close()  # type: ignore[attr-defined]
    gc.collect()
    assert open_below(tmp_path) == []


def open_below(folder: Path) -> list[str]:
    """The open files of this process in a folder, those without a name too."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if link.startswith(str(folder))]
