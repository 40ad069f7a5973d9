"""Random policies, triggers and histories for the scan of what was sent.

`Setup` holds what an author could have written, in plain values: `documents` and `policies` are
that for the core, `rules` the same for the scan (`tests.reference.limits`). Every choice is
`pick(values)`, as in `workloads`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.reference.limits import Rules, local
from tests.reference.workloads import Pick, Step
from triggers.durations import format_duration

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
PEOPLE = ("ann", "guest", "tab")
#: Before a change of the clocks, and before the end of a month and a year.
STARTS = ("2025-03-29T20:00", "2025-10-24T20:00", "2025-12-30T20:00", "2024-02-28T20:00")
#: The clocks of Cairo and Nuuk change at midnight; the others lie far apart, Lord Howe's by half an
#: hour. Of the last one nobody knows.
ZONES = (
    *("UTC", "Africa/Cairo", "America/Nuuk", "Pacific/Kiritimati", "America/New_York"),
    *("Australia/Lord_Howe", "Mars/Olympus"),
)
GAPS = (0, 0, 1, MINUTE, 10 * MINUTE, HOUR, HOUR, 5 * HOUR, 23 * HOUR, DAY, 6 * DAY)
LAGS = (0, 0, 0, HOUR, 20 * HOUR, 3 * DAY)
CAPS: tuple[dict[str, Any], ...] = (
    {"max": 1, "per": 3 * HOUR},
    {"max": 2, "per": DAY},
    {"max": 1, "calendar": "day"},
    {"max": 3, "calendar": "week"},
    {"max": 4, "calendar": "month"},
    {"max": 1, "per": 2 * DAY, "category": "news"},
    {"max": 1, "calendar": "day", "category": "news"},
    {"max": 2, "calendar": "week", "category": "offers"},
)
QUIETS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("22:00", "09:00"),),
    (("22:00", "02:30"),),
    (("00:00", "01:00"),),
    (("23:59", "00:01"), ("12:00", "20:00")),
    (("01:30", "23:45"),),
)
AT_MOST = (DAY, 12 * HOUR, HOUR, 3 * DAY)
WINDOWS = (("12:00", "20:00"), ("23:00", "01:00"), ("02:00", "02:45"), ("00:00", "12:00"))
EVENTS = ("Opened", "Added", "Viewed", "Read", "Joined", "Ordered")
#: How a delivery may end.
ENDS = (
    *("ACCEPTED",) * 4,
    *("UNKNOWN", "REJECTED", "EXPIRED", "CANCELLED", "QUIET_HOURS"),
    *("UNREGISTERED", "FREQUENCY_CAP", "TEMPLATE_ERROR"),
)
PUSH = {"push": {"title": "a", "body": "b"}}
WAITS = {"cart": HOUR, "welcome": HOUR}
BUNDLE = 10 * MINUTE
#: Triggers that have `active` where any has.
TIMED = ("quick", "cart", "lunch", "bundled", "welcome", "silence")
#: Triggers under the second policy.
OTHERS = ("welcome", "lunch", "left", "some")


@dataclass(frozen=True)
class Setup:
    """`values`: of each policy and of the triggers. `number`: which users, as buckets have it.
    `start`: when it was registered. `edits`: how many were before it."""

    start: int
    number: int
    values: Mapping[str, Any]
    edits: int = 0

    @property
    def revision(self) -> int:
        """Of all triggers; the canary has the next one."""
        return 2 * self.edits + 1

    def edited(self, at: int, values: Mapping[str, Any]) -> "Setup":
        """All of it registered anew. What counts messages stays: that of more than was counted so
        far nothing is known."""
        policies = {
            name: {**self.values[name], **values["policy"]} for name in ("default", "other")
        }
        own = {name: value for name, value in values.items() if name != "policy"}
        made = {**self.values, **policies, **own}
        return replace(self, start=at, values=made, edits=self.edits + 1)

    def name(self, person: str) -> str:
        return f"{person}-{self.number}"

    def policy(self, trigger: str) -> Mapping[str, Any]:
        """The values of the policy of a trigger."""
        return dict(self.values[self._named(trigger)])

    def policies(self) -> dict[str, dict[str, Any]]:
        return {name: self._policy(self.values[name]) for name in ("default", "other")}

    def _policy(self, of: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "grace": "0s",
            "spacing": format_duration(of["spacing"]),
            "cooldown": format_duration(of["cooldown"]),
            "settle": format_duration(of["settle"]),
            "zone": of["zone"],
            "caps": [
                {**cap, "per": format_duration(cap["per"])} if "per" in cap else cap
                for cap in of["caps"]
            ],
        }
        if of["quiet"]:
            made["quiet"] = [list(stretch) for stretch in of["quiet"]]
        if of["group"]:
            made["global_control"] = {"size": share(of["group"]), "rotate": share(of["group"] // 3)}
        return made

    def documents(self) -> list[dict[str, Any]]:
        """Triggers of every kind; those of one event compete."""
        v = self.values
        found: list[dict[str, Any]] = [
            {"id": "quick", "when": {"event": "Opened"}, "category": "news"},
            self._first(),
            self._cart(),
            {
                "id": "bundled",
                "when": {"event": "Viewed"},
                "per": "properties.item",
                "bundle": {"window": format_duration(BUNDLE), "max": 3},
                "cooldown": {"per": format_duration(v["per"])},
                # Only what a text names is kept.
                "message": {
                    "push": {"title": "a", "body": "{{ items.first.start.properties.item }}"}
                },
            },
            {
                "id": "welcome",
                "when": {"event": "Joined"},
                "series": [{"after": "1h", "message": "m1"}, {"after": "2h", "message": "m2"}],
                "messages": {"m1": PUSH, "m2": PUSH},
            },
            {
                "id": "lunch",
                "when": {"event": "Read"},
                "category": "news",
                "send_at": {"between": list(v["window"])},
            },
            {"id": "habit", "when": {"event": "Read"}, "send_at": "usual_hour", "priority": 60},
            {"id": "thanks", "when": {"outcome": "accepted", "trigger": "first"}},
            {"id": "some", "when": {"event": "Read"}, "rollout": "50%", "priority": 70},
            {"id": "receipt", "when": {"event": "Ordered"}, "class": "transactional"},
            {
                "id": "bill",
                "when": {"event": "Ordered"},
                "class": "transactional",
                "send_at": {"between": list(v["window"])},
            },
            {"id": "hidden", "when": {"event": "Opened"}, "state": "shadow", "priority": 99},
            {"id": "off", "when": {"event": "Opened"}, "state": "paused", "priority": 99},
        ]
        if v["silences"]:
            found += [
                {"id": "silence", "when": {"idle": "1d"}, "category": "offers"},
                {"id": "left", "when": {"session": "end", "gap": "1h"}},
            ]
        hold = {"for": v["holds"], "at_most": format_duration(v["at_most"])}
        made = [
            {"state": "live", "hold": hold, **document, "policy": self._named(document["id"])}
            for document in found
        ]
        for document in made:
            if document["id"] in v["silent"]:
                document["state"] = v["silent"][document["id"]]
            if document["id"] in v["days"]:
                document["active"] = dict(zip(("from", "until"), self._days(), strict=True))
        return made

    def _days(self) -> tuple[str, str]:
        """The day after the registration and the two after that."""
        first, last = (local(self.start + number * DAY, "UTC").date() for number in (1, 3))
        return first.isoformat(), last.isoformat()

    def _named(self, trigger: str) -> str:
        return "other" if trigger in OTHERS else "default"

    def _first(self) -> dict[str, Any]:
        """With an experiment that changes when it is sent, and texts that take turns."""
        made = {
            "id": "first",
            "when": {"event": "Opened"},
            "priority": 80,
            "category": "offers",
            "messages": {"m1": PUSH, "m2": PUSH},
            "rotate": {
                "texts": ["m1", "m2"],
                "no_repeat": format_duration(self.values["no_repeat"]),
            },
        }
        if self.values["control"]:
            later = {"send_at": {"between": list(self.values["window"])}}
            made["experiment"] = self._experiment({"b": later} if self.values["shifts"] else {})
        return made

    def _cart(self) -> dict[str, Any]:
        cooldown = {"user": self.values["default"]["cooldown"], "per": self.values["per"]}
        made = {
            "id": "cart",
            "when": {"event": "Added"},
            "unless": {"event": "Ordered"},
            "wait": format_duration(WAITS["cart"]),
            "per": "properties.item",
            "category": "news",
            "cooldown": {name: format_duration(ms) for name, ms in cooldown.items()},
            "message": {"push": {"title": "a", "body": "{{ start.properties.item }}"}},
        }
        if self.values["control"]:
            made["experiment"] = self._experiment({"b": {"wait": "3h"}})
        return made

    def _experiment(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        control = self.values["control"]
        weights = {"a": 5_000, "b": 5_000 - control}
        return {
            "control": share(control),
            "variants": {
                name: {"weight": share(weight), **({"set": sets[name]} if name in sets else {})}
                for name, weight in weights.items()
            },
            "until": format_duration(self.values["until"]),
        }

    def canary(self) -> dict[str, Any]:
        """The second revision of `quick`."""
        (live,) = (made for made in self.documents() if made["id"] == "quick")
        return {**live, "category": "offers", "cooldown": "2d"}

    def rules(self) -> dict[tuple[str, int], Rules]:
        """What the author of all this may rely on."""
        found = {}
        for document in (*self.documents(), self.canary()):
            canary = document["id"] == "quick" and "cooldown" in document
            found[document["id"], self.revision + canary] = self._rules(document, canary=canary)
        return found

    def _rules(self, document: Mapping[str, Any], *, canary: bool) -> Rules:
        name, v = document["id"], self.values
        policy = self.policy(name)
        marketing = document.get("class") != "transactional"
        per = v["per"] if name in ("cart", "bundled") else 0
        send_at = {"": v["window"]} if name in ("lunch", "bill") else {}
        if name == "first" and v["shifts"]:
            send_at = {"b": v["window"]}
        arms = [("control", v["control"]), ("a", 5_000), ("b", 5_000 - v["control"])]
        tested = name in ("first", "cart") and v["control"]
        # Held under hours that an edit took away, it goes when they would have opened.
        shifted = name == "first" and tested and v["shifts"]
        timed = policy["quiet"] or "send_at" in document or shifted
        cooldown = 2 * DAY if canary else policy["cooldown"] * (name != "bundled")
        return Rules(
            marketing=marketing,
            category=document.get("category", ""),
            spacing=policy["spacing"],
            cooldown=cooldown if marketing else 0,
            per=per,
            no_repeat=v["no_repeat"] if name == "first" else 0,
            caps=policy["caps"],
            quiet=policy["quiet"],
            send_at=send_at if name != "first" or tested else {},
            at_most=v["at_most"] if timed else AT_MOST[-1],
            silent=name in ("hidden", "off", *v["silent"]),
            rollout=5_000 if name == "some" else 10_000,
            arms=arms if tested else [],
            until=self.start + v["until"],
            from_start=name == "cart" or bool(v["shifts"]),
            size=policy["group"],
            rotate=policy["group"] // 3,
            below=v["canary"] if name == "quick" else 0,
            days=self._days() if name in v["days"] else ("", "9999"),
            zone=policy["zone"],
        )


def share(buckets: int) -> str:
    return f"{buckets / 100:g}%"


Case = tuple[Setup, list[Step]]


def policy(pick: Pick, *, dense: bool) -> dict[str, Any]:
    """`dense`: few limits, so that the one that is there is met again and again."""
    seldom = (0, 0, 0, 0) if dense else (0,)
    caps = [pick(CAPS) for _ in range(pick((*seldom, 1, 1, 1 + (not dense))))]
    return {
        "spacing": pick((*seldom, 0, HOUR, 12 * HOUR)),
        "cooldown": pick((*seldom, 0, 2 * HOUR, 3 * DAY)),
        "settle": pick((*seldom, 0, MINUTE, 5 * MINUTE)),
        "caps": [cap for number, cap in enumerate(caps) if cap not in caps[:number]],
        "zone": pick(ZONES[:-1]),
        "quiet": pick(((), (), *QUIETS)),
        "group": pick((0, 0, 0, 3_000)),
    }


def setup(pick: Pick, *, dense: bool) -> Setup:
    seldom = (0, 0, 0) if dense else (0,)
    default = policy(pick, dense=dense)
    values = {
        "default": default,
        "other": pick((default, policy(pick, dense=dense))),
        "per": pick((*seldom, DAY)),
        "no_repeat": pick((*seldom, 2 * DAY)),
        "window": pick(WINDOWS),
        "holds": pick((["quiet_hours", "send_at"],) * 4 + (["send_at"], ["quiet_hours"], [])),
        "at_most": pick((DAY, *AT_MOST)),
        "control": pick((*seldom, 2_000)),
        "shifts": pick((False, True)),
        "until": pick((28 * DAY, DAY, 3 * DAY)),
        "canary": pick((0, 0, 5_000)),
        "silences": pick((False, False, False, True)),
        "silent": {},
        "days": pick(((), (), (), TIMED)),
    }
    start = datetime.fromisoformat(pick(STARTS)).replace(tzinfo=UTC)
    return Setup(int(start.timestamp()) * 1000, pick(range(100)), values)


def edit(pick: Pick) -> dict[str, Any]:
    """Other hours, arms, states, days and another canary."""
    return {
        "policy": {"quiet": pick(((), *QUIETS[:3])), "group": pick((0, 3_000))},
        "window": pick(WINDOWS),
        "holds": pick((["quiet_hours", "send_at"], ["quiet_hours", "send_at"], [])),
        "at_most": pick((DAY, HOUR)),
        "control": pick((0, 2_000)),
        "shifts": pick((False, True)),
        "until": pick((28 * DAY, DAY)),
        "canary": pick((0, 2_000, 5_000, 9_000)),
        "silent": pick(({}, {}, {}, {"cart": "paused", "quick": "shadow", "lunch": "paused"})),
        "days": pick(((), (), TIMED)),
    }


def history(
    pick: Pick,
    lengths: Sequence[int],
    *,
    gaps: Sequence[int] = GAPS,
    events: Sequence[str] = EVENTS,
) -> list[Step]:
    steps = []
    kinds = ("event",) * 9 + ("outcome",) * 3 + ("merge", "moved", "store")
    kinds += pick(((), (), ("device", "consent")))
    kinds += pick(((), (), ("apply",)))
    for _ in range(pick(lengths)):
        kind = pick(kinds)
        values: dict[str, Any] = {"gap": pick(gaps)}
        if kind in ("event", "device", "consent"):
            values |= {"person": pick(("ann", "ann", *PEOPLE)), "lag": pick(LAGS)}
        if kind == "event":
            values |= {"name": pick(events), "item": pick(("1", "2"))}
            values["zone"] = pick((None,) * len(ZONES) + ZONES)
        if kind == "device":
            values |= {"name": pick(("Application Uninstalled", "Application Opened"))}
        if kind == "consent":
            values |= {
                "name": pick(("Unsubscribed", "Subscribed")),
                "category": pick(("news", None)),
            }
        if kind == "outcome":
            values |= {"back": pick(range(6)), "reason": pick(ENDS)}
        if kind == "apply":
            values["values"] = edit(pick)
        if kind == "merge":
            values["pair"] = pick((("guest", "ann"), ("tab", "guest"), ("tab", "ann")))
        steps.append(Step(kind, values))
    return steps


def case(pick: Pick, lengths: Sequence[int]) -> Case:
    """Any of all this, for Hypothesis."""
    return setup(pick, dense=False), history(pick, lengths)


def dense_case(pick: Pick) -> Case:
    """A long history in which few things happen again and again."""
    gaps = pick(((0, 1, MINUTE), (MINUTE, HOUR), (HOUR, 5 * HOUR, DAY), (HOUR, DAY, 6 * DAY)))
    events = pick((("Opened",), ("Opened", "Added"), ("Read", "Opened"), ("Viewed",), EVENTS))
    return setup(pick, dense=True), history(pick, (60,), gaps=gaps, events=events)
