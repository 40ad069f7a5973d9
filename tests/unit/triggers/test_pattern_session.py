"""`{session: start}` and `{session: end}`: a visit begins, a visit is over."""

from random import Random
from typing import Any

import pytest

from schemas.events import Event
from tests.unit.triggers.user import HELLO, User, ms, program_of, text
from triggers.state import decode_state, encode_state
from triggers.workspace import DefinitionErrors

GAP_MS = 30 * 60_000


def user_of(what: str, registered: int = 0, grace: str = "0s", **fields: Any) -> User:
    document = {**HELLO, "when": {"session": what, "gap": "30m"}, **fields}
    return User(program_of(document, registered=registered, grace=grace))


def rounded(user: User, e: str) -> int:
    """Last activity as it is known."""
    granule = user.program.granule_ms
    return -(-ms(e) // granule) * granule


def over(user: User, e: str) -> str:
    return text(rounded(user, e) + GAP_MS)


# --- start ---


def test_the_first_event_of_all_and_the_first_after_a_gap_start_a_session() -> None:
    user = user_of("start")
    for at in ("0s", "10m", "35m", "2h", "2h20m", "9h"):
        user.event(at, "Seen")
    assert user.lines == ["0s hello m0 ADMITTED", "2h hello m3 ADMITTED", "9h hello m5 ADMITTED"]


def test_any_client_event_is_activity() -> None:
    user = user_of("start")
    user.event("0s", "Seen")
    user.identify("25m", plan="pro")
    user.apply("50m", Event(type="page", message_id="p", user_id="u"))
    user.event("75m", "Seen")
    assert user.lines == ["0s hello m0 ADMITTED"]


def test_a_gap_is_never_too_short_and_may_be_missed_by_less_than_a_granule() -> None:
    user = user_of("start")
    user.event("1ms", "Seen")
    known = rounded(user, "1ms")
    assert known - ms("1ms") < GAP_MS / 168
    short, exact = (decode_state(encode_state(user.state)) for _ in range(2))
    user.state = short
    user.event(text(known + GAP_MS - 1), "Seen")
    assert len(user.lines) == 1
    user.state = exact
    user.event(text(known + GAP_MS), "Seen")
    assert len(user.lines) == 2


def test_an_event_that_is_not_later_than_the_last_activity_starts_nothing() -> None:
    user = user_of("start")
    user.event("10h", "Seen")
    user.event("11h", "Seen", e="2h")
    user.event("12h", "Seen", e="10h")
    assert user.lines == ["10h hello m0 ADMITTED"]


def test_a_message_sent_again_without_a_time_of_its_own_starts_no_session() -> None:
    user = user_of("start")
    for at in ("0s", "5h", "20h"):
        user.event(at, "Seen", id="same", timeless=True)
    assert user.lines == ["0s hello same ADMITTED"]


def test_within_a_gap_of_registration_no_session_is_known_to_start() -> None:
    user = user_of("start", registered=ms("1h"))
    user.event("70m", "Seen")
    user.event("2h30m", "Seen")
    assert user.lines == ["2h30m hello m1 ADMITTED"]
    fresh = user_of("start", registered=ms("1h"))
    fresh.event("1h30m", "Seen")
    assert fresh.lines == ["1h30m hello m0 ADMITTED"]


def test_activity_is_not_written_per_event() -> None:
    user = user_of("start")
    user.event("1s", "Seen")
    event = Event(type="track", message_id="x", event="Seen", user_id="u")
    assert not user.apply("2s", event)
    assert user.state.patterns == {}


def test_a_session_that_starts_may_wait_for_what_does_not_happen() -> None:
    user = user_of("start", unless={"event": "Ordered"}, wait="20m")
    user.event("0s", "Seen")
    user.event("5m", "Seen")
    user.event("5h", "Seen")
    user.event("5h1m", "Ordered")
    user.fire("9h")
    assert user.lines == ["20m hello m0 ADMITTED", "5h1m hello m2 CANCELLED"]


# --- end ---


def test_a_session_is_over_a_gap_after_its_last_activity_and_is_named_by_its_first_event() -> None:
    user = user_of("end")
    user.event("0s", "Seen")
    user.event("20m", "Seen")
    user.event("41m", "Seen")
    user.fire("10h")
    assert user.lines == [f"{over(user, '41m')} hello m0 ADMITTED"]
    decision = user.effects.decisions[0]
    assert (decision.start, decision.event) == ("m0", "m0")


def test_each_session_ends_once() -> None:
    user = user_of("end")
    for at in ("0s", "2h", "2h10m", "5h"):
        user.event(at, "Seen")
    user.fire("20h")
    assert [line.split()[2] for line in user.lines] == ["m0", "m1", "m3"]
    assert user.state.due == 0 or user.state.due > ms("20h")


def test_start_is_the_first_event_of_the_session() -> None:
    message = {"push": {"title": "{{ start.properties.page }}", "body": "x"}}
    user = user_of("end", message=message)
    user.event("0s", "Seen", page="home")
    user.event("5m", "Seen", page="cart")
    user.fire("5h")
    assert user.effects.deliveries[0].start_fields == {"properties.page": "home"}


def test_activity_up_to_the_deadline_and_its_grace_keeps_the_session_open() -> None:
    user = user_of("end", grace="2m")
    user.event("0s", "Seen")
    due = user.state.due
    assert due == rounded(user, "0s") + GAP_MS + 120_000
    user.event(text(due), "Seen")
    assert user.lines == []
    user.fire("9h")
    assert [line.split()[2] for line in user.lines] == ["m0"]


def test_an_event_of_a_session_that_is_over_opens_no_other() -> None:
    user = user_of("end")
    user.event("0s", "Seen")
    user.event("3h", "Seen", e="10m")
    user.event("4h", "Seen", e="0s")
    user.fire("20h")
    assert [line.split()[2] for line in user.lines] == ["m0"]


def test_the_first_message_sent_again_is_no_second_session() -> None:
    user = user_of("end")
    for at in ("0s", "5h", "10h"):
        user.event(at, "Seen", id="same", timeless=True)
    user.fire("20h")
    assert [line.split()[2] for line in user.lines] == ["same"]


def test_a_session_writes_its_first_event_only_and_is_forgotten_a_day_after() -> None:
    user = user_of("end")
    user.event("1s", "Seen")
    event = Event(type="track", message_id="x", event="Seen", user_id="u")
    assert not user.apply("2s", event)
    assert user.state.patterns["hello"][1:4] == ["m0", ms("1s"), 0]
    user.fire("24h")
    assert user.state.patterns["hello"][4] == {}
    user.fire("3d")
    assert user.state.patterns == {}


def test_an_edit_to_another_pattern_discards_the_session() -> None:
    user = user_of("end")
    user.event("0s", "Seen")
    user.program = program_of({**HELLO, "when": {"trait": "plan"}})
    user.fire("5d")
    assert user.lines == []
    user.identify("6d", plan="x")
    user.fire("9d")
    assert user.state.patterns == {}


def test_the_end_of_a_session_may_wait_from_there() -> None:
    user = user_of("end", unless={"event": "Ordered"}, wait="1h")
    user.event("0s", "Seen")
    user.fire("9h")
    assert user.lines == [f"{text(rounded(user, '0s') + GAP_MS + 3_600_000)} hello m0 ADMITTED"]
    assert user.effects.decisions[0].start == "m0"


@pytest.mark.parametrize("what", ["start", "end"])
def test_a_verdict_depends_on_the_log_alone(what: str) -> None:
    """Polls, restarts and duplicates of timed messages between records change nothing."""
    for seed in range(25):
        plain, disturbed = user_of(what), user_of(what)
        chance = Random(seed)
        now = 0
        for number in range(30):
            now += chance.choice((0, 1, 60_000, 1_799_999, 1_800_000, 1_900_000, 7_200_000))
            late = chance.choice((0, 0, 0, 60_000, 5_400_000))
            at, e = f"{now}ms", text(ms(f"{now}ms") - late)
            for user in (plain, disturbed):
                user.event(at, "Seen", e=e, id=f"m{number}")
            if chance.random() < 0.5:
                disturbed.event(at, "Seen", e=e, id=f"m{number}")
            if chance.random() < 0.5:
                disturbed.fire(at)
                disturbed.state = decode_state(encode_state(disturbed.state))
        for user in (plain, disturbed):
            user.fire("900h")
        assert plain.lines == disturbed.lines
        assert len(plain.state.patterns) <= 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"when": {"session": "middle"}}, "start, end"),
        ({"when": {"session": "start", "gap": "1ms"}}, "at least 1s"),
        ({"when": {"session": "start"}, "per": "event"}, "no `per`"),
    ],
)
def test_a_faulty_definition_is_told_where(fields: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        program_of({**HELLO, **fields})
    assert said in str(caught.value)
