"""Deterministic buckets: GrowthBook's hash, version 2, so that assignments can be compared.

Source: the GrowthBook SDK specification ("hash", version 2); its published test vectors are in the
tests. The bucket of a user under a seed never changes, so whoever is below 5 % is below 20 % too.
"""

#: Buckets are numbered from 0; one is a hundredth of a percent.
BUCKETS = 10_000

_OFFSET = 0x811C9DC5
_PRIME = 0x01000193
_UINT32 = 0xFFFFFFFF


def fnv1a32(text: str) -> int:
    """FNV-1a of 32 bits over the characters of a text."""
    value = _OFFSET
    for character in text:
        value = ((value ^ ord(character)) * _PRIME) & _UINT32
    return value


def bucket(seed: str, value: str) -> int:
    """The bucket, from 0 to 9,999, of `value` (a user) under `seed` (what it is drawn for)."""
    return fnv1a32(str(fnv1a32(seed + value))) % BUCKETS
