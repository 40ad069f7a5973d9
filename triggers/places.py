"""Places: named lists of points, and which of them a position is near.

`places.yaml` of a workspace maps a name to its points, `stores: [{id: abay, lat: 43.24, lon: 76.9},
...]`. `Fence` holds the points of one name with a radius.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import asin, cos, radians, sin, sqrt
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from triggers.fields import Id, check_id
from triggers.model import Model, problems_of
from triggers.operators import EARTH_RADIUS_KM
from triggers.problems import Problem, suggestion

#: Lists of places in a workspace, points in a list, and points in all.
LISTS_MAX = 100
POINTS_MAX = 5_000
POINTS_IN_ALL_MAX = 20_000
#: A degree of latitude is nowhere shorter than this on the sphere of `EARTH_RADIUS_KM`.
_DEGREE_KM = EARTH_RADIUS_KM * radians(1)


def _degrees(value: Any) -> Any:
    if type(value) not in (int, float) or not -180 <= value <= 180:
        raise ValueError("must be a number of degrees")
    return float(value)


Latitude = Annotated[float, Field(ge=-90, le=90), BeforeValidator(_degrees)]
Longitude = Annotated[float, Field(ge=-180, le=180), BeforeValidator(_degrees)]


class Place(Model):
    """One point: degrees north and east, told from the others of its list by `id`."""

    row = "place"

    id: Id
    """Told from the other points of its list by this."""
    lat: Latitude
    """Degrees north."""
    lon: Longitude
    """Degrees east."""


Places = dict[str, tuple[Place, ...]]


def parse_places(document: Any) -> tuple[Places, list[Problem]]:
    """Lists of places by name, and what is wrong with the others.

    A faulty list counts as known (and empty), so that its triggers are not blamed for it.
    """
    if not isinstance(document, Mapping):
        return {}, [Problem((), "places are a mapping from names to lists of points")]
    if len(document) > LISTS_MAX:
        return {}, [Problem((), f"a workspace has at most {LISTS_MAX} lists of places")]
    found: Places = {}
    problems: list[Problem] = []
    for name, body in document.items():
        try:
            check_id(str(name))
        except ValueError as error:
            problems.append(Problem((name,), str(error), at_key=True))
            continue
        found[str(name)], wrong = parse_place_list(body)
        problems += [Problem((name, *p.location), p.message, p.at_key) for p in wrong]
    if sum(map(len, found.values())) > POINTS_IN_ALL_MAX:
        problems.append(Problem((), f"a workspace has at most {POINTS_IN_ALL_MAX} places"))
    return found, problems


def parse_place_list(body: Any) -> tuple[tuple[Place, ...], list[Problem]]:
    """The points of one list, none when something is wrong with it."""
    if not isinstance(body, list | tuple) or not 0 < len(body) <= POINTS_MAX:
        return (), [Problem((), f"a list of 1 to {POINTS_MAX} places: {{id, lat, lon}}")]
    places, problems = [], []
    ids: set[str] = set()
    for number, item in enumerate(body):
        try:
            place = Place.model_validate(item)
        except ValidationError as error:
            problems += [
                Problem((number, *p.location), p.message, p.at_key) for p in problems_of(error)
            ]
            continue
        if place.id in ids:
            problems.append(Problem((number, "id"), f"the id '{place.id}' is taken"))
        ids.add(place.id)
        places.append(place)
    return (() if problems else tuple(places)), problems


class Fence:
    """All points of one list within `radius_km`. `mark` changes when any of it does."""

    def __init__(self, places: Iterable[Place], radius_km: float) -> None:
        self._radius_km = radius_km
        self._places = sorted(places, key=lambda place: (place.lat, place.id))
        self._lats = [place.lat for place in self._places]
        points = [(place.id, place.lat, place.lon) for place in self._places]
        content = repr((float(radius_km), points)).encode()
        self.mark = int.from_bytes(blake2b(content, digest_size=6).digest(), "big")

    def around(self, lat: float, lon: float) -> set[str]:
        """The ids of the points whose distance is at most the radius."""
        reach = self._radius_km / _DEGREE_KM * (1 + 1e-9)
        low, high = bisect_left(self._lats, lat - reach), bisect_right(self._lats, lat + reach)
        return {
            place.id
            for place in self._places[low:high]
            if distance_km(lat, lon, place.lat, place.lon) <= self._radius_km
        }


def distance_km(lat_1: float, lon_1: float, lat_2: float, lon_2: float) -> float:
    """The great-circle distance of two points in degrees (haversine)."""
    one, other = radians(lat_1), radians(lat_2)
    half_lat, half_lon = (other - one) / 2, radians(lon_2 - lon_1) / 2
    chord = sin(half_lat) ** 2 + cos(one) * cos(other) * sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(chord)))


def position_of(lat: Any, lon: Any) -> tuple[float, float] | None:
    """A position as numbers, None for what is not one on Earth."""
    for value, limit in ((lat, 90), (lon, 180)):
        if type(value) not in (int, float) or not -limit <= value <= limit:
            return None
    return float(lat), float(lon)


def unknown_places(name: str, known: Iterable[str]) -> str:
    """What to say about a list of places that is not there."""
    return f"unknown places '{name}': places.yaml names lists{suggestion(name, known)}"
