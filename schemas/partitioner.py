"""Which shard a user lives in: the Java client's default partitioner.

murmur2 (32 bit, seed 0x9747b28c) of the UTF-8 key, sign bit dropped, modulo the partition count.
Emitters that use another partitioner (librdkafka's default is CRC32) are forwarded by the user
stage. Written here so that the pure core needs no Kafka client; a test compares it with aiokafka's.
"""

from struct import iter_unpack

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit murmur2 hash Kafka clients partition by."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for (k,) in iter_unpack("<I", data[:whole]):
        k = (k * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if whole < length:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(user: str, partitions: int) -> int:
    """The partition (= shard) of a user, 0 <= p < partitions."""
    return (murmur2(user.encode()) & 0x7FFFFFFF) % partitions
