"""An independent look at what was sent: was anything sent that a rule forbids? Nothing of ours.

Written from design.md sections 5 (T8, T9) and 7, language.md ("Windows", "Caps", "Cooldown",
"Holds", "Control") and docs/language.md ("Hours", "Experiments", "Texts that take turns"). Each
message is judged by those before it to the same person, without any ring and any state. Buckets are
drawn by GrowthBook's hash, version 2, written down a second time here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAY = 86_400_000
#: 100 % in the unit of shares: hundredths of a percent.
WHOLE = 10_000

#: From, until: two times of the day, `("22:00", "09:00")`.
Stretch = tuple[str, str]


@dataclass(frozen=True)
class Sent:
    """One message that went out, or may have. Times in ms.

    `after`: how many records of the log were applied before it was decided. `begun`: the client's
    time of what started it; `ready`: when it could have been decided at the latest, had it not been
    held. `zone`: the user's at that moment. `reachable`: a device was known; `refused`: they had
    said no to its category. `pers`: the values of `per` it is about.
    """

    at: int
    after: int
    profile: str
    trigger: str
    revision: int = 1
    variant: str = ""
    activation: str = ""
    pers: tuple[str, ...] = ()
    text: str = ""
    zone: str = "UTC"
    begun: int = 0
    ready: int = 0
    reachable: bool = True
    refused: bool = False


@dataclass(frozen=True)
class Merged:
    """From record number `after` on the messages of `guest` are messages of `known`."""

    at: int
    after: int
    guest: str
    known: str


@dataclass(frozen=True)
class Rules:
    """What holds for the messages of one revision of a trigger. Durations in ms, shares in buckets.

    `caps`: `{"max", "per" or "calendar", "category"}`. `arms`: the experiment's, control first,
    then by name; `until`: when it ends, 0 for never; `from_start`: its arms part at the start.
    `send_at`: by arm, "" for those that set none. `silent`: paused, or a shadow. `size` and
    `rotate` of the global control group. `below`: whose bucket under `canary` is lower gets a
    revision of an even number. `days`: the first and the last one it is active on, in `zone`.
    """

    marketing: bool = True
    category: str = ""
    spacing: int = 0
    cooldown: int = 0
    per: int = 0
    no_repeat: int = 0
    caps: Sequence[Mapping[str, Any]] = ()
    quiet: Sequence[Stretch] = ()
    send_at: Mapping[str, Stretch] = field(default_factory=dict)
    at_most: int = DAY
    silent: bool = False
    rollout: int = WHOLE
    arms: Sequence[tuple[str, int]] = ()
    until: int = 0
    from_start: bool = False
    size: int = 0
    rotate: int = 0
    below: int = 0
    days: tuple[str, str] = ("", "9999")
    zone: str = "UTC"


def violations(
    sends: Sequence[Sent], merges: Sequence[Merged], rules: Mapping[tuple[str, int], Rules]
) -> Iterator[str]:
    """Every message that one of `rules`, by trigger and revision, forbids. `sends` in the order
    they were made, which is also that of each person's times."""
    for number, sent in enumerate(sends):
        rule = rules[sent.trigger, sent.revision]
        mine = lineage(sent.profile, merges, sent.after)
        before = [other for other in sends[:number] if other.profile in mine]
        for what in (*_unwanted(sent, rule), *_alone(sent, merges, rule)):
            yield f"{what}: {sent}"
        for what in _beside(sent, before, rule, rules):
            yield f"{what}: {sent}"


def lineage(profile: str, merges: Iterable[Merged], after: int) -> set[str]:
    """The profiles that are parts of this one when so many records are applied."""
    merges = [merged for merged in merges if merged.after <= after]
    found, size = {profile}, 0
    while len(found) > size:
        size = len(found)
        found |= {merged.guest for merged in merges if merged.known in found}
    return found


def _unwanted(sent: Sent, rule: Rules) -> Iterator[str]:
    """Nobody was to get it, or not this user."""
    if rule.silent:
        yield "silent"
    if not rule.days[0] <= local(sent.at, rule.zone).strftime("%Y-%m-%d") <= rule.days[1]:
        yield "not active"
    if not sent.reachable:
        yield "no device"
    if sent.refused and rule.marketing:
        yield "consent"
    if bucket(f"rollout:{sent.trigger}", sent.profile) >= rule.rollout:
        yield "rollout"
    if (bucket("canary", sent.profile) < rule.below) == bool(sent.revision % 2):
        yield "canary"
    if rule.marketing and rule.size and in_global_control(sent.profile, sent.at, rule):
        yield "global control"
    arm = arm_of(sent, rule)
    if arm == "control":
        yield "control"
    elif arm != sent.variant:
        yield "variant"


def _alone(sent: Sent, merges: Iterable[Merged], rule: Rules) -> Iterator[str]:
    """It came at a time that is not its own."""
    if rule.marketing and any(shows(stretch, sent.at, sent.zone) for stretch in rule.quiet):
        yield "quiet hours"
    arm = arm_of(sent, rule)
    window = rule.send_at.get(arm, rule.send_at.get(""))
    if window is not None and not shows(window, sent.at, sent.zone):
        yield "send_at"
    # What is on its way to another profile is decided there, and may be held from then on.
    came = [merged.at for merged in merges if merged.after <= sent.after]
    # Of an arm without hours of its own nothing is held now: an edit may have taken them away.
    timed = window is not None or rule.quiet or not rule.send_at
    if timed and sent.at - max([sent.ready, *came]) > rule.at_most:
        yield "held too long"


def _beside(
    sent: Sent, before: Sequence[Sent], rule: Rules, rules: Mapping[tuple[str, int], Rules]
) -> Iterator[str]:
    """It came too soon after others. The messages of one series do not block each other, and what
    a guest was told before the last of them, told to be the same user only later, neither."""
    same = [other for other in before if other.trigger == sent.trigger]
    # As a cap of a category, a cooldown counts from the revision on that says so.
    timed = [other for other in same if sent.at - other.at < _known(other, sent, rules)]
    steps = [other.at for other in same if other.activation == sent.activation]
    entered = [other for other in timed if other.at > max(steps, default=-1)]
    if any(sent.at - other.at < rule.cooldown for other in entered):
        yield "cooldown"
    alike = [other for other in entered if set(other.pers) & set(sent.pers)]
    if any(sent.at - other.at < rule.per for other in alike):
        yield "cooldown per value"
    repeated = [other for other in same if sent.text and other.text == sent.text]
    if any(sent.at - other.at < rule.no_repeat for other in repeated):
        yield "text"
    if not rule.marketing:
        return
    others = [
        (other, rules[other.trigger, other.revision].category)
        for other in before
        if rules[other.trigger, other.revision].marketing
    ]
    if any(sent.at == other.at for other, _ in others):
        yield "two of one moment"
    if any(sent.at - other.at < rule.spacing for other, _ in others):
        yield "spacing"
    for cap in rule.caps:
        if cap.get("category", rule.category) != rule.category:
            continue
        counted = [other for other, category in others if cap.get("category") in (None, category)]
        if sum(_together(cap, other.at, sent) for other in counted) >= cap["max"]:
            yield f"cap {cap}"


def _known(other: Sent, sent: Sent, rules: Mapping[tuple[str, int], Rules]) -> int:
    """For how long an earlier message of the trigger is known for certain: a revision since then
    with a shorter cooldown may have forgotten it."""
    first, last = sorted((other.revision, sent.revision))
    return min(
        max(rule.cooldown, rule.per)
        for (name, revision), rule in rules.items()
        if name == sent.trigger and first <= revision <= last
    )


def _together(cap: Mapping[str, Any], at: int, sent: Sent) -> bool:
    if "calendar" not in cap:
        return bool(sent.at - at < cap["per"])
    return first_day(cap["calendar"], at, sent.zone) == first_day(
        cap["calendar"], sent.at, sent.zone
    )


def first_day(kind: str, at: int, zone: str) -> date:
    """The first day of the calendar window that `at` lies in."""
    day = local(at, zone).date()
    if kind == "week":
        return day - timedelta(days=day.isoweekday() - 1)
    return day.replace(day=1) if kind == "month" else day


def shows(stretch: Stretch, at: int, zone: str) -> bool:
    """Whether the clock on the wall shows a time within the stretch; over midnight when it ends
    earlier than it begins."""
    begin, end = stretch
    clock = local(at, zone).strftime("%H:%M")
    return begin <= clock < end if begin < end else clock >= begin or clock < end


def local(at: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).astimezone(
        ZoneInfo(zone)
    )


def arm_of(sent: Sent, rule: Rules) -> str:
    """The arm of the user in the trigger's experiment, "" where none runs."""
    at = sent.begun if rule.from_start else sent.at
    if not rule.arms or (rule.until and at >= rule.until):
        return ""
    drawn = bucket(f"experiment:{sent.trigger}", sent.profile)
    for arm, share in rule.arms:
        if drawn < share:
            return arm
        drawn -= share
    return ""


def in_global_control(profile: str, at: int, rule: Rules) -> bool:
    """A window of buckets that moves on with each month (UTC): docs/decisions/0011."""
    month = local(at, "UTC")
    begin = (month.year * 12 + month.month) * rule.rotate
    return (bucket("global_control", profile) - begin) % WHOLE < rule.size


def bucket(seed: str, value: str) -> int:
    return _fnv(str(_fnv(seed + value))) % WHOLE


def _fnv(text: str) -> int:
    made = 2_166_136_261
    for character in text:
        made = ((made ^ ord(character)) * 16_777_619) % 2**32
    return made
