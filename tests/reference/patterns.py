"""When a pattern is complete, looked up in the whole history each time; nothing of ours.

Written from docs/language.md ("Patterns") and decision 0006. `activations` says of every record of
a user whether it completes the trigger's pattern: `{"slot", "key", "start", "event", "e", "per"}`,
where `start` and `event` are records and `e` is the client time of `event`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.reference.filters import ABSENT, judge, name_of, read

DAY = 86_400_000

Document = Mapping[str, Any]
#: Equal for equal values; orders numbers and booleans before texts.
Key = tuple[bool, str]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def named(record: Document, pattern: Document) -> bool:
    message = record.get("message")
    return message is not None and name_of(message) in as_list(pattern["event"])


def key_at(path: str, message: Any) -> Key | None:
    """A value as a key; None when it can be none (PER_MISSING)."""
    value = read(message, path)
    if value is ABSENT or value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return (isinstance(value, str), str(value))


def per_of(trigger: Any, record: Document) -> Key | None:
    if trigger["per"] == "user":
        return (True, "")
    if trigger["per"] == "event":
        return (True, record["message"]["messageId"])
    return key_at(trigger["per"], record["message"])


def is_active(trigger: Any, at: int) -> bool:
    """The day of `at`, by the clock of the policy, is one of those it is active on."""
    day = datetime.fromtimestamp(at // 1000, ZoneInfo(trigger["zone"])).strftime("%Y-%m-%d")
    return bool(trigger["from"] <= day <= trigger["until"])


def counts_for(trigger: Any, record: Document, pattern: Document) -> bool:
    """The event is one of these, of an active day, not late (T4, decision 3), and has what `per`
    needs."""
    if not named(record, pattern) or record["a"] - record["e"] > DAY:
        return False
    if not is_active(trigger, record["e"]):
        return False
    return per_of(trigger, record) is not None


def repeats(record: Any, acted: Sequence[Any], time: str) -> bool:
    """The same messageId within 24 h of one that was acted on (`time`: whose e or a counts)."""
    name = record["message"]["messageId"]
    return any(
        name == one["message"]["messageId"] and record["a"] - one[time] <= DAY for one in acted
    )


def activations(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    when = trigger["when"]
    if "sequence" in when:
        return sequences(trigger, own)
    if "count" in when:
        return counts(trigger, own)
    if "nth" in when:
        return nths(trigger, own)
    return singles(trigger, own)


def activation(trigger: Any, slot: int, start: Any, event: Any) -> dict[str, Any]:
    made = {"slot": slot, "key": start["message"]["messageId"], "start": start, "event": event}
    return {**made, "e": event["e"], "per": per_of(trigger, start)}


def matched(trigger: Any, own: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    when = trigger["when"]
    for slot, record in enumerate(own):
        if not counts_for(trigger, record, when):
            continue
        if judge(when.get("where", {}), record["message"], None) is True:
            yield slot, record


def singles(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for slot, record in matched(trigger, own):
        yield activation(trigger, slot, record, record)


def nths(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """In the order of the log, each message once."""
    seen: list[Any] = []
    for slot, record in matched(trigger, own):
        if repeats(record, seen, "a"):
            continue
        seen.append(record)
        per = per_of(trigger, record)
        if sum(per_of(trigger, one) == per for one in seen) == trigger["when"]["nth"]:
            yield activation(trigger, slot, record, record)


def counts(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The earliest window with the event in it that holds enough of what is not used up."""
    when, within = trigger["when"], trigger["within"]
    seen: list[Any] = []
    kept: list[tuple[Any, Any]] = []
    for slot, record in matched(trigger, own):
        message = record["message"]
        keys = [key_at(when[name], message) for name in ("same", "distinct") if name in when]
        if None in keys or repeats(record, seen, "a"):
            continue
        seen.append(record)
        group = (per_of(trigger, record), keys[0] if "same" in when else None)
        kept.append((group, record))
        mine = sorted((one for its, one in kept if its == group), key=lambda one: one["e"])
        for first in mine:
            if not first["e"] <= record["e"] < first["e"] + within:
                continue
            window = [one for one in mine if first["e"] <= one["e"] < first["e"] + within]
            found = len(window)
            if "distinct" in when:
                found = len({key_at(when["distinct"], one["message"]) for one in window})
            if found >= when["count"]:
                yield activation(trigger, slot, first, record)
                kept = [(its, one) for its, one in kept if its != group]
                break


def sequences(trigger: Any, own: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Records in client order, each a later one than the step before, none of them used up."""
    steps = trigger["when"]["sequence"]
    used: set[int] = set()
    seen: list[Any] = []
    for slot, record in enumerate(own):
        if not any(counts_for(trigger, record, step) for step in steps):
            continue
        if repeats(record, seen, "a"):
            used.add(slot)
            continue
        seen.append(record)
        per = per_of(trigger, record)
        free = [
            (one["e"], number)
            for number, one in enumerate(own[: slot + 1])
            if number not in used
            and any(counts_for(trigger, one, step) for step in steps)
            and per_of(trigger, one) == per
        ]
        order = [number for _, number in sorted(free)]
        for first in order:
            chain = chained(trigger, own, order, first)
            if chain is not None:
                yield activation(trigger, slot, own[first], own[chain])
                used |= set(order)
                break


def chained(trigger: Any, own: Sequence[Any], order: list[int], first: int) -> int | None:
    """The record that ends the sequence begun by `first`, taking the earliest for each step."""
    place, last = order.index(first), first
    for number, step in enumerate(trigger["when"]["sequence"]):
        rest = order[place + 1 :] if number else [first]
        found = [one for one in rest if is_step(trigger, step, own[one], own[first])]
        if not found:
            return None
        last = found[0]
        place = order.index(last)
    return last


def is_step(trigger: Any, step: Document, record: Any, begun: Any) -> bool:
    if not counts_for(trigger, record, step) or record["e"] - begun["e"] >= trigger["within"]:
        return False
    return judge(step.get("where", {}), record["message"], begun["message"]) is True
