"""What each filter operator means: one comparison of a value from the event with its operand.

Three answers: True, False, or None for "could not evaluate" (a value of the wrong type for the
operator). The rules, from the language:

- No coercion: `"34"` is not 34, `true` is not 1; 34 and 34.0 are the same number. Texts are
  ordered by code point, so ISO dates compare as texts, and only with texts.
- A missing value answers False, also under `ne` and `not_in`; `exists: false` asks for absence.
- JSON null is treated like a missing value, except that `eq: null` tells it from one that is
  absent and `ne: null` is True for every other present value. `exists: true` asks for a value
  that is there and not null; `exists: false` is its opposite.
- `eq`, `ne`, `in`, `not_in` across types are unequal, never None; only a list or mapping against
  another list or mapping is None: they are not compared.
"""

from collections.abc import Callable, Hashable, Iterable
from math import asin, cos, radians, sin, sqrt
from operator import ge, gt, le, lt
from typing import Any, Final

from triggers.paths import MISSING, Many

#: Answers for one value; None = could not evaluate.
Test = Callable[[Any], bool | None]
#: Answers for a value and a resolved operand.
Comparison = Callable[[Any, Any], bool | None]

OPERATORS = (
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "in",
    "not_in",
    "prefix",
    "contains",
    "exists",
    "between",
    "within_km",
)
#: The mean radius of the Earth in the WGS 84 ellipsoid (IUGG R1).
EARTH_RADIUS_KM = 6371.0088

_TRUE: Final = ("boolean", True)
_FALSE: Final = ("boolean", False)


def index_key(value: Any) -> Hashable | None:
    """A key under which equal values meet: 1 and 1.0 do, True and 1 do not.

    None for what equals nothing or cannot be a key: null, MISSING, lists, mappings, NaN.
    """
    kind = type(value)
    if kind is str or kind is int:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is float and value == value:
        return value  # type: ignore[no-any-return]
    return None


def make_test(operator: str, operand: Any, *, wild: bool = False) -> Test:
    """The comparison with a resolved operand; MISSING is a reference that led nowhere (False).

    `wild`: the value comes from a path with `*`, and a Many passes when any of its elements does
    (Kleene's `or`).
    """
    if operator == "exists":
        return lambda value: _exists(value) is operand
    test = _plain_test(operator, operand)
    if not wild:
        return test
    return lambda value: _any_element(value, test) if type(value) is Many else test(value)


def equals(value: Any, operand: Any) -> bool | None:
    """`eq` of two values that are neither MISSING nor null."""
    if type(value) is bool or type(operand) is bool:
        return value is operand
    if _is_container(value):
        return None if _is_container(operand) else False
    return bool(value == operand)


def _plain_test(operator: str, operand: Any) -> Test:
    if operand is MISSING:
        return lambda value: False
    if operand is None:
        if operator == "ne":
            return _exists
        return lambda value: value is None
    if operator in ("in", "not_in") or type(operand) is Many:
        return _in_test(operand, found=operator != "not_in")
    if operator == "eq" and not _is_container(operand):
        return _eq_test(operand)
    if operator in _ORDER_TESTS and type(operand) in (str, int, float):
        return _ORDER_TESTS[operator](operand)
    return _present_test(_COMPARISONS[operator], operand)


def _present_test(comparison: Comparison, operand: Any) -> Test:
    def test(value: Any) -> bool | None:
        if value is MISSING or value is None:
            return False
        return comparison(value, operand)

    return test


def _any_element(values: Iterable[Any], test: Test) -> bool | None:
    answer: bool | None = False
    for value in values:
        result = test(value)
        if result is True:
            return True
        if result is None:
            answer = None
    return answer


def _exists(value: Any) -> bool:
    if type(value) is Many:
        return any(item is not None for item in value)
    return value is not MISSING and value is not None


def _is_container(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def _ne(value: Any, operand: Any) -> bool | None:
    result = equals(value, operand)
    return None if result is None else not result


def _is_ordered(value: Any, operand: Any) -> bool:
    kind = type(value)
    if kind is str:
        return type(operand) is str
    return (kind is int or kind is float) and type(operand) in (int, float)


def _unfit(value: Any, operand: Any) -> bool | None:
    """A reference led to an operand that the operator cannot use."""
    return None


def _prefix(value: Any, operand: Any) -> bool | None:
    if type(value) is not str or type(operand) is not str:
        return None
    return value.startswith(operand)


def _contains(value: Any, operand: Any) -> bool | None:
    if _is_container(operand):
        return None
    if type(value) is str:
        return operand in value if type(operand) is str else None
    if type(value) is not list:
        return None
    return any(equals(item, operand) for item in value)


def _between(value: Any, operand: Any) -> bool | None:
    """Inclusive at both ends."""
    low, high = operand
    if not _is_ordered(value, low) or not _is_ordered(value, high):
        return None
    return bool(low <= value <= high)


def _within_km(value: Any, operand: Any) -> bool | None:
    """Great-circle distance of {lat | latitude, lon | lng | longitude} from the operand's point."""
    here, there = _point(value), _point(operand)
    if here is None or there is None:
        return None
    lat_1, lon_1 = here
    lat_2, lon_2 = there
    half_lat, half_lon = (lat_2 - lat_1) / 2, (lon_2 - lon_1) / 2
    chord = sin(half_lat) ** 2 + cos(lat_1) * cos(lat_2) * sin(half_lon) ** 2
    return bool(2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(chord))) <= operand["km"])


def _point(value: Any) -> tuple[float, float] | None:
    """Latitude and longitude in radians, or None for what is not a place on Earth."""
    if type(value) is not dict:
        return None
    lat: Any = value.get("lat", value.get("latitude"))
    lon: Any = value.get("lon", value.get("lng", value.get("longitude")))
    if not _is_ordered(lat, 0) or not _is_ordered(lon, 0):
        return None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None
    return radians(lat), radians(lon)


_COMPARISONS: dict[str, Comparison] = {
    "eq": equals,
    "ne": _ne,
    "gt": _unfit,
    "gte": _unfit,
    "lt": _unfit,
    "lte": _unfit,
    "prefix": _prefix,
    "contains": _contains,
    "between": _between,
    "within_km": _within_km,
}


def _eq_test(operand: Any) -> Test:
    if type(operand) is bool:
        return lambda value: value is operand
    if type(operand) is str:
        return lambda value: bool(value == operand)
    return lambda value: bool(value == operand and type(value) is not bool)


def _in_test(operand: Any, *, found: bool) -> Test:
    if not isinstance(operand, list | tuple):
        return _present_test(_unfit, operand)
    keys = frozenset(index_key(item) for item in operand)
    of_container = None if any(_is_container(item) for item in operand) else not found

    def test(value: Any) -> bool | None:
        kind = type(value)
        if kind is str or kind is int or kind is float:
            return (value in keys) is found
        if kind is bool:
            return (index_key(value) in keys) is found
        if value is MISSING or value is None:
            return False
        return of_container

    return test


def _order_test(holds: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(operand: Any) -> Test:
        kinds = (str,) if type(operand) is str else (int, float)

        def test(value: Any) -> bool | None:
            if type(value) in kinds:
                return holds(value, operand)
            return False if value is MISSING or value is None else None

        return test

    return make


_ORDER_TESTS = {"gt": _order_test(gt), "gte": _order_test(ge)}
_ORDER_TESTS |= {"lt": _order_test(lt), "lte": _order_test(le)}
