"""Every key and every stored field of a shard.

All keys of shard 7 start with `<prefix>{s7}:`. The braces are a Redis Cluster hash tag, so they
share one slot and one node. Behind the tag:

    m              hash    where the shard is and what it last saw
    t              zset    the timer index: user -> earliest due, ms
    u:<user>       string  the encoded state
    j:<user>       list    the journal, oldest first, the newest `JOURNAL_MAX` entries
    x              hash    the outbox: sequence number -> entry
    w              hash    deliveries withheld after a rollback: delivery id -> record
    d:<delivery>   hash    the ledger entry of an open delivery
    g:<user>       string  the gate ring, msgpack: [keep, time, delivery id, trigger, category,
                           time, ...]
    f              hash    funnel counters
    i              hash    pending instances: `trigger|revision` -> number

A key `?` is never written; the commit function asks for it to notice a slot that is being moved.
"""

from typing import NamedTuple

JOURNAL_MAX = 32
"""Journal entries kept per user."""

RING_SPARE = 8
"""A ring keeps this many claims more than the largest cap it was ever asked about, of all and of
each category."""

RING_MAX = 512
"""No ring keeps more claims; a larger cap is checked against these only."""


GHOST_MARK = "~"
"""Before the trigger of a ring's entry that is the ghost of the trigger's own control group: it
counts in that trigger's cooldown and nowhere else. No trigger's id begins so."""


class Stored(NamedTuple):
    """One stored thing. `field`: its name inside a hash, empty where the names are data.

    `replayed`: two runs over the same log must agree on it, so it is part of the digest.
    """

    name: str
    kind: str
    field: str
    replayed: bool


STORED = (
    Stored("offset", "m", "o", True),
    Stored("page", "m", "p", False),
    Stored("commit_id", "m", "c", False),
    Stored("watermark_ms", "m", "w", True),
    Stored("registry", "m", "r", True),
    Stored("next_seq", "m", "n", False),
    Stored("partitions", "m", "k", False),
    Stored("withhold_until", "m", "h", False),
    Stored("forwarded", "m", "f", True),
    Stored("withdrawn", "m", "x", True),
    Stored("timers", "t", "", True),
    Stored("states", "u", "", True),
    Stored("journal", "j", "", True),
    Stored("outbox", "x", "", False),
    Stored("withheld", "w", "", False),
    Stored("ledger_user", "d", "u", True),
    Stored("ledger_expires_ms", "d", "e", True),
    Stored("ledger_cancelled_ms", "d", "x", True),
    Stored("ledger_untrue_ms", "d", "y", True),
    Stored("ledger_refused_ms", "d", "z", True),
    Stored("ledger_claimed_ms", "d", "c", False),
    Stored("ledger_lease_ms", "d", "l", False),
    Stored("ledger_token", "d", "t", False),
    Stored("rings", "g", "", False),
    Stored("funnel", "f", "", True),
    Stored("pending", "i", "", True),
)
"""All of it. `forwarded` is one field per source partition: `f<partition>`, `withdrawn` one per
trigger: `x<trigger>`."""

KINDS = frozenset(stored.kind for stored in STORED)


def shard_tag(prefix: str, shard: int) -> str:
    """What every key of the shard starts with."""
    return f"{prefix}{{s{shard}}}:"
