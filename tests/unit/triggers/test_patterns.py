"""Patterns: the single event, and silence."""

from typing import Any

import pytest

from schemas.events import Event
from tests.unit.triggers.user import CART, HELLO, T0, User, ms, program_of, text
from triggers.program import GRANULE_MAX_MS

QUIET: dict[str, Any] = {"id": "quiet", "state": "live", "when": {"idle": "7d"}}


def quiet(**changes: Any) -> User:
    return User(program_of({**QUIET, **changes}))


def seen_after(e: str, granule_ms: int) -> int:
    return -(-ms(e) // granule_ms) * granule_ms


# --- immediate ---


def test_each_matching_event_is_a_candidate_at_its_append_time() -> None:
    user = User(program_of(HELLO))
    user.event("1h", "Opened", e="0s")
    user.event("2h", "Opened")
    user.event("2h", "Other")
    assert user.lines == ["1h hello m0 ADMITTED", "2h hello m1 ADMITTED"]


def test_an_event_that_fails_its_where_is_no_candidate() -> None:
    user = User(program_of({**HELLO, "when": {"event": "Opened", "where": {"properties.n": 1}}}))
    for value in (2, "1", True, None):
        user.event("0s", "Opened", n=value)
    user.event("0s", "Opened")
    user.event("1h", "Opened", n=1.0)
    assert user.lines == ["1h hello m5 ADMITTED"]


@pytest.mark.parametrize("kind", ["page", "screen"])
def test_pages_and_screens_go_by_their_names(kind: str) -> None:
    name = f"{kind.capitalize()}: home"
    user = User(program_of({**HELLO, "when": {"event": name}}))
    user.apply(
        "0s",
        Event(type=kind, message_id="m", user_id="u", properties={"name": "home"}),  # type: ignore[arg-type]
    )
    assert user.lines == ["0s hello m ADMITTED"]


@pytest.mark.parametrize("timeless", [False, True])
def test_a_repeated_message_gives_no_second_one(timeless: bool) -> None:
    user = User(program_of(HELLO))
    user.event("1h", "Opened", e="30m", id="same", timeless=timeless)
    user.event("20h", "Opened", e="30m", id="same", timeless=timeless)
    assert user.lines == ["1h hello same ADMITTED"]


def test_a_repeated_message_from_a_clock_that_is_ahead_gives_no_second_one() -> None:
    user = User(program_of(HELLO))
    for at in ("1h", "2h", "25h"):
        user.event(at, "Opened", e="10d", id="same")
    assert user.lines == ["1h hello same ADMITTED"]


def test_a_start_older_than_24_hours_starts_nothing_also_when_immediate() -> None:
    user = User(program_of(HELLO))
    user.event("1d1ms", "Opened", e="0s")
    user.event("1d1ms", "Opened", e="1ms")
    assert user.lines == ["1d1ms hello m1 ADMITTED"]


def test_a_client_time_ahead_of_the_log_counts_as_the_append_time() -> None:
    user = User(program_of(CART))
    user.event("1h", "Added", e="5h")
    user.fire("10d")
    assert user.lines == ["3h cart m0 ADMITTED"]


# --- idle ---


def test_silence_fires_once_when_it_has_lasted() -> None:
    user = quiet()
    user.event("0s", "Opened")
    user.fire("60d")
    seen = seen_after("0s", GRANULE_MAX_MS)
    due = seen + ms("7d") - T0
    assert user.lines == [f"{text(due)} quiet idle:{seen} ADMITTED"]


def test_any_client_event_of_the_user_is_activity() -> None:
    user = quiet()
    user.event("0s", "Opened")
    user.apply("6d", Event(type="identify", message_id="i", user_id="u"))
    user.fire("12d")
    assert user.lines == []
    user.fire("14d")
    assert len(user.lines) == 1


def test_a_new_silence_fires_again() -> None:
    user = quiet()
    user.event("0s", "Opened")
    user.event("8d", "Opened")
    user.fire("60d")
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED", "ADMITTED"]


def test_late_activity_that_is_not_the_latest_changes_nothing() -> None:
    user = quiet()
    user.event("5h", "Opened")
    due = user.state.due
    user.event("6h", "Opened", e="1h")
    assert user.state.due == due


def test_silence_is_never_early_and_late_by_a_granule_at_most() -> None:
    user = quiet(when={"idle": "3h"})
    granule = user.program.granule_ms
    assert granule == 3 * 3_600_000 // 168
    for minute in range(0, 120, 7):
        user.event(f"{minute}m", "Opened")
        late = user.state.due - ms(f"{minute}m") - ms("3h") + T0
        assert 0 <= late < granule


def test_activity_within_a_granule_is_not_written() -> None:
    user = quiet()
    user.event("1ms", "Opened")
    assert not user.apply("30m", Event(type="identify", message_id="i", user_id="u"))
    assert user.apply("61m", Event(type="identify", message_id="j", user_id="u"))


def test_the_grace_of_the_policy_is_added_to_the_silence() -> None:
    user = User(program_of(QUIET, grace="2h"))
    user.event("0s", "Opened")
    assert user.state.due == seen_after("0s", GRANULE_MAX_MS) + ms("7d") - T0 + ms("2h") - T0


def test_registration_never_fires_for_a_silence_that_began_before_it() -> None:
    user = User(program_of(QUIET, registered=ms("10d")))
    user.event("0s", "Opened")
    assert user.state.due == 0
    user.fire("60d")
    user.event("61d", "Opened")
    user.fire("90d")
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED"]


def test_the_granule_is_that_of_the_shortest_silence() -> None:
    def granule(*waits: str) -> int:
        documents = [{**QUIET, "id": f"q{w}", "when": {"idle": w}} for w in waits]
        return program_of(*documents).granule_ms

    assert granule() == 0
    assert granule("1m") == 60_000 // 168
    assert granule("30d") == GRANULE_MAX_MS
    assert granule("30d", "1h") == 3_600_000 // 168


def test_an_idle_trigger_registered_later_watches_users_seen_since_then() -> None:
    long = {"id": "month", "state": "live", "when": {"idle": "30d"}}
    user = User(program_of(long))
    user.event("10m", "Opened")
    user.program = program_of(long, QUIET, registered=ms("5m"))
    user.event("11m", "Opened")
    user.fire("9d")
    assert [line.split()[1] for line in user.lines] == ["quiet"]


def test_a_per_value_longer_than_an_id_is_not_evaluated() -> None:
    user = User(program_of({**CART, "per": "properties.page"}))
    user.event("0s", "Added", page="x" * 257)
    user.fire("3h")
    assert user.lines == []


def test_a_shorter_silence_registered_later_is_watched_for_from_the_next_activity_on() -> None:
    user = quiet()
    user.event("1s", "Anything")
    seen = user.state.seen
    user.program = program_of(QUIET, {**QUIET, "id": "sooner", "when": {"idle": "2d"}})
    user.event("2s", "Anything")
    assert user.state.seen == seen
    assert user.state.due == seen + 2 * 86_400_000


def test_a_date_registered_later_is_met_although_last_activity_is_rounded_up_to_behind_it() -> None:
    soon = {**HELLO, "id": "soon", "when": {"event": "Added"}, "wait": "45m"}
    date = {**HELLO, "id": "date", "when": {"date": "traits.day"}}
    known = {**HELLO, "id": "known", "when": {"trait": "day"}}
    user = User(program_of(QUIET, soon, known))
    user.identify("1m", day="2025-01-06T00:30:00Z")
    user.event("5m", "Added")
    assert user.state.seen > ms("50m") == user.state.due
    user.program = program_of(QUIET, soon, known, date)
    user.event("20m", "Anything")
    assert user.state.due == ms("30m")
