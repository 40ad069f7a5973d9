"""Which offset may be committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.offsets import Window

_CHOICE: st.SearchStrategy[bool] = st.booleans()


@given(data=st.data(), gaps=st.lists(st.integers(1, 3), min_size=1, max_size=60))
def test_the_committed_offset_is_the_lowest_unfinished_one(
    data: st.DataObject, gaps: list[int]
) -> None:
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    window, unfinished = Window(), set(offsets)
    for offset in offsets:
        window.read(offset)
    for offset in data.draw(st.permutations(offsets)):
        window.done(offset)
        unfinished.discard(offset)
        assert window.committable == min(unfinished, default=offsets[-1] + 1)
    assert len(window) == 0


@given(data=st.data())
def test_nothing_unfinished_is_ever_skipped_while_reading_goes_on(data: st.DataObject) -> None:
    window, following, committed = Window(), 0, 0
    unfinished: list[int] = []
    for _ in range(data.draw(st.integers(1, 80))):
        if data.draw(_CHOICE) and unfinished:
            window.done(unfinished.pop(data.draw(st.integers(0, len(unfinished) - 1))))
        else:
            window.read(following)
            unfinished.append(following)
            following += 1
        offset = window.committable
        assert offset is not None
        assert offset >= committed
        assert offset <= min(unfinished, default=following)
        committed = offset


def test_before_anything_was_read_there_is_nothing_to_commit() -> None:
    assert Window().committable is None


def test_what_stands_behind_an_unfinished_offset_counts_into_the_window() -> None:
    window = Window()
    for offset in range(10):
        window.read(offset)
    for offset in range(1, 10):
        window.done(offset)
    assert len(window) == 10
    window.done(0)
    assert len(window) == 0


def test_a_partition_given_away_ignores_what_ends_late() -> None:
    window = Window()
    window.read(5)
    window.close()
    window.done(5)
    assert len(window) == 0
    assert window.leaving


def test_an_offset_read_twice_is_refused() -> None:
    window = Window()
    window.read(5)
    with pytest.raises(ValueError, match="offset 5"):
        window.read(5)
