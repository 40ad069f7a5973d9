"""Small random workspaces and logs, on a coarse grid so that ties and exact boundaries happen.

Every choice is `pick(values)`: Hypothesis picks (and shrinks), or `random.Random(seed).choice` does
(denser, and ten times faster).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.reference.admitting import GIVEN_BACK
from tests.reference.interpreter import HOUR, duration
from tests.reference.patterns import DAY

Pick = Callable[[Sequence[Any]], Any]

T0 = 1_700_000_000_000 // HOUR * HOUR
USERS = ("ann", "ann", "bob")
NAMES = ("Added", "Added", "Ordered", "Removed")
MINUTE = 60_000
SOMETIMES = (False, False, False, True)

#: Values that meet each other under `per`, `$start` and filters: equal numbers, look-alikes, gaps.
ITEMS = (1, 1.0, "1", True, 2, "shoe", None, [1], {"x": 1}, {"lat": 1, "lon": -1})
GAPS = (0, 0, 1, 10 * MINUTE, 30 * MINUTE, HOUR, HOUR, 3 * HOUR, 12 * HOUR, DAY, DAY + 1)
LAGS = (0, 0, 0, 0, 1, 10 * MINUTE, HOUR, 2 * HOUR, 20 * HOUR, -10 * MINUTE, None)
TOO_LATE = (DAY, DAY + 1, 3 * DAY)
WITHIN = ("10m", "1h", "1h", "3h", "1d")
WAITS = ("10m", "1h", "2h", "1d")
TIMES = ("1h", "2h", "1d")
STATES = ("live",) * 8 + ("shadow", "paused", "draft")
CAPS: tuple[list[dict[str, Any]], ...] = (
    [{"max": 1, "per": "2h"}],
    [{"max": 2, "per": "1d"}],
    [{"max": 1, "per": "1h"}, {"max": 3, "per": "3d"}],
    [{"max": 2, "calendar": "day"}, {"max": 1, "calendar": "day", "category": "news"}],
    [{"max": 1, "per": "3h", "category": "news"}, {"max": 4, "calendar": "week"}],
)
ZONES = ("UTC", "Asia/Almaty", "America/New_York")
#: T0 is 2023-11-14, 22:00 UTC.
DAYS: tuple[dict[str, str], ...] = (
    {"from": "2023-11-15"},
    {"until": "2023-11-15"},
    {"from": "2023-11-16", "until": "2023-11-17"},
    {"from": "2023-11-14", "until": "2023-11-16"},
)


@dataclass
class Workspace:
    """Documents of triggers and policies, and what its logs may hold."""

    triggers: list[dict[str, Any]]
    policies: dict[str, dict[str, Any]]
    #: How long before its append time an event may have happened; None: it does not say.
    lags: tuple[int | None, ...] = LAGS
    #: A message from a clock that is ahead may be repeated.
    future_repeats: bool = True


@dataclass
class Step:
    """One thing that happens. `kind`: event, repeat, outcome, poll, restart, forget."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)


def condition(pick: Pick) -> Any:
    operator = pick(("eq", "eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "prefix", "more"))
    if operator == "more":
        near = {"within_km": {"lat": 0, "lon": 0, "km": pick((150, 160))}}
        present = {"exists": pick((True, False))}
        return pick(({"contains": "ho"}, {"between": [1, 2]}, present, present, near))
    if operator == "eq":
        return pick(ITEMS[:6])
    if operator == "ne":
        return {"ne": pick(ITEMS[:6])}
    return {operator: {"in": [1, "shoe"], "not_in": [1, "shoe"], "prefix": "sh"}.get(operator, 1)}


def start_condition(pick: Pick, events: Sequence[str]) -> Any:
    path = pick((*STARTS, *STARTS, *events))
    compared = {pick(("ne", "gte", "lt")): path}
    return pick((path, compared, {"in": [2, path]}, {"between": [path, 9]}))


STARTS = ("$start.properties.item", "$start.properties.price")
#: What completed the pattern; an `unless` may name it, too.
EVENTS = ("$event.properties.item", "$event.properties.price")


def path_of(pick: Pick) -> str:
    paths = ("item", "item", "price", "rows.*.item")
    return str(pick((*(f"properties.{path}" for path in paths), "context.city", "traits.city")))


def where(pick: Pick, references: bool, events: Sequence[str] = ()) -> dict[str, Any]:
    def make(pick: Pick) -> Any:
        return start_condition(pick, events) if refers else condition(pick)

    refers = references and pick(SOMETIMES)
    first = {path_of(pick): make(pick)}
    shape = pick(("plain", "plain", "two", "not", "any", "all"))
    if shape == "two":
        return {**first, "properties.item": make(pick)}
    if shape == "not":
        return {"not": first}
    return {shape: [first, {path_of(pick): condition(pick)}]} if shape in ("any", "all") else first


def clause(pick: Pick, references: bool = False, events: Sequence[str] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"event": pick((*NAMES, ["Added", "Page: home"]))}
    if references and pick((True, False)):
        made["where"] = {"properties.item": pick((STARTS[0], STARTS[0], *events))}
    elif pick(SOMETIMES):
        made["where"] = where(pick, references, events)
    return made


def pattern(pick: Pick) -> dict[str, Any]:
    """Any pattern but `idle`."""
    form = pick(("event", "event", "event", "nth", "count", "count", "sequence", "sequence"))
    if form == "sequence":
        steps = [clause(pick), *(clause(pick, True) for _ in range(pick((1, 1, 2))))]
        if pick(SOMETIMES):
            # One event for two steps; the first is found by its equality, the second by its name.
            steps[0]["where"] = {"properties.item": 1}
            steps[1] = {"event": steps[0]["event"]}
        return {"sequence": steps, "within": pick(WITHIN)}
    made = clause(pick)
    if form == "nth":
        made["nth"] = pick((1, 2, 3))
    if form == "count":
        made |= {"count": pick((2, 2, 3)), "within": pick(WITHIN)}
        paths = ["properties.item", "properties.price"]
        if pick(SOMETIMES):
            made["distinct"] = paths.pop(pick((0, 1)))
        if pick(SOMETIMES):
            made["same"] = paths.pop()
    return made


def cooldown(pick: Pick, per: str) -> Any:
    if per == "properties.item":
        time = pick(TIMES)
        return pick(({"per": time}, {"per": time, "user": pick(TIMES)}, time))
    return pick(TIMES)


def trigger(pick: Pick, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": f"t{number}",
        "state": pick(STATES),
        "class": pick(("marketing", "marketing", "transactional")),
        "priority": pick((10, 50, 90)),
        "policy": pick(("default", "other")),
        "category": pick(("news", "reminders")),
    }
    form = pick(("immediate", "immediate", "absence", "absence", "delay", "series", "idle"))
    made["per"] = pick(("user", "event", "properties.item", "properties.item"))
    if form == "idle":
        made |= {"when": {"idle": pick(("1h", "3h", "1d"))}, "per": "user"}
    else:
        made["when"] = pattern(pick)
    if pick((True, False)):
        made["cooldown"] = cooldown(pick, made["per"])
    if pick(SOMETIMES):
        made["expires"] = pick(("31m", "3d"))
    if pick(SOMETIMES):
        made["active"] = pick(DAYS)
    if form in ("absence", "delay", "series"):
        made |= waiting(pick, form)
    if form != "series" and pick((False, False, True)):
        made["bundle"] = {"window": pick(("10m", "1h", "3h")), "max": pick((2, 2, 3, 10))}
    return made


def waiting(pick: Pick, form: str) -> dict[str, Any]:
    """What makes an instance of a match."""
    made: dict[str, Any] = {}
    first = pick(WAITS[:3])
    if form == "series":
        afters = [first, *pick((["3h"], ["3h", "1d"], []))]
        made["series"] = [{"after": after, "message": f"m{after}"} for after in afters]
        text = {"push": {"title": "a", "body": "b"}}
        made["messages"] = {f"m{after}": text for after in afters}
    else:
        first = made["wait"] = pick(WAITS)
    if form == "absence" or (form == "series" and pick((True, False))):
        made["unless"] = [clause(pick, True, EVENTS) for _ in range(pick((1, 1, 2)))]
    made["on_repeat"] = pick(("restart", "restart", "keep"))
    if made["on_repeat"] == "restart" and pick((True, False)):
        longer = [w for w in (*WAITS, "3h") if duration(w) >= duration(first)]
        made["restart_at_most"] = pick(longer)
    return made


def policy(pick: Pick) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if pick((True, False)):
        made["spacing"] = pick(("10m", "1h", "12h"))
    if pick((True, False)):
        made["cooldown"] = pick(("1h", "1d"))
    if pick((True, False)):
        made["grace"] = pick(("0s", "10m"))
    if pick((True, False)):
        made["caps"] = pick(CAPS)
        made["zone"] = pick(ZONES)
    if pick(SOMETIMES):
        made["settle"] = pick(("1m", "9m"))
    return made


def workspace(pick: Pick) -> Workspace:
    triggers = [trigger(pick, number) for number in range(pick((1, 2, 2, 3, 4)))]
    idle = any("idle" in made["when"] for made in triggers)
    return Workspace(
        triggers,
        {"default": policy(pick), "other": policy(pick)},
        # What was admitted is kept for decisions up to 24 h back; activity that comes later than
        # that may begin a silence that is decided further back.
        lags=LAGS if idle else LAGS + TOO_LATE,
        future_repeats=not idle,
    )


def message(pick: Pick) -> dict[str, Any]:
    """A Segment message without messageId."""
    kind = pick(("track",) * 8 + ("page", "identify"))
    made: dict[str, Any] = {"type": kind, "userId": pick(USERS)}
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}
    if kind == "track":
        made["event"] = pick(NAMES)
    if kind == "page":
        place = pick((made, properties, {}))
        place["name"] = "home"
    item = pick((1, 1, 1, 2, 2, *ITEMS, "left out"))
    if item != "left out":
        properties["item"] = item
    if pick((True, False)):
        properties["price"] = pick((0, 1, 1.5, "1", None))
    if pick(SOMETIMES):
        properties["rows"] = [{"item": pick(ITEMS)} for _ in range(pick((0, 1, 2)))]
    if pick(SOMETIMES):
        context["city"] = pick(("shoe", 1))
    if pick(SOMETIMES):
        context["device"] = {"token": pick(("d1", "d2")), "type": "iOS"}
    return {**made, "properties": properties, "context": context}


def event(pick: Pick, lags: Sequence[int | None]) -> Step:
    return Step("event", {"gap": pick(GAPS), "lag": pick(lags), "message": message(pick)})


def repeat(pick: Pick) -> Step:
    return Step("repeat", {"gap": pick(GAPS), "back": pick(range(8))})


def outcome(pick: Pick) -> Step:
    reasons = ("ACCEPTED", "UNKNOWN", *GIVEN_BACK)
    dead = pick(((), (), (), ("d1",), ("d1", "d2")))
    values = {"gap": pick(GAPS), "back": pick(range(6)), "reason": pick(reasons), "dead": dead}
    return Step("outcome", values)


def history(pick: Pick, lags: Sequence[int | None], lengths: Sequence[int]) -> list[Step]:
    """A history with the moments at which a worker polls, restarts or forgets."""
    first = event(pick, lags)
    first.values["message"]["context"]["device"] = {"token": "d1", "type": "android"}
    steps = [first]
    for _ in range(pick(lengths)):
        kind = pick(("event",) * 8 + ("repeat", "outcome", "outcome", "poll", "restart", "forget"))
        if kind == "event":
            steps.append(event(pick, lags))
        elif kind == "repeat":
            steps.append(repeat(pick))
        elif kind == "outcome":
            steps.append(outcome(pick))
        else:
            steps.append(Step(kind))
    return steps


Case = tuple[Workspace, list[Step]]


def case(pick: Pick, lengths: Sequence[int]) -> Case:
    made = workspace(pick)
    return made, history(pick, made.lags, lengths)


def picker(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Pick:
    return lambda values: draw(st.sampled_from(values))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """For Hypothesis."""
    return case(picker(draw), range(1, 25))
