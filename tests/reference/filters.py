"""A `where` judged from its document, clause by clause: Kleene's True, False or None.

Written from the language ("Filters") alone; imports nothing of the project. An event is a plain
Segment message; a name that leads nowhere reads as ABSENT, a JSON null is None.
"""

from collections.abc import Mapping
from math import asin, cos, radians, sin, sqrt
from typing import Any

ABSENT: Any = object()
Verdict = bool | None


def name_of(message: Mapping[str, Any]) -> str | None:
    """What triggers call the event."""
    if message["type"] == "track":
        return str(message["event"])
    if message["type"] in ("page", "screen"):
        name = message.get("name", message["properties"].get("name"))
        return None if name is None else f"{message['type'].capitalize()}: {name}"
    return None


def read(message: Any, path: str) -> Any:
    """The value at a path; under `*` a list of every value found, ABSENT when there is none."""
    if path == "event":
        name = name_of(message)
        return ABSENT if name is None else name
    reached = [message]
    for step in path.split("."):
        following = []
        for value in reached:
            if step == "*":
                following.extend(value if isinstance(value, list) else [])
            elif isinstance(value, dict) and step in value:
                following.append(value[step])
        reached = following
    if not reached:
        return ABSENT
    return reached if "*" in path.split(".") else reached[0]


def judge(where: Mapping[str, Any], message: Any, start: Any, event: Any = None) -> Verdict:
    """Everything under one mapping must hold; `start` and `event` are the messages that `$start`
    and `$event` refer to."""
    referred = {"$start.": start, "$event.": event}
    verdicts: list[Verdict] = []
    for key, condition in where.items():
        if key == "all":
            verdicts.append(conjunction([judge(part, message, start, event) for part in condition]))
        elif key == "any":
            verdicts.append(disjunction([judge(part, message, start, event) for part in condition]))
        elif key == "not":
            inner = judge(condition, message, start, event)
            verdicts.append(None if inner is None else not inner)
        else:
            operators = condition if isinstance(condition, dict) else {"eq": condition}
            for operator, operand in operators.items():
                verdicts.append(clause(key, operator, operand, message, referred))
    return conjunction(verdicts)


def conjunction(verdicts: list[Verdict]) -> Verdict:
    return False if False in verdicts else None if None in verdicts else True


def disjunction(verdicts: list[Verdict]) -> Verdict:
    return True if True in verdicts else None if None in verdicts else False


def clause(
    path: str, operator: str, operand: Any, message: Any, referred: Mapping[str, Any]
) -> Verdict:
    value = read(message, path)
    values = value if "*" in path.split(".") and value is not ABSENT else [value]
    if operator == "exists":
        return any(one is not ABSENT and one is not None for one in values) is operand
    operand = resolved(operand, operator, referred)
    return disjunction([compared(one, operator, operand) for one in values])


def resolved(operand: Any, operator: str, referred: Mapping[str, Any]) -> Any:
    """References replaced; ABSENT when one leads nowhere (an `in` can do without)."""
    for root, message in referred.items():
        if isinstance(operand, str) and operand.startswith(root):
            value = read(message, operand.removeprefix(root))
            return ABSENT if value is None else value
    if isinstance(operand, list):
        parts = [resolved(part, operator, referred) for part in operand]
        return ABSENT if ABSENT in parts and operator != "in" else parts
    return operand


def compared(value: Any, operator: str, operand: Any) -> Verdict:
    if value is ABSENT or value is None or operand is ABSENT:
        return False
    if operator == "eq":
        return same(value, operand)
    if operator == "ne":
        equal = same(value, operand)
        return None if equal is None else not equal
    if operator in ("in", "not_in"):
        if not isinstance(operand, list):
            return None
        found = disjunction([False if one is ABSENT else same(value, one) for one in operand])
        return found if operator == "in" or found is None else not found
    if operator == "prefix":
        texts = isinstance(value, str) and isinstance(operand, str)
        return value.startswith(operand) if texts else None
    if operator == "contains":
        return contained(value, operand)
    if operator == "between":
        # One operator: a bound of another type is a wrong type, whatever the other bound says.
        both = [ordered(value, "gte", operand[0]), ordered(value, "lte", operand[1])]
        return None if None in both else conjunction(both)
    if operator == "within_km":
        return near(value, operand)
    return ordered(value, operator, operand)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_heap(value: Any) -> bool:
    return isinstance(value, list | dict)


def same(one: Any, other: Any) -> Verdict:
    """No coercion; 1 and 1.0 are the same number. Lists and mappings are not compared."""
    if is_heap(one) and is_heap(other):
        return None
    if is_number(one) and is_number(other):
        return bool(one == other)
    return type(one) is type(other) and bool(one == other)


def ordered(value: Any, operator: str, operand: Any) -> Verdict:
    numbers = is_number(value) and is_number(operand)
    if not numbers and not (isinstance(value, str) and isinstance(operand, str)):
        return None
    if operator == "gt":
        return bool(value > operand)
    if operator == "gte":
        return bool(value >= operand)
    return bool(value < operand) if operator == "lt" else bool(value <= operand)


def contained(value: Any, operand: Any) -> Verdict:
    if is_heap(operand):
        return None
    if isinstance(value, str):
        return operand in value if isinstance(operand, str) else None
    return any(same(one, operand) for one in value) if isinstance(value, list) else None


def near(value: Any, operand: Any) -> Verdict:
    if not isinstance(value, dict):
        return None
    place: list[Any] = [value.get("lat"), value.get("lon")]
    if not all(map(is_number, place)) or abs(place[0]) > 90 or abs(place[1]) > 180:
        return None
    lat, lon, lat_2, lon_2 = map(radians, (*place, operand["lat"], operand["lon"]))
    half = sin((lat_2 - lat) / 2) ** 2 + cos(lat) * cos(lat_2) * sin((lon_2 - lon) / 2) ** 2
    return 2 * 6371.0088 * asin(min(1, sqrt(half))) <= float(operand["km"])
