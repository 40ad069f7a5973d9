"""An independent look at what was sent: was anything sent that a limit forbids? Nothing of ours.

Written from design.md sections 5 (T9) and 7 and language.md ("Windows", "Caps", "Cooldown",
"Settling"). Each send is judged by those before it to the same profile, without any ring.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Sent:
    """One message that went out, or may have. Times in ms; `zone`: the user's at that moment."""

    at: int
    profile: str
    trigger: str
    category: str
    marketing: bool
    per: str
    zone: str
    text: str = ""


@dataclass(frozen=True)
class Merged:
    """From `at` on the messages of `guest` are messages of `known`."""

    at: int
    guest: str
    known: str


def violations(
    sends: Sequence[Sent], merges: Sequence[Merged], policy: Mapping[str, Any]
) -> Iterator[str]:
    """Every send that a limit of `policy` (durations in ms) forbids. `sends` in the order they were
    made, which is also that of each profile's times."""
    for number, sent in enumerate(sends):
        known = {sent.profile} | {
            merged.guest
            for merged in merges
            if merged.known == sent.profile and merged.at <= sent.at
        }
        before = [other for other in sends[:number] if other.profile in known]
        for what in _broken(sent, before, policy):
            yield f"{what}: {sent}"


def _broken(sent: Sent, before: Sequence[Sent], policy: Mapping[str, Any]) -> Iterator[str]:
    same = [other for other in before if other.trigger == sent.trigger]
    if any(sent.at - other.at < policy["cooldown"] for other in same if sent.marketing):
        yield "cooldown"
    if any(sent.at - other.at < policy["per"] for other in same if other.per == sent.per):
        yield "cooldown per value"
    repeated = [other for other in same if sent.text and other.text == sent.text]
    if any(sent.at - other.at < policy["no_repeat"] for other in repeated):
        yield "text"
    if not sent.marketing:
        return
    others = [other for other in before if other.marketing]
    if any(sent.at == other.at for other in others):
        yield "two of one moment"
    if any(sent.at - other.at < policy["spacing"] for other in others):
        yield "spacing"
    for cap in policy["caps"]:
        if cap.get("category", sent.category) != sent.category:
            continue
        counted = [other for other in others if cap.get("category") in (None, other.category)]
        if sum(_together(cap, other.at, sent) for other in counted) >= cap["max"]:
            yield f"cap {cap}"


def _together(cap: Mapping[str, Any], at: int, sent: Sent) -> bool:
    if "calendar" not in cap:
        return bool(sent.at - at < cap["per"])
    return first_day(cap["calendar"], at, sent.zone) == first_day(
        cap["calendar"], sent.at, sent.zone
    )


def first_day(kind: str, at: int, zone: str) -> date:
    """The first day of the calendar window that `at` lies in."""
    day = datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    if kind == "week":
        return day - timedelta(days=day.isoweekday() - 1)
    return day.replace(day=1) if kind == "month" else day
