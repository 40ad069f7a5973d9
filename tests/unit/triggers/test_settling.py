"""Candidates of one moment, or of one settle window, compete for one message."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decisions import decision_record, decision_row
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.state import SETTLING_MAX, UserState, decode_state, encode_state
from triggers.workspace import DefinitionErrors, load_documents


def hello(name: str, **changes: Any) -> dict[str, Any]:
    return {**HELLO, "id": name, "when": {"event": name}, **changes}


def competing(*documents: dict[str, Any], settle: str = "5m", **policy: Any) -> User:
    return User(program_of(*documents, settle=settle, **policy))


def test_the_highest_priority_of_a_window_is_sent_when_it_closes() -> None:
    user = competing(hello("a"), hello("b", priority=90), hello("c"))
    for at, name in (("0s", "a"), ("2m", "b"), ("5m", "c")):
        user.event(at, name)
    assert user.lines == []
    user.fire("1h")
    assert user.lines == ["5m b m1 ADMITTED", "5m a m0 LOWER_PRIORITY", "5m c m2 LOWER_PRIORITY"]


def test_who_comes_after_the_close_opens_a_window_of_its_own() -> None:
    user = competing(hello("a"), hello("b", priority=90))
    user.event("0s", "a")
    user.event("5m1ms", "b")
    user.fire("1h")
    assert user.lines == ["5m a m0 ADMITTED", "10m1ms b m1 ADMITTED"]


def test_one_that_an_earlier_check_refuses_does_not_win_and_the_next_one_does() -> None:
    user = competing(hello("a"), hello("b", priority=90, cooldown="1d"), hello("c", priority=10))
    user.event("0s", "b")
    user.fire("5m1ms")
    for name in ("c", "b", "a"):
        user.event("1h", name)
    user.fire("2h")
    assert user.lines[1:] == [
        "1h5m b m2 COOLDOWN",
        "1h5m a m3 ADMITTED",
        "1h5m c m1 LOWER_PRIORITY",
    ]


def test_what_the_winner_took_is_no_reason_against_those_it_won_over() -> None:
    user = competing(
        hello("a"), hello("b"), settle="0s", spacing="1h", caps=[{"max": 1, "per": "1d"}]
    )
    user.event("0s", "a")
    user.event("0s", "b")
    user.event("1s", "b")
    assert user.lines == ["0s a m0 ADMITTED", "0s b m1 LOWER_PRIORITY", "1s b m2 SPACING"]


def test_a_transactional_message_never_waits_and_never_competes() -> None:
    user = competing(hello("a"), hello("code", **{"class": "transactional"}, priority=1))
    user.event("0s", "a")
    user.event("1m", "code")
    user.fire("5m1ms")
    assert user.lines == ["1m code m1 ADMITTED", "5m a m0 ADMITTED"]


def test_a_cancel_while_settling_cancels() -> None:
    user = competing({**CART, "priority": 90}, hello("a"))
    user.event("0s", "Added")
    user.event("2h1m", "a")
    user.event("2h2m", "Ordered")
    user.fire("1d")
    assert user.lines == ["2h2m cart m0 CANCELLED", "2h6m a m1 ADMITTED"]


def test_a_bundle_competes_as_one_message_and_its_members_lose_with_it() -> None:
    bundle = {"window": "1m", "max": 3}
    user = competing(hello("a", per="event", bundle=bundle), hello("b", priority=90))
    for at, name in (("0s", "a"), ("30s", "a"), ("2m", "b")):
        user.event(at, name)
    user.fire("1h")
    assert user.lines == ["6m b m2 ADMITTED", "6m a m0 LOWER_PRIORITY", "6m a m1 LOWER_PRIORITY"]


def test_the_loser_names_the_delivery_that_won_in_its_record_and_in_the_journal() -> None:
    user = competing(hello("a"), hello("b"))
    user.event("0s", "a")
    user.event("0s", "b")
    user.fire("1h")
    (won,) = user.effects.deliveries
    lost = user.effects.decisions[1]
    assert lost.by == won.delivery_id
    assert f'"by":"{won.delivery_id}"'.encode() in decision_record(lost)
    assert b'"by"' not in decision_record(user.effects.decisions[0])
    assert len(decision_row(lost)) == 9
    assert [(line.what, line.by) for line in user.effects.journal] == [
        ("ADMITTED", "m0"),
        ("LOWER_PRIORITY", won.delivery_id),
    ]


def test_settling_counts_towards_expires() -> None:
    user = competing(hello("a", expires="20m"))
    user.event("0s", "a")
    user.fire("1h")
    assert user.effects.deliveries[0].decided_at_ms == ms("5m")
    assert user.effects.deliveries[0].expires_at_ms == ms("20m")


@pytest.mark.parametrize("changes", [{}, {"expires": "30m"}])
def test_a_message_that_expires_while_it_settles_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DefinitionErrors, match="which counts towards `expires`"):
        load_documents([hello("a", **changes)], {"default": {"settle": "30m"}})


def test_a_full_window_closes_at_once() -> None:
    user = competing(hello("a", per="event"))
    for number in range(SETTLING_MAX):
        user.event(f"{number}s", "a")
    user.fire("1m")
    last = f"{SETTLING_MAX - 1}s"
    assert user.lines[0] == f"{last} a m0 ADMITTED"
    assert len(user.lines) == SETTLING_MAX


def test_a_timer_that_was_armed_late_waits_for_those_who_are_there() -> None:
    user = competing({**CART, "priority": 90}, hello("a"))
    user.event("10h", "a")
    user.event("10h1m", "Added", e="1h")
    user.fire("1d")
    assert user.lines == ["10h cart m1 ADMITTED", "10h a m0 LOWER_PRIORITY"]


def test_a_removed_trigger_ends_paused_when_the_window_closes() -> None:
    user = competing(hello("a"), hello("b"))
    user.event("0s", "a")
    user.event("0s", "b")
    user.program = program_of(hello("b"), settle="5m")
    user.fire("1h")
    assert user.lines == ["5m a m0 PAUSED", "5m b m1 ADMITTED"]


def test_the_open_window_is_stored_and_forgotten_when_it_closes() -> None:
    user = competing(hello("a", per="event"), {**CART})
    user.event("0s", "a")
    stored = decode_state(encode_state(user.state))
    assert stored == user.state
    assert stored.due == ms("5m")
    user.fire("1h")
    assert user.state.settling == UserState().settling


names = ("a", "b", "c", "d")


@given(
    priorities=st.fixed_dictionaries({name: st.sampled_from((10, 50, 90)) for name in names}),
    times=st.lists(st.integers(0, 300), min_size=4, max_size=4),
    blocked=st.sampled_from((None, *names)),
)
@settings(max_examples=40)
def test_every_order_of_arrival_in_a_window_gives_the_same_winner(
    priorities: dict[str, int], times: list[int], blocked: str | None
) -> None:
    documents = [
        hello(name, priority=priorities[name], state="paused" if name == blocked else "live")
        for name in names
    ]
    program = program_of(*documents, settle="5m")
    times = sorted([0, *times[1:]])
    won = set()
    for order in permutations(names):
        user = User(program)
        for at, name in zip(times, order, strict=True):
            user.event(f"{at}s", name)
        user.fire("1h")
        won.add(tuple(d.trigger.id for d in user.effects.deliveries))
        assert {line.split()[0] for line in user.lines} == {"5m"}
    best = min((name for name in names if name != blocked), key=lambda n: (-priorities[n], n))
    assert won == {(best,)}
