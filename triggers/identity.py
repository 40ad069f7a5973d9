"""Deterministic names: the same log gives the same delivery ids, also after a crash or a replay."""

from hashlib import blake2b


def delivery_id(trigger: str, profile: str, start: str, per: str, step: int) -> str:
    """32 hex digits of H(trigger, origin profile, start messageId, per value, step).

    The revision is left out on purpose: an edit of a trigger cannot send twice
    (design.md section 4).
    """
    parts: list[bytes] = []
    for part in (trigger, profile, start, per, str(step)):
        content = part.encode()
        parts += (len(content).to_bytes(4, "big"), content)
    return blake2b(b"".join(parts), digest_size=16).hexdigest()
