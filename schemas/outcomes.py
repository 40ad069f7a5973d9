"""The outcomes topic: what became of each delivery, once per kind, as it was counted.

A row is written by the commit that counted it, so the funnel's counters from ACCEPTED on are a
recount of these rows, and those before it one of the decisions (`triggers.funnel`).
"""

from enum import StrEnum

import msgspec

from schemas.decisions import utc

#: The channel of every delivery of this version.
PUSH = "push"


class Reaction(StrEnum):
    """What may follow a delivery, in the funnel's order; each counts once per delivery."""

    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    CONVERTED = "converted"
    UNSUBSCRIBED = "unsubscribed"


#: Rows of a user who counts for a readout, whatever is credited: the exposure, a goal, an
#: unsubscribe.
EXPOSED = "exposed"
GOAL = "goal"
UNSUBSCRIBER = "unsubscriber"


class OutcomeRow(msgspec.Struct, frozen=True, gc=False):
    """One thing that became of a delivery.

    `kind`: how the delivery ended (a `Reason` in lower case, `withheld` for a ghost), a `Reaction`,
    or `exposed`, `goal` and `unsubscriber`, which have no delivery and no channel: `variant` is the
    user's arm. `at_ms` is log time. `value` is in millionths.
    """

    kind: str
    delivery_id: str
    trigger: str
    revision: int
    variant: str
    channel: str
    user: str
    at_ms: int
    value: int = 0


class _Row(msgspec.Struct, frozen=True, gc=False):
    """The record as it is written."""

    version: int
    kind: str
    delivery_id: str
    trigger: str
    revision: int
    variant: str
    channel: str
    user: str
    at: str
    value: int


_encoder = msgspec.json.Encoder()


def outcome_record(row: OutcomeRow) -> bytes:
    """The value written to the outcomes topic."""
    return _encoder.encode(
        _Row(
            1,
            row.kind,
            row.delivery_id,
            row.trigger,
            row.revision,
            row.variant,
            row.channel,
            row.user,
            utc(row.at_ms),
            row.value,
        )
    )
