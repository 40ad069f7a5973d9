"""The story of a user from a file of events: its words, and the JSON that scripts rely on."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.backtest.run import Backtest
from engine.explain.offline import Assumed, explain_events, profiles_of
from engine.explain.story import Story, UnknownTriggerError, story_json
from engine.explain.telling import story_lines
from engine.simulate import SimulationOptions, simulate
from schemas.decisions import Decision
from schemas.events import Event, decode_event, occurred_at_ms
from tests.unit.triggers.user import CART, HELLO, ms, program_of

EXPECTED = Path(__file__).parent / "explain.json"

DROP: dict[str, Any] = {
    "id": "favourite-drop",
    "state": "live",
    "when": {"event": "Price Dropped", "where": {"properties.price": {"lt": 20}}},
}
KETTLE: dict[str, Any] = {"id": "kettle", "state": "paused", "when": {"event": "Kettle Viewed"}}
#: The abandoned cart of Monday 2025-01-06, 11:20 in Almaty (UTC+5).
EVENTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("6h10m", "Added", "m0", {}),
    ("6h20m", "Price Dropped", "m1", {"price": 18}),
    ("6h30m", "Price Dropped", "m2", {"price": 25}),
    ("6h40m", "Kettle Viewed", "m3", {}),
    ("8h30m", "Added", "m4", {}),
    ("9h", "Noise", "m5", {}),
)


def _event(at: str, name: str, message_id: str, properties: Any, user: str = "u") -> Event:
    moment = datetime.fromtimestamp(ms(at) / 1000, UTC)
    return Event("track", message_id, name, user, timestamp=moment, properties=properties)


def _story(at: str | None = None) -> Story:
    program = program_of(CART, DROP, KETTLE, spacing="2h", cooldown="1d")
    events = [(ms(row[0]), _event(*row)) for row in EVENTS]
    others = [(a, _event("0s", "Added", "x", {}, user="v")) for a, _ in events[:1]]
    at_ms = None if at is None else ms(at)
    zone = Assumed(zone="Asia/Almaty")
    return explain_events(program, "u", others + events, {"u"}, at_ms=at_ms, assumed=zone)


def test_the_json_is_the_one_that_scripts_know() -> None:
    made = json.loads(json.dumps({"version": 1, **story_json(_story())}))
    assert made == json.loads(EXPECTED.read_text())


def test_people_read_values_in_local_time() -> None:
    lines = list(story_lines(_story(), "cart"))
    assert lines[0] == "u: 6 records"
    assert lines[1] == "2025-01-06 11:10:00 to 2025-01-06 14:00:00 (Asia/Almaty)"
    told = "\n".join(lines)
    assert "2025-01-06 13:10:00  SUPPRESSED SPACING m0 by time" in told
    assert "SPACING: favourite-drop at 11:20, 2h apart, free at 13:20" in told
    assert "pending: m4 due 2025-01-06 15:30:00 unless `Ordered`" in told
    assert "starts with `Added`" in told
    assert "then 2h without `Ordered`" in told
    assert "now it would be" not in told


def test_a_match_and_a_mismatch_show_the_comparison() -> None:
    told = "\n".join(story_lines(_story()))
    assert "      price 18 < 20\n" in told
    assert "`Price Dropped` m2 does not match\n      price 25 < 20: no\n" in told
    assert "now it would be COOLDOWN: last at 11:20, 1d apart, free at 2025-01-07 11:20" in told
    assert "paused: nothing is sent; `tripline resume kettle`" in told


def test_an_earlier_moment_shows_what_was_pending_then() -> None:
    told = "\n".join(story_lines(_story("7h"), "cart"))
    assert "pending: m0 due 2025-01-06 13:10:00 unless `Ordered`" in told
    assert "now it would be SPACING: favourite-drop at 11:20, 2h apart, free at 13:20" in told
    assert "SUPPRESSED" not in told


def test_a_trigger_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UnknownTriggerError):
        story_json(_story(), "basket")


def test_names_from_emitters_do_not_steer_the_terminal() -> None:
    hostile = _event("1h", "Added", "\x1b[2J", {})
    story = explain_events(program_of(CART), "u\x1b]0;", [(ms("1h"), hostile)], {"u\x1b]0;"})
    assert all(line.isprintable() for line in story_lines(story))


def test_a_zone_that_is_none_is_that_of_the_file() -> None:
    told = _event("1h", "Added", "m1", {})
    told.context = {"timezone": "Mars/Olympus"}
    program = program_of(CART, caps=[{"max": 1, "calendar": "day"}])
    assert explain_events(program, "u", [(ms("1h"), told)], {"u"}).zone == "UTC"


def test_every_message_of_a_chain_is_told_as_a_backtest_decides_it() -> None:
    chain = [
        {**HELLO, "class": "transactional"},
        *(
            {"id": name, "state": "live", "when": {"outcome": "accepted", "trigger": first}}
            for name, first in (("second", "hello"), ("third", "second"))
        ),
        {**CART, "wait": "1h"},
    ]
    events = [
        (ms(at), _event(at, name, name, {}))
        for at, name in (("0h", "Added"), ("1h", "Opened"), ("1h", "Ordered"))
    ]
    watched = explain_events(program_of(*chain), "u", events, {"u"})
    told = [(entry.at, entry.trigger, str(entry.what)) for entry in watched.entries]
    assert (ms("1h") + 2, "third", "ADMITTED") in told
    assert (ms("1h"), "cart", "CANCELLED") in told


def test_every_decision_is_that_of_a_backtest() -> None:
    options = SimulationOptions(
        users=40, duration_ms=20_000, rate_per_s=150.0, seed=5, compression=600.0
    )
    decoded = [decode_event(message.value) for message in simulate(options)]
    events = [(occurred_at_ms(event, 1 << 60), event) for event in decoded]
    events.sort(key=lambda pair: pair[0])
    program = program_of(
        {**CART, "when": {"event": "Product Added"}, "unless": {"event": "Order Completed"}},
        {"id": "viewed", "state": "live", "when": {"event": "Product Viewed"}},
        spacing="10m",
        caps=[{"max": 3, "per": "1d"}],
    )
    made: list[Decision] = []
    run = Backtest(program, made.append)
    run.feed(events)
    users = sorted({event.profile for _, event in events})
    assert len(made) > 100
    merged = 0
    for user in users:
        profiles = profiles_of(user, events)
        merged += len(profiles) > 1
        watched = explain_events(program, user, events, profiles)
        told = [
            (entry.at, entry.trigger, str(entry.what), entry.reason)
            for entry in watched.entries
            if entry.what in ("ADMITTED", "SUPPRESSED", "CANCELLED")
        ]
        mine = [d for d in made if d.user == user]
        assert sorted(told, key=str) == sorted(
            ((d.at_ms, d.trigger, str(d.outcome), d.reason) for d in mine), key=str
        )
    assert merged > 5


def test_quiet_hours_say_when_they_open() -> None:
    program = program_of(
        {**DROP, "when": {"event": "Opened"}}, quiet=["11:00", "13:00"], zone="Asia/Almaty"
    )
    zone = Assumed(zone="Asia/Almaty")
    rows = [(ms("6h30m"), _event("6h30m", "Opened", "m0", {}))]
    told = "\n".join(story_lines(explain_events(program, "u", rows, {"u"}, assumed=zone)))
    assert "QUIET_HOURS: 11:30 in Asia/Almaty, closed 11:00-13:00, opens at 13:00" in told
    assert "is held until 2025-01-06 13:00:00" in told


def test_what_a_policy_does_not_ask_for_is_not_told() -> None:
    program = program_of({**DROP, "when": {"event": "Opened"}})
    rows = [(ms("6h30m"), _event("6h30m", "Opened", "m0", {}))]
    lines = list(story_lines(explain_events(program, "u", rows, {"u"})))
    (passed,) = [line.strip() for line in lines if "passed:" in line]
    assert passed == "passed: state live; device 1 known"
