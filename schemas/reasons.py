"""The closed lists: how a candidate ends and why. Source: design.md sections 7 and 9 (T9)."""

from enum import StrEnum


class Outcome(StrEnum):
    """How an activation ended in the decision record."""

    ADMITTED = "ADMITTED"
    SUPPRESSED = "SUPPRESSED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    BUNDLED = "BUNDLED"


class Reason(StrEnum):
    """Why a candidate was not admitted, how an admitted delivery ended, or what followed it."""

    NOT_ROLLED_OUT = "NOT_ROLLED_OUT"
    PAUSED = "PAUSED"
    SHADOW = "SHADOW"
    AUDIENCE = "AUDIENCE"
    CONSENT = "CONSENT"
    NO_DEVICE = "NO_DEVICE"
    COOLDOWN = "COOLDOWN"
    SPACING = "SPACING"
    FREQUENCY_CAP = "FREQUENCY_CAP"
    QUIET_HOURS = "QUIET_HOURS"
    LOWER_PRIORITY = "LOWER_PRIORITY"
    GLOBAL_CONTROL = "GLOBAL_CONTROL"
    CONTROL = "CONTROL"
    NO_FRESH_TEXT = "NO_FRESH_TEXT"
    TEMPLATE_ABORT = "TEMPLATE_ABORT"
    CANCELLED = "CANCELLED"
    NO_LONGER_TRUE = "NO_LONGER_TRUE"
    EXPIRED = "EXPIRED"
    # Reserved: a repeated delivery keeps its first and only end, so a second one would say two.
    DUPLICATE = "DUPLICATE"
    TEMPLATE_ERROR = "TEMPLATE_ERROR"
    UNREGISTERED = "UNREGISTERED"
    REJECTED = "REJECTED"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    DELIVERED = "DELIVERED"
    OPENED = "OPENED"
    CLICKED = "CLICKED"
    UNSUBSCRIBED = "UNSUBSCRIBED"


#: What is told of a delivery beside how it ended; a client's event says the same.
REACTIONS = frozenset({Reason.DELIVERED, Reason.OPENED, Reason.CLICKED, Reason.UNSUBSCRIBED})

#: A delivery that ended so never reached the user for certain: caps, cooldown and spacing are given
#: back. UNKNOWN is never in this list (design.md T9).
REFUNDED = frozenset(
    {
        Reason.CANCELLED,
        Reason.NO_LONGER_TRUE,
        Reason.CONSENT,
        Reason.EXPIRED,
        Reason.TEMPLATE_ERROR,
        Reason.TEMPLATE_ABORT,
        Reason.REJECTED,
        Reason.PROVIDER_ERROR,
        Reason.UNREGISTERED,
        Reason.COOLDOWN,
        Reason.SPACING,
        Reason.FREQUENCY_CAP,
        Reason.QUIET_HOURS,
    }
)


class Unevaluated(StrEnum):
    """Why an event that names a trigger was not evaluated against it. Counted, never a decision."""

    PER_MISSING = "PER_MISSING"
    LATE_EVENT = "LATE_EVENT"
    COULD_NOT_EVALUATE = "COULD_NOT_EVALUATE"
    REPEATED = "REPEATED"
    CONSENT = "CONSENT"
    NOT_ACTIVE = "NOT_ACTIVE"


class DeadLetterReason(StrEnum):
    """Why a record was refused. Nothing is dropped without one of these."""

    MALFORMED_JSON = "MALFORMED_JSON"
    WRONG_TYPE = "WRONG_TYPE"
    MISSING_ID = "MISSING_ID"
    MISSING_EVENT = "MISSING_EVENT"
    BAD_TIMESTAMP = "BAD_TIMESTAMP"
    ID_TOO_LONG = "ID_TOO_LONG"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    UNKNOWN_KIND = "UNKNOWN_KIND"
    FORGED = "FORGED"
    BAD_ENGINE_RECORD = "BAD_ENGINE_RECORD"
    WRONG_PARTITION = "WRONG_PARTITION"
    OWN_EVENT = "OWN_EVENT"
