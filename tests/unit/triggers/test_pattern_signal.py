"""`{signal, where}`: an entry by API, by a campaign, by a score."""

from typing import Any

import pytest

from engine.stream.intake import EventInput, read_record
from schemas.events import BadRecord, Event, decode_event
from schemas.kinds import Kind, sealed_headers
from schemas.reasons import DeadLetterReason, Unevaluated
from schemas.records import SignalRecord, encode, signal_event
from tests.unit.stream.builders import SECRET, Record
from tests.unit.triggers.user import HELLO, T0, User, ms, program_of
from triggers.workspace import DefinitionErrors

SCORED: dict[str, Any] = {
    **HELLO,
    "when": {"signal": "churn-risk", "where": {"properties.score": {"gte": 0.8}}},
}


def signal(user: User, at: str, name: str = "churn-risk", *, id: str, **properties: Any) -> bool:
    return user.apply(at, signal_event(SignalRecord("u", name, id, ms(at), properties)))


def test_a_score_over_the_threshold_fires_and_one_below_does_not() -> None:
    user = User(program_of(SCORED))
    signal(user, "1h", id="a", score=0.79)
    signal(user, "2h", id="b", score=0.8)
    signal(user, "3h", id="c", score=0.9, name="other")
    signal(user, "4h", id="d", score="0.9")
    assert user.lines == ["2h hello b ADMITTED"]
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


def test_a_signal_sent_again_has_no_second_effect() -> None:
    user = User(program_of(SCORED))
    for at in ("1h", "2h"):
        signal(user, at, id="same", score=1)
    assert user.lines == ["1h hello same ADMITTED"]


def test_a_signal_is_neither_activity_nor_a_lesson() -> None:
    quiet = {"id": "quiet", "state": "live", "when": {"idle": "7d"}}
    visit = {"id": "visit", "state": "live", "when": {"session": "start"}}
    plan = {"id": "plan", "state": "live", "when": {"trait": "plan"}}
    user = User(program_of(SCORED, quiet, visit, plan))
    user.event("0s", "Opened")
    seen, traits = user.state.seen, dict(user.state.traits)
    signal(user, "6d", id="a", score=1)
    assert (user.state.seen, user.state.traits) == (seen, traits)
    assert [line.split()[1] for line in user.lines] == ["visit", "hello"]


def test_the_context_of_a_signal_in_a_file_teaches_no_device_zone_or_trait() -> None:
    lunch = {**HELLO, "id": "lunch", "send_at": {"between": ["12:00", "14:00"]}}
    user = User(
        program_of(SCORED, lunch, {"id": "plan", "state": "live", "when": {"trait": "plan"}})
    )
    devices = list(user.state.devices)
    context = {
        "device": {"token": "another", "type": "ios"},
        "timezone": "Asia/Almaty",
        "traits": {"plan": "pro"},
    }
    event = signal_event(SignalRecord("u", "churn-risk", "a", ms("1h"), {"score": 1}))
    event.context = context
    user.apply("1h", event)
    assert user.lines == ["1h hello a ADMITTED"]
    assert (user.state.devices, user.state.zone, user.state.traits) == (devices, "", {})
    user.apply("2h", Event("page", user_id="u", context=context, message_id="b"))
    assert len(user.state.devices) == len(devices) + 1
    assert (user.state.zone, user.state.traits) == ("Asia/Almaty", {"plan": "pro"})


def test_a_signal_nobody_waits_for_leaves_every_state_as_it_is() -> None:
    event = signal_event(SignalRecord("u", "other", "a", T0))
    assert program_of(SCORED, {**HELLO, "id": "q", "when": {"idle": "7d"}}).hits(event) is None


def test_a_signal_with_unless_and_wait_is_an_absence() -> None:
    user = User(program_of({**SCORED, "unless": {"event": "Ordered"}, "wait": "1d"}))
    signal(user, "0s", id="a", score=1)
    user.fire("5d")
    assert user.lines == ["1d hello a ADMITTED"]


# --- where signals come from ---


def record_of(record: SignalRecord, *, sealed: bool = True) -> Record:
    value = encode(record)
    headers = sealed_headers(SECRET if sealed else b"wrong", Kind.SIGNAL, 0, b"u", value)
    return Record(0, T0, value, b"u", headers)


def test_a_sealed_signal_is_an_input_of_its_user() -> None:
    program = program_of(SCORED)
    found = read_record(
        record_of(SignalRecord("u", "churn-risk", "a", T0, {"score": 1})), T0, program, SECRET
    )
    assert isinstance(found, EventInput)
    assert (found.user, found.event.type, len(found.hits.starts)) == ("u", "signal", 1)


@pytest.mark.parametrize(
    ("record", "sealed", "reason"),
    [
        (SignalRecord("u", "churn-risk", "a", T0), False, DeadLetterReason.FORGED),
        (SignalRecord("", "churn-risk", "a", T0), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (SignalRecord("u", "", "a", T0), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (SignalRecord("u", "churn-risk", "", T0), True, DeadLetterReason.BAD_ENGINE_RECORD),
        (SignalRecord("u", "churn-risk", "a", 1 << 60), True, DeadLetterReason.BAD_ENGINE_RECORD),
    ],
)
def test_a_forged_or_broken_signal_is_a_dead_letter(
    record: SignalRecord, sealed: bool, reason: DeadLetterReason
) -> None:
    with pytest.raises(BadRecord) as caught:
        read_record(record_of(record, sealed=sealed), T0, program_of(SCORED), SECRET)
    assert caught.value.reason is reason


@pytest.mark.parametrize("kind", ["signal", "outcome"])
def test_an_emitter_can_send_neither_a_signal_nor_an_outcome(kind: str) -> None:
    value = b'{"type":"%b","messageId":"a","userId":"u","event":"churn-risk"}' % kind.encode()
    with pytest.raises(BadRecord) as caught:
        read_record(Record(0, T0, value, b"u"), T0, program_of(SCORED), SECRET)
    assert caught.value.reason is DeadLetterReason.WRONG_TYPE


@pytest.mark.parametrize("name", ["\x1fsignal:churn-risk", "\x1fidentify", "\x1fany"])
def test_an_emitter_cannot_reach_a_reserved_name(name: str) -> None:
    program = program_of(SCORED, {**HELLO, "id": "p", "when": {"trait": "plan"}})
    event = Event(type="track", message_id="a", event=name, user_id="u")
    hits = program.hits(event)
    assert hits is None or not hits.starts


def test_an_event_file_may_hold_signals() -> None:
    value = b'{"type":"signal","messageId":"a","userId":"u","event":"churn-risk"}'
    assert decode_event(value, signals=True).type == "signal"
    for bad in (
        value.replace(b'"event":"churn-risk"', b'"x":1'),
        value.replace(b"signal", b"outcome"),
    ):
        with pytest.raises(BadRecord):
            decode_event(bad, signals=True)


@pytest.mark.parametrize("name", ["", "a" * 129, "\x1fx", 3])
def test_a_faulty_name_is_refused(name: Any) -> None:
    with pytest.raises(DefinitionErrors, match="signal"):
        program_of({**HELLO, "when": {"signal": name}})
