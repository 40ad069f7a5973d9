"""The `seq` header of every record that an outbox publishes: `offset.page:random:number`.

It is the same when a record is published again after a crash, so consumers drop repeats by it. It
begins with the position of the shard after the commit that published it (the last applied record of
the log, and the pages of timers since), so that the last record of a lane proves how far its shard
was, whatever the store has forgotten since.
"""

from typing import NamedTuple

SEQ_HEADER = "seq"


class Marked(NamedTuple):
    """The position a mark tells."""

    offset: int
    page: int


UNMARKED = Marked(-1, 0)


def commit_mark(offset: int, page: int, unique: str) -> str:
    """The mark of a commit; `unique` tells commits of one position apart."""
    return f"{offset}.{page}:{unique}"


def record_mark(commit: str, number: int) -> bytes:
    """The header of the commit's record `number`."""
    return f"{commit}:{number}".encode()


def marked(mark: bytes | None) -> Marked:
    """What a mark tells; `UNMARKED` for none or one that is not ours."""
    position = (mark or b"").partition(b":")[0]
    offset, _, page = position.partition(b".")
    try:
        return Marked(int(offset), int(page))
    except ValueError:
        return UNMARKED
