"""A policy as a frozen value: what may be said to a user, how often. Its memory is in the state."""

from typing import NamedTuple


class Cap(NamedTuple):
    """At most `max_count` messages in a rolling window of `per_ms`; `channel` None: all."""

    max_count: int
    per_ms: int
    channel: str | None = None


class CompiledPolicy(NamedTuple):
    """`spacing_ms`: since any marketing message. `cooldown_ms`: the default of marketing triggers.
    `grace_ms` None: the smaller of 60 s and a tenth of the wait (design.md T1)."""

    spacing_ms: int = 0
    cooldown_ms: int = 0
    caps: tuple[Cap, ...] = ()
    grace_ms: int | None = None


def grace_for(policy: CompiledPolicy, wait_ms: int) -> int:
    """The time beyond the deadline in which a late cancel still counts."""
    return min(60_000, wait_ms // 10) if policy.grace_ms is None else policy.grace_ms
