"""All patterns over one log: random orders, duplicates, polls and restarts."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from schemas.reasons import Reason
from schemas.records import SignalRecord, signal_event
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.decide import next_due
from triggers.state import decode_state, encode_state

PLACES = {"stores": [{"id": "a", "lat": 1, "lon": 1}, {"id": "b", "lat": 1.01, "lon": 1}]}


def live(name: str, when: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": name, "state": "live", "when": when, **fields}


PROGRAM = program_of(
    HELLO,
    live("trait", {"trait": "plan", "to": "pro"}),
    live("date", {"date": "traits.day", "repeat": "yearly", "at": "10:00", "missed": "send"}),
    live("once", {"date": "traits.day", "offset": "-1d"}, unless={"event": "Seen"}, wait="1d"),
    live("start", {"session": "start"}),
    live("end", {"session": "end", "gap": "1h"}, unless={"event": "Opened"}, wait="30m"),
    live("enter", {"place": "stores", "radius_km": 1}),
    live("exit", {"place": "stores", "radius_km": 1, "edge": "exit"}),
    live("signal", {"signal": "score", "where": {"properties.n": {"gte": 1}}}),
    live("accepted", {"outcome": "accepted", "trigger": "hello"}),
    live("clicked", {"outcome": "clicked", "trigger": "hello"}),
    places=PLACES,
    grace="1m",
)

GAPS = st.sampled_from([0, 1, 60_000, 1_800_000, 3_600_000, 3_660_000, 40_000_000, 90_000_000])
LAGS = st.sampled_from([0, 0, 0, 1, 60_000, 3_600_000, 80_000_000, 90_000_000, -5_000])
TRAITS = st.fixed_dictionaries(
    {},
    optional={
        "plan": st.sampled_from(["free", "pro", None, 1, True, ["x"]]),
        "day": st.sampled_from(
            ["2025-01-08", "1990-02-29", "--01-09", "soon", 7, None, "2025-01-07T23:30:00-11:00"]
        ),
    },
)
ZONES = st.sampled_from([None, "Asia/Almaty", "Pacific/Kiritimati", "Pacific/Niue", "No/Where"])
COORDINATES = st.sampled_from([1, 1.0099, 1.02, 5, "x", None])
STEP = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["track", "identify", "signal", "again", "outcome", "click"]),
        "gap": GAPS,
        "lag": LAGS,
        "timeless": st.booleans(),
        "name": st.sampled_from(["Opened", "Seen"]),
        "traits": TRAITS,
        "zone": ZONES,
        "lat": COORDINATES,
        "poll": st.booleans(),
    }
)


def event_of(step: dict[str, Any], at: int, number: int) -> Event:
    if step["kind"] == "signal":
        return signal_event(SignalRecord("u", "score", f"m{number}", at, {"n": step["lat"]}))
    context: dict[str, Any] = {"location": {"latitude": step["lat"], "longitude": 1}}
    if step["zone"]:
        context["timezone"] = step["zone"]
    moment = datetime.fromtimestamp((at - step["lag"]) / 1000, UTC)
    return Event(
        type="identify" if step["kind"] == "identify" else "track",
        message_id=f"m{number}",
        event=step["name"],
        user_id="u",
        timestamp=None if step["timeless"] else moment,
        traits=step["traits"] if step["kind"] == "identify" else None,
        properties={},
        context=context,
    )


def play(steps: list[dict[str, Any]], disturbed: bool) -> User:
    user = User(PROGRAM)
    events: list[Event] = []
    now = 0
    for number, step in enumerate(steps):
        now += step["gap"]
        at = f"{now}ms"
        hellos = [d for d in user.effects.deliveries if d.trigger.id == "hello"]
        if step["kind"] == "outcome" and hellos:
            user.outcome(at, Reason.ACCEPTED, delivery=user.effects.deliveries.index(hellos[-1]))
        elif step["kind"] == "click" and hellos:
            user.event(at, "Push Clicked", id=f"m{number}", delivery_id=hellos[0].delivery_id)
        else:
            again = step["kind"] == "again" and events
            event = events[-1] if again else event_of(step, ms(at), number)
            events.append(event)
            user.apply(at, event)
        assert user.state.due == next_due(PROGRAM, user.state)
        assert len(encode_state(user.state)) < 20_000
        if disturbed and step["poll"]:
            user.fire(at)
            user.state = decode_state(encode_state(user.state))
    user.fire(f"{now + 3 * 366 * 86_400_000}ms")
    return user


@settings(max_examples=150)
@given(st.lists(STEP, max_size=25))
def test_a_verdict_depends_on_the_log_alone_and_nothing_comes_twice(
    steps: list[dict[str, Any]],
) -> None:
    plain, disturbed = play(steps, False), play(steps, True)
    assert plain.lines == disturbed.lines
    ended = [(d.trigger, d.activation) for d in plain.effects.decisions if d.trigger == "date"]
    assert len(set(ended)) == len(ended)
    assert set(plain.state.patterns) <= set(PROGRAM.triggers)
