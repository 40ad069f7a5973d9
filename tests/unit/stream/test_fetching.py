from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from engine.stream.fetching import SmallRecords

HEADERS = [("kind", b"tick")]


def _fetched() -> PartitionRecords:
    """Three records as a broker sends them, asked for from the second one on."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 16,
    )
    for number, headers in enumerate(([], HEADERS, [])):
        key = None if number == 2 else b"ann"
        builder.append(number, 1_000 + number, key, b"value-%d" % number, headers)
    records = MemoryRecords(bytes(builder.build()))
    where = TopicPartition("events", 3)
    return PartitionRecords(where, records, None, 1, None, None, True, 0)


def test_a_small_record_says_what_the_clients_own_one_says() -> None:
    theirs, ours = list(_fetched()), _fetched()
    ours.__class__ = SmallRecords
    small = list(ours)
    assert [record.offset for record in small] == [1, 2]
    names = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value")
    for one, other in zip(theirs, small, strict=True):
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
        assert tuple(one.headers) == other.headers
    assert ours.next_fetch_offset == 3
