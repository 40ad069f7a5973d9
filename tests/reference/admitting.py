"""What becomes of candidates: bundles, the order of checks, and what is booked; nothing of ours.

Written from design.md section 7, docs/language.md ("Bundles") and language.md ("Holds", "Cooldown",
"Caps", "Settling"). Candidates are decided in the order of the log: timers before their record,
by F.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.reference.filters import judge
from tests.reference.patterns import DAY, is_active, named

#: T9: outcomes after which nothing reached the user for certain.
GIVEN_BACK = (
    *("CANCELLED", "NO_LONGER_TRUE", "EXPIRED", "TEMPLATE_ERROR", "TEMPLATE_ABORT", "REJECTED"),
    "CONSENT",
    *("PROVIDER_ERROR", "UNREGISTERED", "COOLDOWN", "SPACING", "FREQUENCY_CAP", "QUIET_HOURS"),
)

Document = Mapping[str, Any]
#: (trigger, user, activation, at, outcome, reason)
Row = tuple[str, str, str, int, str, str | None]


def cancels(trigger: Any, record: Document, pending: Any) -> bool:
    """An `unless` event of what is pending, whenever it happened."""
    start, event = pending["start"]["message"], pending["event"]["message"]
    return any(
        named(record, clause)
        and judge(clause.get("where", {}), record["message"], start, event) is True
        for clause in trigger["unless"]
    )


class User:
    """What was admitted, and which bundles are open, as the log goes on."""

    def __init__(self, user: str, own: Sequence[Any], always_reachable: bool) -> None:
        self.user = user
        self.own = own
        self.always_reachable = always_reachable
        self.admitted: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.competing: list[dict[str, Any]] = []
        self.last_decision = 0
        self.known = 0

    def timers(self, ended: Sequence[Any], limit: int) -> Iterator[Row]:
        """What is due before `limit`, moment by moment: a full bundle may close at its last."""
        left = list(ended)
        while True:
            times = [one["due"] for one in left] + [bundle["close"] for bundle in self.open]
            times += [self.settled_at()] if self.competing else []
            due = min(times, default=limit)
            if due >= limit:
                return
            group = [one for one in left if one["due"] == due]
            left = [one for one in left if one["due"] > due]
            closing = [bundle for bundle in self.open if bundle["close"] <= due]
            self.open = [bundle for bundle in self.open if bundle["close"] > due]
            at = max(due, self.last_decision)
            for items in (bundle["waiting"] for bundle in closing):
                group.append({**items[0], "due": due, "items": items})
            if self.competing:
                self.competing += [{**one, "since": at} for one in group if competes(one)]
                group = [one for one in group if not competes(one)]
                if self.settled_at() <= due:
                    group += [{**one, "settled": True} for one in self.competing]
                    self.competing = []
            yield from self.proposed(group, due)

    def proposed(self, group: Sequence[Any], due: int) -> Iterator[Row]:
        """Candidates of one moment, by priority, id and per value."""
        at = max(due, self.last_decision)
        for one in sorted(group, key=order):
            if one["trigger"]["bundle"] and "items" not in one:
                self.collect(one, at)
            elif competes(one):
                self.competing.append({**one, "since": at})
            else:
                self.last_decision = at
                yield from self.admit(one, at)

    def settled_at(self) -> Any:
        """A window closes when the first has waited long enough, and everybody is there."""
        ends = [one["since"] + one["trigger"]["settle"] for one in self.competing]
        return max(min(ends), max(one["since"] for one in self.competing))

    def collect(self, one: Any, at: int) -> None:
        trigger = one["trigger"]
        for bundle in self.open:
            if bundle["trigger"] is trigger and len(bundle["waiting"]) < trigger["bundle_max"]:
                break
        else:
            bundle = {"trigger": trigger, "close": at + trigger["bundle"], "waiting": []}
            self.open.append(bundle)
        bundle["waiting"].append(one)
        if len(bundle["waiting"]) == trigger["bundle_max"]:
            bundle["close"] = min(bundle["close"], at)

    def admit(self, one: Any, at: int) -> Iterator[Row]:
        items = one.get("items", [one])
        cooling = [item for item in items if self.cools(item, at)]
        if 0 < len(cooling) < len(items):
            for item in cooling:
                yield self.row(item, at, "SUPPRESSED", "COOLDOWN")
            items = [item for item in items if item not in cooling]
            one = {**one, **items[0], "due": one["due"], "items": items}
        reason = self.refusal(one, at)
        if reason is None:
            expires = one["due"] + one["trigger"]["expires"][one["step"]]
            booked = {"at": at, "gone": max(expires, at) + DAY, "open": True, "given_back": False}
            self.admitted.append({**one, **booked, "pers": {item["per"] for item in items}})
        yield self.row(one, at, "SUPPRESSED" if reason else "ADMITTED", reason)
        for item in items[1:]:
            yield self.row(item, at, "SUPPRESSED" if reason else "BUNDLED", reason)

    def row(self, one: Any, at: int, outcome: str, reason: str | None) -> Row:
        return (one["trigger"]["id"], self.user, one["activation"], at, outcome, reason)

    def cancelled(self, record: Document) -> Iterator[Row]:
        """A cancel takes what it is about out of the bundles that are open."""
        for bundle in [bundle for bundle in self.open if bundle["trigger"]["unless"]]:
            gone = [one for one in bundle["waiting"] if cancels(bundle["trigger"], record, one)]
            bundle["waiting"] = [one for one in bundle["waiting"] if one not in gone]
            for one in gone:
                yield self.row(one, record["a"], "CANCELLED", None)
        for one in list(self.competing):
            items = one.get("items", [one])
            left = [
                i
                for i in items
                if not (i["trigger"]["unless"] and cancels(i["trigger"], record, i))
            ]
            for item in items:
                if item not in left:
                    yield self.row(item, record["a"], "CANCELLED", None)
            if not left:
                self.competing.remove(one)
            elif len(left) < len(items):
                again = {**left[0], "due": one["due"], "since": one["since"], "items": left}
                self.competing[self.competing.index(one)] = again
        self.open = [bundle for bundle in self.open if bundle["waiting"]]

    def cools(self, one: Any, at: int) -> bool:
        """The messages of one series do not block each other."""
        trigger = one["trigger"]
        for other in self.admitted:
            if other["given_back"] or other["trigger"] is not trigger:
                continue
            if other["activation"] == one["activation"]:
                continue
            since = at - other["at"]
            same = one["per"] in other["pers"] and since < trigger["cooldown_per"]
            if since < trigger["cooldown"] or same:
                return True
        return False

    def won(self, one: Any, at: int) -> bool:
        """Another marketing message of this moment: they compete."""
        return one["trigger"]["marketing"] and any(
            other["at"] == at and other["trigger"]["marketing"] and not other["given_back"]
            for other in self.admitted
        )

    def refusal(self, one: Any, at: int) -> str | None:
        """The order of checks: design.md section 7."""
        trigger = one["trigger"]
        if not is_active(trigger, at):
            return "PAUSED"
        if trigger["state"] in ("paused", "shadow"):
            return str(trigger["state"]).upper()
        if not self.always_reachable and not devices(self.own[: self.known]):
            return "NO_DEVICE"
        if self.cools(one, at):
            return "COOLDOWN"
        if not trigger["marketing"]:
            return None
        booked = [
            other
            for other in self.admitted
            if not other["given_back"] and other["trigger"]["marketing"] and other["at"] < at
        ]
        if any(at - other["at"] < trigger["spacing"] for other in booked):
            return "SPACING"
        for cap in trigger["caps"]:
            if cap["category"] not in (None, trigger["category"]):
                continue
            counted = [
                other
                for other in booked
                if cap["category"] in (None, other["trigger"]["category"])
                and in_window(cap, other["at"], at, trigger["zone"])
            ]
            if len(counted) >= cap["max"]:
                return "FREQUENCY_CAP"
        return "LOWER_PRIORITY" if self.won(one, at) else None

    def settle(self, record: Document) -> None:
        """The first outcome of a delivery counts, up to a day after it expired."""
        name = (record["trigger"], record["activation"], record["step"])
        for one in self.admitted:
            if name == (one["trigger"]["id"], one["activation"], one["step"]) and one["open"]:
                one["open"] = False
                one["given_back"] = record["outcome"] in GIVEN_BACK and record["a"] < one["gone"]


def decided(
    user: str, own: Sequence[Any], ended: Sequence[Any], until: int, always_reachable: bool
) -> Iterator[Row]:
    """Candidates in log order; timers before `until` after the last record."""
    state = User(user, own, always_reachable)
    for slot in range(len(own) + 1):
        mine = [one for one in ended if one["slot"] == slot]
        timers = [one for one in mine if one["timer"] and one["outcome"] is None]
        yield from state.timers(timers, own[slot]["a"] if slot < len(own) else until)
        yield from (
            state.row(one, one["due"], one["outcome"], None) for one in mine if one["outcome"]
        )
        if slot == len(own):
            break
        state.known = slot + 1
        if "outcome" in own[slot]:
            state.settle(own[slot])
        yield from state.cancelled(own[slot])
        yield from state.proposed([one for one in mine if not one["timer"]], own[slot]["a"])


def competes(one: Any) -> bool:
    """It has to wait until its settle window closes."""
    trigger = one["trigger"]
    if trigger["bundle"] and "items" not in one:
        return False
    return trigger["marketing"] and trigger["settle"] > 0 and not one.get("settled")


def in_window(cap: Any, sent: int, at: int, zone: str) -> bool:
    """In the rolling window before `at`, or on the same calendar day, week or month."""
    if cap["calendar"] is None:
        return at - sent < int(cap["per"])
    day, today = (
        datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
        for ms in (sent, at)
    )
    return calendar_key(cap["calendar"], day) == calendar_key(cap["calendar"], today)


def calendar_key(kind: str, day: date) -> date:
    """The first day of the window."""
    first = {"day": day, "week": day - timedelta(day.weekday()), "month": day.replace(day=1)}
    return first[kind]


def order(one: Any) -> tuple[Any, ...]:
    trigger = one["trigger"]
    return (-trigger["priority"], trigger["id"], one["per"], one["step"], one["activation"])


def devices(known: Sequence[Any]) -> set[str]:
    """Tokens of the events so far without those that were called dead since."""
    tokens: set[str] = set()
    for record in known:
        device = record.get("message", {}).get("context", {}).get("device")
        if device is not None:
            tokens.add(device["token"])
        tokens -= set(record.get("dead", []))
    return tokens
