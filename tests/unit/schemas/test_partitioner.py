from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitioner import murmur2, partition_of


@given(st.binary(max_size=64))
def test_murmur2_equals_the_kafka_clients(data: bytes) -> None:
    assert murmur2(data) == reference(data) & 0xFFFFFFFF


@given(st.text(min_size=1, max_size=20), st.integers(min_value=1, max_value=256))
def test_a_user_lives_in_exactly_one_of_the_partitions(user: str, partitions: int) -> None:
    assert 0 <= partition_of(user, partitions) < partitions
