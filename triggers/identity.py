"""Deterministic names: the same log gives the same delivery ids, also after a crash or a replay."""

from functools import lru_cache
from hashlib import blake2b


def delivery_id(trigger: str, profile: str, start: str, per: str, step: int) -> str:
    """32 hex digits of H(trigger, origin profile, start messageId, per value, step).

    The revision is left out on purpose: an edit of a trigger cannot send twice
    (design.md section 4).
    """
    hashed = _often(trigger) + _sized(profile) + _sized(start) + _sized(per) + _often(str(step))
    return blake2b(hashed, digest_size=16).hexdigest()


def _sized(part: str) -> bytes:
    content = part.encode()
    return len(content).to_bytes(4, "big") + content


@lru_cache(maxsize=4_096)
def _often(part: str) -> bytes:
    return _sized(part)
