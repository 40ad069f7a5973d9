"""`{place, radius_km, edge}`: the user comes near a place, or leaves it; and places.yaml."""

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from schemas.events import Event
from schemas.reasons import Unevaluated
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.loader import load_workspace
from triggers.patterns.place import INSIDE_MAX
from triggers.places import POINTS_MAX, Fence, Place, distance_km
from triggers.state import decode_state, encode_state
from triggers.workspace import DefinitionErrors

#: 0.01 degrees of latitude are 1.11 km.
STORES = [{"id": "abay", "lat": 43.24, "lon": 76.9}, {"id": "dostyk", "lat": 43.30, "lon": 76.95}]
NEAR, FAR, OTHER = (43.245, 76.9), (43.40, 76.9), (43.301, 76.95)


def user_of(edge: str = "enter", places: Any = None, **fields: Any) -> User:
    when = {"place": "stores", "radius_km": 2, "edge": edge}
    document = {**HELLO, "when": when, **fields}
    return User(program_of(document, places={"stores": places or STORES}))


def at(
    user: User, when: str, where: tuple[Any, Any] | None, *, e: str | None = None, id: str = ""
) -> bool:
    """Some event of a phone that says where it is."""
    user.count += 1
    location = None if where is None else {"latitude": where[0], "longitude": where[1]}
    event = Event(
        type="track",
        message_id=id or f"m{user.count - 1}",
        event="Seen",
        user_id="u",
        timestamp=datetime.fromtimestamp(ms(e or when) / 1000, UTC),
        context={"location": location} if location else {},
    )
    return user.apply(when, event)


def test_entering_fires_on_crossing_only() -> None:
    user = user_of()
    for hour, where in enumerate((FAR, NEAR, NEAR, FAR, NEAR)):
        at(user, f"{hour}h", where)
    assert user.lines == ["1h hello m1 ADMITTED", "4h hello m4 ADMITTED"]


def test_leaving_fires_on_crossing_only() -> None:
    user = user_of("exit")
    for hour, where in enumerate((FAR, NEAR, FAR, FAR)):
        at(user, f"{hour}h", where)
    assert user.lines == ["2h hello m2 ADMITTED"]


def test_the_first_position_only_says_where_the_user_is() -> None:
    user = user_of()
    at(user, "0s", NEAR)
    assert user.lines == []
    assert user.state.patterns["hello"][2] == ["abay"]


def test_each_place_is_crossed_by_itself() -> None:
    user = user_of()
    for hour, where in enumerate((NEAR, OTHER, NEAR)):
        at(user, f"{hour}h", where)
    assert user.lines == ["1h hello m1 ADMITTED", "2h hello m2 ADMITTED"]


def test_a_position_older_than_the_last_one_is_ignored() -> None:
    user = user_of()
    at(user, "0s", FAR)
    at(user, "2h", FAR)
    at(user, "3h", NEAR, e="1h")
    assert user.lines == []
    at(user, "4h", NEAR)
    assert user.lines == ["4h hello m3 ADMITTED"]


def test_a_position_told_twice_crosses_once() -> None:
    user = user_of()
    at(user, "0s", FAR)
    at(user, "10s", NEAR, id="same")
    at(user, "20s", FAR)
    at(user, "30s", NEAR, e="10s", id="same")
    assert user.lines == ["10s hello same ADMITTED"]
    assert user.state.patterns["hello"][2] == []


def test_a_user_who_stays_is_written_once_a_minute_at_most() -> None:
    user = user_of()
    assert at(user, "0s", FAR)
    assert not at(user, "59s", FAR)
    assert at(user, "60s", FAR)
    assert not at(user, "119s", FAR)


def test_events_without_a_position_are_not_looked_at() -> None:
    user = user_of()
    assert not at(user, "0s", None)
    assert user.state.patterns == {}
    assert user.effects.unevaluated == {}


@pytest.mark.parametrize("where", [("43", 76.9), (True, 1), (91, 0), (0, 181), ([], {}), (1, "")])
def test_what_is_no_position_is_counted(where: Any) -> None:
    user = user_of()
    at(user, "0s", where)
    assert user.state.patterns == {}
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


def test_an_edit_of_the_places_or_the_radius_crosses_nothing() -> None:
    user = user_of("exit")
    at(user, "0s", NEAR)
    moved = [{**STORES[0], "lat": 10.0}, STORES[1]]
    user.program = user_of("exit", places=moved).program
    at(user, "1h", NEAR)
    assert user.lines == []
    entering = user_of()
    at(entering, "0s", FAR)
    entering.program = user_of(
        places=[*STORES, {"id": "new", "lat": FAR[0], "lon": FAR[1]}]
    ).program
    at(entering, "1h", FAR)
    at(entering, "2h", NEAR)
    assert entering.lines == ["2h hello m2 ADMITTED"]


def test_places_beyond_the_bound_are_counted_and_entered_silently() -> None:
    crowd = [{"id": f"p{n}", "lat": 1.0, "lon": 1.0} for n in range(INSIDE_MAX + 5)]
    user = user_of(places=crowd)
    for hour, where in enumerate(((1.5, 1.0), (1.0, 1.0), (1.001, 1.0), (1.5, 1.0))):
        at(user, f"{hour}h", where)
    assert user.lines == ["1h hello m1 ADMITTED"]
    assert user.effects.evicted["places"] == 2
    assert len(encode_state(user.state)) < 1000


def test_the_fence_finds_what_measuring_every_distance_finds() -> None:
    chance = Random(7)
    points = [
        Place.model_validate(
            {"id": f"p{n}", "lat": chance.uniform(-90, 90), "lon": chance.uniform(-180, 180)}
        )
        for n in range(400)
    ]
    for radius in (1, 500, 3000, 19_000):
        fence = Fence(points, radius)
        for _ in range(40):
            lat, lon = chance.uniform(-90, 90), chance.choice((-180, 180, 179.9, 0))
            near = {p.id for p in points if distance_km(lat, lon, p.lat, p.lon) <= radius}
            assert fence.around(lat, lon) == near


def test_a_verdict_depends_on_the_log_alone() -> None:
    for seed in range(20):
        plain, disturbed = user_of(), user_of()
        chance = Random(seed)
        now = 0
        for number in range(30):
            now += chance.choice((0, 1000, 59_000, 60_000, 3_600_000))
            where = chance.choice((NEAR, FAR, OTHER))
            e = f"{max(0, now - chance.choice((0, 0, 1000, 61_000)))}ms"
            for user in (plain, disturbed):
                at(user, f"{now}ms", where, e=e, id=f"m{number}")
            if chance.random() < 0.5:
                disturbed.fire(f"{now}ms")
                disturbed.state = decode_state(encode_state(disturbed.state))
        assert plain.lines == disturbed.lines


# --- places.yaml ---

TRIGGER = """\
id: near
when: {place: stores, radius_km: 2, edge: enter}
"""


def errors_of(places: str, trigger: str = TRIGGER) -> str:
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace({"triggers/near.yaml": trigger, "places.yaml": places})
    return str(caught.value)


def test_places_are_part_of_the_workspace() -> None:
    text = "stores:\n  - {id: abay, lat: 43, lon: 76.9}\n"
    workspace = load_workspace({"triggers/near.yaml": TRIGGER, "places.yaml": text})
    assert workspace.documents == {"place": {"stores": [{"id": "abay", "lat": 43.0, "lon": 76.9}]}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stores:\n  - {id: a, lat: 91, lon: 0}\n", "places.yaml:2:18: `lat` is at most 90"),
        ("stores:\n  - {id: a, lat: 1, lon: x}\n", "places.yaml:2:26: must be a number of degrees"),
        ("stores:\n  - {id: a, lat: 1}\n", "`lon` is missing"),
        ("stores:\n  - {id: a, lat: 1, lng: 2}\n", "unknown field 'lng'"),
        ("stores: []\n", "places.yaml:1:9: a list of 1 to"),
        ("stores: 3\n", "places.yaml:1:9: a list of 1 to"),
        ("Stores!: []\n", "places.yaml:1:1: 'Stores!' is not an id"),
        ("- 1\n", "places.yaml:1:1: places are a mapping"),
        (
            "stores:\n  - {id: a, lat: 1, lon: 2}\n  - {id: a, lat: 1, lon: 2}\n",
            "places.yaml:3:10: the id 'a' is taken",
        ),
        ("shops:\n  - {id: a, lat: 1, lon: 2}\n", "triggers/near.yaml:2:15: unknown places"),
    ],
)
def test_an_error_in_places_is_told_where(text: str, expected: str) -> None:
    assert expected in errors_of(text)


def test_too_many_places_are_refused() -> None:
    many = "".join(f"  - {{id: p{n}, lat: 1, lon: 2}}\n" for n in range(POINTS_MAX + 1))
    assert f"a list of 1 to {POINTS_MAX}" in errors_of(f"stores:\n{many}")


@pytest.mark.parametrize("radius", ["0", "-1", "x", "true", "30000", ".nan"])
def test_a_radius_is_a_distance(radius: str) -> None:
    trigger = TRIGGER.replace("radius_km: 2", f"radius_km: {radius}")
    assert "a radius is a number of kilometres" in errors_of(
        "stores: [{id: a, lat: 1, lon: 2}]\n", trigger
    )
