from faust.types import TP

from engine.stream.batches import BatchScheduler
from tests.unit.stream.builders import Record

TP0, TP1 = TP("events", 0), TP("events", 1)


def _records(*offsets: int) -> list[Record]:
    return [Record(offset, 1_000 + offset, b"x") for offset in offsets]


def _scheduler(records_max: int) -> BatchScheduler:
    class Small(BatchScheduler):
        pass

    Small.records_max = records_max
    return Small()


def test_a_batch_looks_like_one_message_with_the_offset_of_its_last_record() -> None:
    ((tp, message),) = _scheduler(10).iterate({TP0: _records(3, 4, 5)})
    assert (tp, message.offset, message.partition) == (TP0, 5, 0)
    assert [record.offset for record in message.value.records] == [3, 4, 5]


def test_partitions_take_turns() -> None:
    found = _scheduler(1).iterate({TP0: _records(0, 1, 2), TP1: _records(7)})
    assert [(tp.partition, message.offset) for tp, message in found] == [
        (0, 0),
        (1, 7),
        (0, 1),
        (0, 2),
    ]


def test_each_batch_names_the_offset_it_goes_on_from() -> None:
    scheduler = _scheduler(2)
    first = [message.value.after for _, message in scheduler.iterate({TP0: _records(0, 1, 2)})]
    second = [message.value.after for _, message in scheduler.iterate({TP0: _records(3)})]
    assert (first, second) == ([None, 1], [2])


def test_a_batch_dropped_on_the_way_leaves_a_link_that_does_not_fit() -> None:
    scheduler = _scheduler(2)
    iterator = scheduler.iterate({TP0: _records(0, 1, 2, 3)})
    next(iterator)  # Faust breaks off here when the generation changes
    ((_, message),) = scheduler.iterate({TP0: _records(4)})
    assert message.value.after == 3


def test_the_first_batch_after_a_seek_says_so() -> None:
    scheduler = _scheduler(1)
    scheduler.sought(TP0, 10)
    batches = [message.value for _, message in scheduler.iterate({TP0: _records(10, 11)})]
    assert [(batch.after, batch.sought) for batch in batches] == [(9, True), (10, False)]
