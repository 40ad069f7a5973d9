"""The names under which a program finds the roles of an event.

A track, page or screen event has the name that triggers write (`schemas.events.event_name`).
Identify, group and alias events and engine-made entries have none: they are found under names that
no definition can hold, because they begin with a control character; a track event that claims one
of them is found under no name at all.
"""

from schemas.events import Event, event_name

RESERVED = "\x1f"
#: Every client event of a user, whatever its name.
ANY = "\x1fany"
#: An event that tells traits of the user: identify, or any other with `context.traits`.
IDENTIFY = "\x1fidentify"

_BY_TYPE = {"identify": IDENTIFY, "group": "\x1fgroup", "alias": "\x1falias"}


def role_name(event: Event) -> str | None:
    """The name an event's roles are indexed by; None when only `ANY` can want it."""
    if event.type == "track":
        name = event.event
        return None if name is not None and name[:1] == RESERVED else name
    if event.type == "signal":
        return signal_name(event.event or "")
    return _BY_TYPE.get(event.type) or event_name(event)


def is_merging(event: Event) -> bool:
    """Identify and alias events may say that two profiles are one (`triggers.merging`)."""
    return event.type == "identify" or event.type == "alias"


def signal_name(signal: str) -> str:
    """The name of an entry by signal."""
    return f"\x1fsignal:{signal}"


def outcome_name(trigger: str, stage: str) -> str:
    """The name of a stage that a delivery of `trigger` reached."""
    return f"\x1foutcome:{trigger}:{stage}"
