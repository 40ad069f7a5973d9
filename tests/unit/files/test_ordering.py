import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files import FileRefused
from engine.files.ordering import RUNS_MAX, in_order
from schemas.events import Event


def event(number: int) -> Event:
    return Event("track", str(number), "Seen", "u1", properties={"n": number})


@given(times=st.lists(st.integers(0, 8), max_size=60), in_memory_max=st.integers(1, 70))
def test_runs_on_disk_give_what_sorting_in_memory_gives(
    times: list[int], in_memory_max: int
) -> None:
    events = [(a_ms, event(number), None) for number, a_ms in enumerate(times)]
    expected = [
        (a_ms, found.message_id) for a_ms, found, _ in sorted(events, key=lambda entry: entry[0])
    ]
    found = [(a_ms, e.message_id, e.properties) for a_ms, e, _ in in_order(events, in_memory_max)]
    assert [(a_ms, message_id) for a_ms, message_id, _ in found] == expected
    assert all(properties == {"n": int(message_id)} for _, message_id, properties in found)


def test_the_message_as_it_stands_survives_the_disk() -> None:
    raw = b'{"type":"track", "messageId":"x","event":"Seen","userId":"u1","more":[1, 2]}\r'
    other = event(2)
    made = [(5, event(1), raw), (4, other, None), (3, event(3), None)]
    found = list(in_order(made, 1))
    assert [(a_ms, kept) for a_ms, _, kept in found] == [(3, None), (4, None), (5, raw)]
    assert found[2][1].message_id == "x"


def test_more_than_the_disk_is_allowed_is_refused() -> None:
    with pytest.raises(FileRefused, match="too many to sort"):
        list(in_order(((n, event(n), None) for n in range(RUNS_MAX + 2)), 1))
