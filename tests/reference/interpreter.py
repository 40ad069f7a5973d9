"""What the language means, said a second time: plain, slow, unbounded, and nothing of ours.

Written from design.md section 5, language.md ("Semantics, pinned") and docs/decisions. Nothing is
remembered from step to step that could be found in the history, and the history is never cut:

1. each trigger by itself says, from all records of a user, which of its starts end, how and when
   (absences and silences do not depend on what was admitted);
2. what is left are candidates, put in the order in which the log decides them;
3. each is admitted or refused by looking at everything that was admitted before.

A record is `{"a": append ms, "t": client ms or None, "message": Segment message}`, or an outcome:
`{"a": ms, "user": ..., "outcome": reason, "trigger": ..., "activation": ..., "step": n,
"dead": [token]}`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.reference.admitting import Row, cancels, decided
from tests.reference.patterns import DAY, activations, as_list, is_active

HOUR = 3_600_000
FOREVER = 10**18
UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": 60_000, "s": 1000, "ms": 1}
Document = Mapping[str, Any]
Endings = Iterator[dict[str, Any]]


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
        rows += decided(user, own, ended, until, always_reachable)
    return sorted(rows, key=lambda row: (row[3], row[1], row[0], row[2], row[4]))


def plain(document: Document, policies: Mapping[str, Document], registered_at: int) -> Any:
    """A trigger with defaults filled in and durations in milliseconds."""
    policy = policies.get(document.get("policy", "default"), {})
    marketing = document.get("class", "marketing") == "marketing"
    when = document["when"]
    idle = duration(when.get("idle"))
    series = document.get("series", [])
    waits = [duration(document["wait"])] if "wait" in document else []
    waits += [duration(step["after"]) for step in series]
    bundle = document.get("bundle", {})
    given = document.get("cooldown")
    if given is None:
        given = {"user": policy.get("cooldown")} if marketing else {}
    elif isinstance(given, str):
        given = {"user": given}
    fixed = policy.get("grace")

    def grace(waited: int) -> int:
        return min(60_000, waited // 10) if fixed is None else duration(fixed)

    def expires(waited: int) -> int:
        return duration(document.get("expires")) or max(waited // 2, 600_000)

    return {
        "id": document["id"],
        "state": document["state"],
        "priority": document.get("priority", 50),
        "marketing": marketing,
        "when": when,
        "within": duration(when.get("within")),
        "unless": as_list(document.get("unless", [])),
        "steps": [(wait, grace(wait)) for wait in waits],
        "bundle": duration(bundle.get("window")),
        "bundle_max": bundle.get("max", 10),
        "idle": idle,
        "grace": grace(idle),
        "per": document.get("per", "user"),
        "keep": document.get("on_repeat") == "keep",
        "at_most": duration(document.get("restart_at_most")),
        "cooldown": duration(given.get("user")),
        "cooldown_per": duration(given.get("per")),
        "spacing": duration(policy.get("spacing")),
        "caps": [
            {"calendar": None, "category": None, **cap, "per": duration(cap.get("per"))}
            for cap in policy.get("caps", [])
        ],
        "category": document.get("category", ""),
        "settle": duration(policy.get("settle")),
        "zone": policy.get("zone", "UTC"),
        "from": document.get("active", {}).get("from", ""),
        "until": document.get("active", {}).get("until", "9999"),
        "expires": [expires(wait) for wait in waits or [0]],
        "registered_at": registered_at,
    }


def duration(text: str | None) -> int:
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([a-z]+)", text or ""))


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


def endings(trigger: Any, triggers: Sequence[Any], own: Sequence[Any], until: int) -> Endings:
    """Everything this trigger has to say about one user.

    `slot` is the number of the record before which (timers) or with which it is decided.
    """
    if trigger["idle"]:
        yield from silences(trigger, triggers, own, until)
        return
    acts = list(activations(trigger, own))
    if not trigger["steps"]:
        yield from immediate(trigger, acts, own)
        return
    for per in {act["per"] for act in acts}:
        yield from absences(trigger, [act for act in acts if act["per"] == per], own, until)


def immediate(trigger: Any, acts: Sequence[Any], own: Sequence[Any]) -> Endings:
    """Each activation once: the same messageId within 24 h of the one acted on gives nothing."""
    acted: list[Any] = []
    for act in acts:
        a = own[act["slot"]]["a"]
        if any(act["key"] == one["key"] and a - one["e"] <= DAY for one in acted):
            continue
        acted.append(act)
        yield ending(trigger, act["slot"], act, a, timer=False)


def ending(trigger: Any, slot: int, act: Any, due: int, **more: Any) -> dict[str, Any]:
    values = {"activation": "", "per": (True, ""), "timer": True, "outcome": None, "step": 0}
    if act:
        values |= {"activation": act["key"], "per": act["per"]}
        values |= {"start": act["start"], "event": act["event"]}
    return {**values, "trigger": trigger, "slot": slot, "due": due, **more}


def absences(trigger: Any, acts: Sequence[Any], own: Sequence[Any], until: int) -> Endings:
    """The instances of one per value, one after the other; the messages of a series of each.

    A start without a client time of its own (none, or ahead of the log) is known by its messageId,
    and so is one that was replaced by another of the same moment.
    """
    pending: Any = None
    untimed: list[Any] = []
    ended: list[int] = []
    at = {act["slot"]: act for act in acts}
    for slot, record in enumerate(own):
        for said in spoken(trigger, pending, record["a"]):
            yield ending(trigger, slot, pending, said["due"], step=said["step"])
        if pending is not None and pending["step"] == len(trigger["steps"]):
            ended.append(pending["last"])
            pending = None
        if pending is not None and cancels(trigger, record, pending):
            yield ending(trigger, slot, pending, record["a"], outcome="CANCELLED")
            ended.append(pending["last"])
            pending = None
        act = at.get(slot)
        if act is None or any(
            act["key"] == one["key"] and record["a"] - own[one["slot"]]["a"] <= DAY
            for one in untimed
        ):
            continue
        e = act["e"]
        # What has begun to speak is restarted by a later start only, and its chain is over.
        begun = pending is not None and pending["step"] > 0
        if pending is not None and (trigger["keep"] or e < pending["e"] + begun):
            if trigger["keep"]:
                pending["last"] = max(pending["last"], e)
            continue
        if pending is None and any(e <= earlier for earlier in ended):
            continue
        if pending is not None and e == pending["e"]:
            if pending["key"] == act["key"]:
                continue
            untimed += [{**pending, "slot": slot}]
        untimed += [act] if e == record["a"] else []
        chain = e if pending is None or begun else pending["chain"]
        pending = {**act, "step": 0, "said": 0, "chain": chain, "last": e}
        if any(r["e"] >= e and cancels(trigger, r, pending) for r in own[: slot + 1]):
            yield ending(trigger, slot, pending, record["a"], outcome="CANCELLED")
            ended.append(e)
            pending = None
    for said in spoken(trigger, pending, until):
        yield ending(trigger, len(own), pending, said["due"], step=said["step"])


def spoken(trigger: Any, pending: Any, limit: int) -> Iterator[dict[str, int]]:
    """The steps of an instance that are due before `limit`; they are behind it then."""
    while pending is not None and pending["step"] < len(trigger["steps"]):
        step = pending["step"]
        after, grace = trigger["steps"][step]
        deadline = pending["e"] + after
        if trigger["at_most"] and not step:
            deadline = min(deadline, pending["chain"] + trigger["at_most"])
        due = max(deadline + grace, pending["said"] + 1)
        if due >= limit:
            return
        pending["step"], pending["said"] = step + 1, due
        yield {"step": step, "due": due}


def silences(trigger: Any, triggers: Sequence[Any], own: Sequence[Any], until: int) -> Endings:
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
        silent = all(seen_after(j) == seen for j in range(slot + 1, past))
        if silent and due < until and is_active(trigger, due):
            yield ending(trigger, past, {}, due, activation=f"idle:{seen}")
