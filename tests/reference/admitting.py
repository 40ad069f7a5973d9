"""What becomes of candidates: bundles, the order of checks, and what is booked; nothing of ours.

Written from design.md section 7, docs/language.md ("Bundles") and language.md ("Holds", "Cooldown",
"Caps"). Candidates are decided in the order of the log: timers before their record, by F.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.reference.filters import judge
from tests.reference.patterns import DAY, named

#: T9: outcomes after which nothing reached the user for certain.
GIVEN_BACK = (
    *("CANCELLED", "NO_LONGER_TRUE", "EXPIRED", "TEMPLATE_ERROR", "TEMPLATE_ABORT", "REJECTED"),
    *("PROVIDER_ERROR", "UNREGISTERED", "COOLDOWN", "SPACING", "FREQUENCY_CAP"),
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
        self.last_decision = 0
        self.known = 0

    def timers(self, ended: Sequence[Any], limit: int) -> Iterator[Row]:
        """What is due before `limit`, moment by moment: a full bundle may close at its last."""
        left = list(ended)
        while True:
            times = [one["due"] for one in left] + [bundle["close"] for bundle in self.open]
            due = min(times, default=limit)
            if due >= limit:
                return
            group = [one for one in left if one["due"] == due]
            left = [one for one in left if one["due"] > due]
            closing = [bundle for bundle in self.open if bundle["close"] <= due]
            self.open = [bundle for bundle in self.open if bundle["close"] > due]
            at = max(due, self.last_decision)
            for bundle in closing:
                ready = []
                for one in bundle["waiting"]:
                    if self.cools(one, at):
                        yield self.row(one, at, "SUPPRESSED", "COOLDOWN")
                    else:
                        ready.append(one)
                if ready:
                    group.append({**ready[0], "due": due, "items": ready})
            yield from self.proposed(group, due)

    def proposed(self, group: Sequence[Any], due: int) -> Iterator[Row]:
        """Candidates of one moment, by priority, id and per value."""
        at = max(due, self.last_decision)
        for one in sorted(group, key=order):
            if one["trigger"]["bundle"] and "items" not in one:
                self.collect(one, at)
            else:
                self.last_decision = at
                yield from self.admit(one, at)

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

    def refusal(self, one: Any, at: int) -> str | None:
        """The order of checks: design.md section 7."""
        trigger = one["trigger"]
        if trigger["state"] in ("paused", "shadow"):
            return str(trigger["state"]).upper()
        if not self.always_reachable and not devices(self.own[: self.known]):
            return "NO_DEVICE"
        if self.cools(one, at):
            return "COOLDOWN"
        if not trigger["marketing"]:
            return None
        booked = [other for other in self.admitted if not other["given_back"]]
        ages = [at - other["at"] for other in booked if other["trigger"]["marketing"]]
        if any(age < trigger["spacing"] for age in ages):
            return "SPACING"
        for count, period in trigger["caps"]:
            if sum(age < period for age in ages) >= count:
                return "FREQUENCY_CAP"
        return None

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


def order(one: Any) -> tuple[Any, ...]:
    return (-one["trigger"]["priority"], one["trigger"]["id"], one["per"])


def devices(known: Sequence[Any]) -> set[str]:
    """Tokens of the events so far without those that were called dead since."""
    tokens: set[str] = set()
    for record in known:
        device = record.get("message", {}).get("context", {}).get("device")
        if device is not None:
            tokens.add(device["token"])
        tokens -= set(record.get("dead", []))
    return tokens
