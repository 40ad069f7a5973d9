"""A policy as a frozen value: what may be said to a user, how often. Its memory is in the state."""

from typing import NamedTuple

from triggers.arms import GlobalControl


class Cap(NamedTuple):
    """At most `max_count` messages: in any rolling window of `per_ms`, or in one `calendar` window
    (day, week, month) of the user's zone. `channel` None: all of them, as `category` None."""

    max_count: int
    per_ms: int
    channel: str | None = None
    category: str | None = None
    calendar: str | None = None


class CompiledPolicy(NamedTuple):
    """`spacing_ms`: since any marketing message. `cooldown_ms`: the default of marketing triggers.
    `grace_ms` None: the smaller of 60 s and a tenth of the wait (design.md T1). `settle_ms`: how
    long candidates of a user are collected before one is chosen. `zone`: of users without one.
    `opt_in_*`: what is not sent before the user has agreed to it."""

    spacing_ms: int = 0
    cooldown_ms: int = 0
    caps: tuple[Cap, ...] = ()
    grace_ms: int | None = None
    settle_ms: int = 0
    zone: str = "UTC"
    global_control: GlobalControl | None = None

    @property
    def zoned(self) -> bool:
        """Whether the user's time zone matters."""
        return any(cap.calendar for cap in self.caps)

    opt_in_channels: tuple[str, ...] = ()
    opt_in_categories: tuple[str, ...] = ()

    @property
    def opt_in(self) -> bool:
        """Something needs an agreement first."""
        return bool(self.opt_in_channels or self.opt_in_categories)


def grace_for(policy: CompiledPolicy, wait_ms: int) -> int:
    """The time beyond the deadline in which a late cancel still counts."""
    return min(60_000, wait_ms // 10) if policy.grace_ms is None else policy.grace_ms
