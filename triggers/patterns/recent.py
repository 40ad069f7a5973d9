"""Messages a pattern has counted already: a repetition within 24 h is told by its messageId.

Kept as `[mark, a]` pairs, oldest first, at most `RECENT_MAX`; the mark is 64 bits of a hash of the
messageId, because a state has no room for the ids themselves.
"""

from hashlib import blake2b

from triggers.state import MEMORY_MS

RECENT_MAX = 64

Recent = list[list[int]]


def mark_of(message_id: str, *parts: str) -> int:
    """64 bits that stand for a message, or for its part in something."""
    digest = blake2b("\x1f".join((message_id, *parts)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def is_recent(recent: Recent, mark: int, a: int) -> bool:
    """The message was counted in the last 24 h of log time."""
    return any(found == mark and a - at <= MEMORY_MS for found, at in recent)


def remember_recent(recent: Recent, mark: int, a: int) -> bool:
    """Count a message; True when the bound pushed out one that was still recent."""
    while recent and a - recent[0][1] > MEMORY_MS:
        del recent[0]
    recent.append([mark, a])
    if len(recent) <= RECENT_MAX:
        return False
    del recent[0]
    return True


def recent_until(recent: Recent) -> int:
    """The log time from which none of them is recent; 0 for an empty list."""
    return recent[-1][1] + MEMORY_MS + 1 if recent else 0
