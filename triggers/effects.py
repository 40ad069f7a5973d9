"""What a decision wants done: the commands of the pure core, collected per batch.

`triggers.decide` appends, the shell (live, backtest or test) carries out. Nothing here is bounded
by itself: a batch is.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import astuple

from schemas.decisions import Decision
from schemas.outcomes import PUSH, OutcomeRow
from schemas.reasons import Reason, Unevaluated
from schemas.records import OutcomeRecord
from triggers.admission import Candidate
from triggers.program import CompiledTrigger
from triggers.state import UserState


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """An admitted candidate: everything a delivery record needs that the log decides.

    `text` names the message of a series or a rotation, `step` tells which one of a series it is.
    `items` are the (`$start`, `$event`) fields of a bundle. `category`: whose own caps it counts
    for. `zone`: the user's, or that of the policy. `closed`: when it must not be sent, as from,
    until, from, until ... `variant`: the arm of the experiment. `ghost`: CONTROL or GLOBAL_CONTROL
    for one that ends so instead of being sent.
    """

    trigger: CompiledTrigger
    user: str
    activation: str
    delivery_id: str
    decided_at_ms: int
    expires_at_ms: int
    caused_at_ms: int
    devices: tuple[tuple[str, str], ...]
    start_fields: dict[str, object]
    event_fields: dict[str, object]
    step: int = 0
    text: str = ""
    items: tuple[tuple[dict[str, object], dict[str, object]], ...] = ()
    category: str = ""
    zone: ZoneInfo | None = None
    closed: tuple[int, ...] = ()
    variant: str = ""
    ghost: str = ""

    @property
    def reader_zone(self) -> str:
        """The IANA name of the zone that the texts ask for, "" when they do not."""
        return self.zone.key if self.zone is not None and self.trigger.tells_time else ""


class Reached(NamedTuple):
    """A counted delivery that reached somebody, or may have, and when the gate let it go.

    `category`: that of the trigger, when it has caps of its own.
    """

    user: str
    delivery_id: str
    trigger: str
    claimed_at_ms: int
    category: str = ""


class Journal(msgspec.Struct, frozen=True, gc=False):
    """One line of a user's journal: what happened to a trigger, and by which message."""

    user: str
    at_ms: int
    trigger: str
    what: str
    by: str


class Merge(NamedTuple):
    """Two profiles are one. `moved` None: tell the anonymous one; else what it held goes to the
    known one. `outcome`: of a delivery of the anonymous one, told to the known one."""

    anonymous: str
    known: str
    a: int
    moved: UserState | None = None
    outcome: OutcomeRecord | None = None


class FunnelKey(msgspec.Struct, frozen=True, gc=False):
    """Funnel counters are kept per trigger, revision, variant, UTC day and channel ("" before
    there is one)."""

    trigger: str
    revision: int
    variant: str
    day: int
    stage: str
    channel: str = PUSH


def counter_name(key: FunnelKey) -> str:
    """The name under which a counter is stored; no part of it holds a `|`."""
    return "|".join(map(str, astuple(key)))


class Recall(NamedTuple):
    """A delivery called back at log time `at_ms`: CANCELLED, NO_LONGER_TRUE (`still`), CONSENT."""

    delivery_id: str
    at_ms: int
    reason: Reason = Reason.CANCELLED


@dataclass(slots=True)
class Effects:
    """The commands of one batch, in the order they were decided.

    `forgotten`: users of whom nothing was left, and how many journal lines there were then: the
    lines before that go, too. `pending`: instances more or less, by trigger and the revision they
    were armed under. `given_back`: (profile, delivery of its guest) whose claim goes from
    the profile's ring. `on_admission` sees each candidate, the state and the decision time right
    before the checks; only `explain` asks for it.
    """

    decisions: list[Decision] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    deliveries: list[Admitted] = field(default_factory=list)
    cancelled: list[Recall] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    given_back: list[tuple[str, str]] = field(default_factory=list)
    pending: Counter[tuple[str, int]] = field(default_factory=Counter)
    journal: list[Journal] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    forgotten: dict[str, int] = field(default_factory=dict)
    funnel: Counter[FunnelKey] = field(default_factory=Counter)
    unevaluated: Counter[tuple[str, Unevaluated]] = field(default_factory=Counter)
    evicted: Counter[str] = field(default_factory=Counter)
    fired_ms: list[int] = field(default_factory=list)
    on_admission: Callable[[Candidate, UserState, int], None] | None = None
