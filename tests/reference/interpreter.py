"""What the language means, said a second time: plain, slow, unbounded, and nothing of ours.

Written from design.md section 5, language.md ("Semantics, pinned") and docs/decisions. Nothing is
remembered from step to step that could be found in the history, and the history is never cut:

1. each trigger by itself says, from all records of a user, which of its starts end, how and when
   (absences and silences do not depend on what was admitted);
2. what is left are candidates, put in the order in which the log decides them;
3. each is admitted or refused by looking at everything that was admitted before.

A record is `{"a": append ms, "t": client ms or None, "message": Segment message}`, or an outcome:
`{"a": ms, "user": ..., "outcome": reason, "trigger": ..., "activation": ..., "dead": [token]}`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.reference.filters import ABSENT, judge, name_of, read

HOUR = 3_600_000
DAY = 24 * HOUR
FOREVER = 10**18
UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": 60_000, "s": 1000, "ms": 1}
#: T9: outcomes after which nothing reached the user for certain.
GIVEN_BACK = (
    *("CANCELLED", "NO_LONGER_TRUE", "EXPIRED", "TEMPLATE_ERROR", "TEMPLATE_ABORT", "REJECTED"),
    *("PROVIDER_ERROR", "UNREGISTERED", "COOLDOWN", "SPACING", "FREQUENCY_CAP"),
)

Document = Mapping[str, Any]
#: (trigger, user, activation, at, outcome, reason)
Row = tuple[str, str, str, int, str, str | None]


def interpret(
    documents: Sequence[Document],
    policies: Mapping[str, Document],
    log: Sequence[Document],
    *,
    until: int | None = None,
    registered_at: int = 0,
    always_reachable: bool = False,
) -> list[Row]:
    """Every decision of the log, with all timers before `until` fired (default: the last append
    time), sorted."""
    triggers = [plain(d, policies, registered_at) for d in documents if d.get("state") != "draft"]
    records = monotone(log)
    if until is None:
        until = records[-1]["a"] if records else 0
    rows: list[Row] = []
    for user in sorted({record["user"] for record in records}):
        own = [record for record in records if record["user"] == user]
        ended: list[dict[str, Any]] = []
        for trigger in triggers:
            ended += endings(trigger, triggers, own, until)
        rows += decided(user, own, ended, always_reachable)
    return sorted(rows, key=lambda row: (row[3], row[1], row[0], row[2], row[4]))


def plain(document: Document, policies: Mapping[str, Document], registered_at: int) -> Any:
    """A trigger with defaults filled in and durations in milliseconds."""
    policy = policies.get(document.get("policy", "default"), {})
    marketing = document.get("class", "marketing") == "marketing"
    wait = duration(document.get("wait"))
    idle = duration(document["when"].get("idle"))
    given = document.get("cooldown")
    if given is None:
        given = {"user": policy.get("cooldown")} if marketing else {}
    elif isinstance(given, str):
        given = {"user": given}
    grace = policy.get("grace")
    waited = wait or idle
    return {
        "id": document["id"],
        "state": document["state"],
        "priority": document.get("priority", 50),
        "marketing": marketing,
        "when": document["when"],
        "unless": as_list(document.get("unless", [])),
        "wait": wait,
        "idle": idle,
        "grace": min(60_000, waited // 10) if grace is None else duration(grace),
        "per": document.get("per", "user"),
        "keep": document.get("on_repeat") == "keep",
        "at_most": duration(document.get("restart_at_most")),
        "cooldown": duration(given.get("user")),
        "cooldown_per": duration(given.get("per")),
        "spacing": duration(policy.get("spacing")),
        "caps": [(cap["max"], duration(cap["per"])) for cap in policy.get("caps", [])],
        "expires": duration(document.get("expires")) or max(wait // 2, 600_000),
        "registered_at": registered_at,
    }


def duration(text: str | None) -> int:
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([a-z]+)", text or ""))


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def monotone(log: Sequence[Document]) -> list[dict[str, Any]]:
    """Records with their user, `a` that never goes back, and `e` = client time, at most `a`."""
    records: list[dict[str, Any]] = []
    latest = 0
    for record in log:
        latest = max(latest, record["a"])
        message = record.get("message")
        user = record["user"] if message is None else message["userId"]
        t = record.get("t")
        e = latest if t is None else min(t, latest)
        records.append({**record, "a": latest, "e": e, "user": user})
    return records


def named(record: Document, pattern: Document) -> bool:
    message = record.get("message")
    return message is not None and name_of(message) in as_list(pattern["event"])


def is_start(trigger: Any, record: Document) -> bool:
    """The event matches and is not late (T4, decision 3); missing `per` values are not."""
    when = trigger["when"]
    if "event" not in when or not named(record, when) or record["a"] - record["e"] > DAY:
        return False
    if per_of(trigger, record) is None:
        return False
    return judge(when.get("where", {}), record["message"], None) is True


def per_of(trigger: Any, record: Document) -> tuple[bool, str] | None:
    """Equal for equal values; orders numbers and booleans before texts."""
    if trigger["per"] == "user":
        return (True, "")
    if trigger["per"] == "event":
        return (True, record["message"]["messageId"])
    value = read(record["message"], trigger["per"])
    if value is ABSENT or value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return (isinstance(value, str), str(value))


def cancels(trigger: Any, record: Document, start: Document) -> bool:
    return any(
        named(record, clause)
        and judge(clause.get("where", {}), record["message"], start["message"]) is True
        for clause in trigger["unless"]
    )


def endings(
    trigger: Any, triggers: Sequence[Any], own: Sequence[Any], until: int
) -> Iterator[dict[str, Any]]:
    """Everything this trigger has to say about one user.

    `slot` is the number of the record before which (timers) or with which it is decided.
    """
    if trigger["idle"]:
        yield from silences(trigger, triggers, own, until)
    elif not trigger["wait"]:
        yield from immediate(trigger, own)
    else:
        starts = [record for record in own if is_start(trigger, record)]
        for per in {per_of(trigger, record) for record in starts}:
            yield from absences(trigger, per, own, until)


def ending(trigger: Any, slot: int, start: Any, due: int, **more: Any) -> dict[str, Any]:
    values = {"activation": "", "per": (True, ""), "timer": True, "outcome": None}
    if "message" in start:
        values |= {"activation": start["message"]["messageId"], "per": per_of(trigger, start)}
    return {**values, "trigger": trigger, "slot": slot, "due": due, **more}


def immediate(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Each start once: the same messageId within 24 h of the one acted on gives nothing."""
    acted: list[Any] = []
    for slot, record in enumerate(own):
        if not is_start(trigger, record):
            continue
        if repeats(record, acted, "e"):
            continue
        acted.append(record)
        yield ending(trigger, slot, record, record["a"], timer=False)


def repeats(record: Any, acted: Sequence[Any], time: str) -> bool:
    """The same messageId within 24 h of one that was acted on (`time`: whose e or a counts)."""
    name = record["message"]["messageId"]
    return any(
        name == one["message"]["messageId"] and record["a"] - one[time] <= DAY for one in acted
    )


def absences(trigger: Any, per: Any, own: Sequence[Any], until: int) -> Iterator[dict[str, Any]]:
    """The instances of one per value, one after the other.

    A start without a client time of its own (none, or ahead of the log) is known by its messageId.
    """
    pending: Any = None
    untimed: list[Any] = []
    chain = due = 0
    ended: list[int] = []
    for slot, record in enumerate(own):
        if pending is not None and due < record["a"]:
            yield ending(trigger, slot, pending, due)
            ended.append(pending["e"])
            pending = None
        if pending is not None and cancels(trigger, record, pending):
            yield ending(trigger, slot, pending, record["a"], outcome="CANCELLED")
            ended.append(pending["e"])
            pending = None
        if not is_start(trigger, record) or per_of(trigger, record) != per:
            continue
        e = record["e"]
        if repeats(record, untimed, "a"):
            continue
        if pending is not None and (trigger["keep"] or e < pending["e"]):
            continue
        if pending is None and any(e <= earlier for earlier in ended):
            continue
        untimed += [record] if e == record["a"] else []
        chain = e if pending is None else chain
        pending = record
        deadline = e + trigger["wait"]
        if trigger["at_most"]:
            deadline = min(deadline, chain + trigger["at_most"])
        due = deadline + trigger["grace"]
        if any(r["e"] >= e and cancels(trigger, r, record) for r in own[: slot + 1]):
            yield ending(trigger, slot, record, record["a"], outcome="CANCELLED")
            ended.append(e)
            pending = None
    if pending is not None and due < until:
        yield ending(trigger, len(own), pending, due)


def silences(
    trigger: Any, triggers: Sequence[Any], own: Sequence[Any], until: int
) -> Iterator[dict[str, Any]]:
    """Each last activity that nothing followed in time; T7 rounds it up to a granule."""
    shortest = min(other["idle"] for other in triggers if other["idle"])
    granule = max(1, min(shortest // 168, HOUR))

    def seen_after(slot: int) -> int:
        times = [record["e"] for record in own[: slot + 1] if "message" in record]
        return max([-(-e // granule) * granule for e in times], default=0)

    for slot in range(len(own)):
        seen = seen_after(slot)
        if seen == seen_after(slot - 1) or seen < trigger["registered_at"]:
            continue
        due = seen + trigger["idle"] + trigger["grace"]
        later = range(slot + 1, len(own))
        past = next((j for j in later if own[j]["a"] > due), len(own))
        if all(seen_after(j) == seen for j in range(slot + 1, past)) and due < until:
            yield ending(trigger, past, {}, due, activation=f"idle:{seen}")


def decided(
    user: str, own: Sequence[Any], ended: Sequence[Any], always_reachable: bool
) -> Iterator[Row]:
    """Candidates in log order: timers before their record, by F; one moment by priority, id."""
    admitted: list[dict[str, Any]] = []
    last_decision = 0
    for slot in range(len(own) + 1):
        mine = [one for one in ended if one["slot"] == slot]
        for timer in (True, False):
            if not timer and slot < len(own) and "outcome" in own[slot]:
                settle(own[slot], admitted)
            for one in sorted((o for o in mine if o["timer"] is timer), key=order):
                trigger = one["trigger"]
                name = (trigger["id"], user, one["activation"])
                if one["outcome"] is not None:
                    yield (*name, one["due"], one["outcome"], None)
                    continue
                at = last_decision = max(one["due"], last_decision)
                known = own[: slot if timer else slot + 1]
                reachable = always_reachable or bool(devices(known))
                reason = refusal(one, at, admitted, reachable)
                if reason is None:
                    gone = max(one["due"] + trigger["expires"], at) + DAY
                    booked = {"at": at, "gone": gone, "open": True, "given_back": False}
                    admitted.append({**one, **booked})
                yield (*name, at, "SUPPRESSED" if reason else "ADMITTED", reason)


def order(one: Any) -> tuple[Any, ...]:
    return (one["due"], -one["trigger"]["priority"], one["trigger"]["id"], one["per"])


def devices(known: Sequence[Any]) -> set[str]:
    """Tokens of the events so far without those that were called dead since."""
    tokens: set[str] = set()
    for record in known:
        device = record.get("message", {}).get("context", {}).get("device")
        if device is not None:
            tokens.add(device["token"])
        tokens -= set(record.get("dead", []))
    return tokens


def settle(record: Document, admitted: Sequence[dict[str, Any]]) -> None:
    """The first outcome of a delivery counts, up to a day after it expired."""
    for one in admitted:
        name = (one["trigger"]["id"], one["activation"])
        if name == (record["trigger"], record["activation"]) and one["open"]:
            one["open"] = False
            one["given_back"] = record["outcome"] in GIVEN_BACK and record["a"] < one["gone"]


def refusal(one: Any, at: int, admitted: Sequence[Any], reachable: bool) -> str | None:
    """The order of checks: design.md section 7."""
    trigger = one["trigger"]
    if trigger["state"] in ("paused", "shadow"):
        return str(trigger["state"]).upper()
    if not reachable:
        return "NO_DEVICE"
    booked = [other for other in admitted if not other["given_back"]]
    for other in booked:
        if other["trigger"]["id"] != trigger["id"]:
            continue
        since = at - other["at"]
        same = other["per"] == one["per"] and since < trigger["cooldown_per"]
        if since < trigger["cooldown"] or same:
            return "COOLDOWN"
    if not trigger["marketing"]:
        return None
    ages = [at - other["at"] for other in booked if other["trigger"]["marketing"]]
    if any(age < trigger["spacing"] for age in ages):
        return "SPACING"
    for count, period in trigger["caps"]:
        if sum(age < period for age in ages) >= count:
            return "FREQUENCY_CAP"
    return None
