"""Counts in a rolling window, the n-th event, and sequences."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.patterns.count import ENTRIES_MAX
from triggers.workspace import DefinitionErrors, load_documents


def trigger(when: dict[str, Any], **changes: Any) -> User:
    return User(program_of({"id": "t", "state": "live", "when": when, **changes}))


def count(number: int = 3, within: str = "1h", **more: Any) -> User:
    return trigger({"event": "View", "count": number, "within": within, **more})


# --- count ---


def test_what_is_counted_of_a_user_is_bounded_over_all_values() -> None:
    user = count(100, same="properties.sku")
    for number in range(30 * 90):
        user.event(f"{number}s", "View", sku=number % 30)
    _, groups, _ = user.state.patterns["t"]
    assert sum(map(len, groups.values())) <= ENTRIES_MAX
    assert user.effects.evicted["counted"] > 0


def test_the_event_that_completes_a_count_fires_and_names_the_first() -> None:
    user = count()
    for at in ("0s", "10m", "20m"):
        user.event(at, "View")
    assert user.lines == ["20m t m0 ADMITTED"]
    decision = user.effects.decisions[0]
    assert (decision.start, decision.event) == ("m0", "m2")


@pytest.mark.parametrize(("last", "fires"), [("59m59s999ms", True), ("1h", False), ("2h", False)])
def test_events_count_together_while_less_than_the_window_lies_between_them(
    last: str, fires: bool
) -> None:
    user = count()
    user.event("0s", "View")
    user.event("10m", "View")
    user.event(last, "View")
    assert bool(user.lines) is fires


def test_firing_clears_the_count() -> None:
    user = count(2)
    for at in ("0s", "1m", "2m", "3m", "4m"):
        user.event(at, "View")
    assert user.lines == ["1m t m0 ADMITTED", "3m t m2 ADMITTED"]


def test_the_same_value_counts_once_under_distinct() -> None:
    user = count(2, distinct="properties.sku")
    user.event("0s", "View", sku="a")
    user.event("1m", "View", sku="a")
    assert user.lines == []
    user.event("2m", "View", sku="b")
    assert user.lines == ["2m t m0 ADMITTED"]


def test_each_value_of_same_is_counted_by_itself() -> None:
    user = count(2, same="properties.category")
    user.event("0s", "View", category="shoes")
    user.event("1m", "View", category="bags")
    user.event("2m", "View", category="shoes")
    assert user.lines == ["2m t m0 ADMITTED"]


def test_each_per_value_is_counted_by_itself() -> None:
    user = trigger(
        {"event": "View", "count": 2, "within": "1h"}, per="properties.sku", cooldown="0s"
    )
    for at, sku in (("0s", "a"), ("1m", "b"), ("2m", "b")):
        user.event(at, "View", sku=sku)
    assert user.lines == ["2m t m1 ADMITTED"]


def test_an_event_without_the_value_to_tell_apart_is_not_evaluated() -> None:
    user = count(2, distinct="properties.sku")
    user.event("0s", "View")
    user.event("1m", "View", sku=None)
    assert dict(user.effects.unevaluated) == {("t", "PER_MISSING"): 2}


def test_a_message_sent_twice_counts_once_also_after_the_count_fired() -> None:
    user = count(2)
    for at in ("0s", "1m"):
        user.event(at, "View", e="0s", id="a")
    assert user.lines == []
    user.event("2m", "View", id="b")
    user.event("3m", "View", e="0s", id="a")
    user.event("4m", "View", e="2m", id="b")
    assert user.lines == ["2m t a ADMITTED"]


def test_a_late_event_completes_the_window_it_lies_in() -> None:
    user = count()
    user.event("0s", "View")
    user.event("50m", "View")
    user.event("5h", "View", e="40m")
    assert user.lines == ["5h t m0 ADMITTED"]


def test_an_absence_after_a_count_waits_from_the_completing_event() -> None:
    user = trigger(
        {"event": "View", "count": 2, "within": "1h"},
        unless={"event": "Ordered", "where": {"properties.sku": "$event.properties.sku"}},
        wait="2h",
    )
    user.event("0s", "View", sku="a")
    user.event("10m", "View", sku="b")
    user.event("20m", "Ordered", sku="a")
    user.fire("5h")
    assert user.lines == ["2h10m t m0 ADMITTED"]
    user.event("6h", "View", sku="a")
    user.event("6h", "View", sku="b")
    user.event("6h1m", "Ordered", sku="b")
    assert user.lines[1:] == ["6h1m t m3 CANCELLED"]


def test_what_is_counted_is_forgotten_when_it_can_no_longer_matter() -> None:
    user = count()
    user.event("0s", "View")
    assert user.state.patterns
    user.fire("25h")
    assert user.state.patterns
    user.fire("25h1m")
    assert not user.state.patterns


def test_a_count_that_became_another_pattern_starts_anew() -> None:
    user = count(2)
    user.event("0s", "View")
    user.program = program_of(
        {"id": "t", "state": "live", "when": {"event": "View", "nth": 2}}, number=2
    )
    user.event("1m", "View")
    assert user.lines == []
    user.event("2m", "View")
    assert user.lines == ["2m t m2 ADMITTED"]


def test_memory_of_a_removed_trigger_goes_with_the_next_timer() -> None:
    user = count()
    user.event("0s", "View")
    user.program = program_of(HELLO, number=2)
    user.event("1m", "Opened")
    user.fire("2d")
    assert not user.state.patterns


events = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 40), st.sampled_from("abc")), max_size=40
)


@given(events, st.integers(2, 4), st.booleans())
def test_a_count_agrees_with_recounting_every_window(
    steps: list[tuple[int, int, str]], number: int, distinct: bool
) -> None:
    user = count(number, "60m", **({"distinct": "properties.sku"} if distinct else {}))
    at, kept, expected = 0, [], []
    for name, (gap, late, sku) in enumerate(steps):
        at += gap
        e = max(0, at - late)
        user.event(f"{at}m", "View", e=f"{e}m", id=f"m{name}", sku=sku)
        kept.append((e, sku))
        windows = ([x for x in kept if t <= x[0] < t + 60] for t, _ in kept)
        holding = [w for w in windows if (e, sku) in w]
        if any(len({s for _, s in w} if distinct else w) >= number for w in holding):
            expected.append(ms(f"{at}m"))
            kept = []
    assert [decision.at_ms for decision in user.effects.decisions] == expected


# --- nth ---


def test_only_the_nth_event_fires() -> None:
    user = trigger({"event": "Ordered", "nth": 2})
    for at in ("0s", "1d", "2d", "3d"):
        user.event(at, "Ordered")
    assert user.lines == ["1d t m1 ADMITTED"]


def test_the_first_order_is_told_from_all_later_ones() -> None:
    user = trigger({"event": "Ordered", "nth": 1})
    for at in ("0s", "1d", "400d"):
        user.fire(at)
        user.event(at, "Ordered")
    assert user.lines == ["0s t m0 ADMITTED"]


def test_a_message_sent_twice_is_one_of_n() -> None:
    user = trigger({"event": "Ordered", "nth": 2})
    user.event("0s", "Ordered", id="a")
    user.event("1h", "Ordered", e="0s", id="a")
    assert user.lines == []
    user.event("2h", "Ordered", id="b")
    assert user.lines == ["2h t b ADMITTED"]


# --- sequence ---


def sequence(*steps: Any, within: str = "1h", **changes: Any) -> User:
    return trigger({"sequence": list(steps), "within": within}, **changes)


A, B, C = ({"event": name} for name in "ABC")


def test_a_sequence_completes_with_its_last_step() -> None:
    user = sequence(A, B, C)
    for at, name in (("0s", "A"), ("1m", "C"), ("2m", "B"), ("3m", "C")):
        user.event(at, name)
    assert user.lines == ["3m t m0 ADMITTED"]
    assert user.effects.decisions[0].event == "m3"


def test_steps_in_another_order_complete_nothing() -> None:
    user = sequence(A, B)
    user.event("0s", "B")
    user.event("1m", "A")
    assert user.lines == []


@pytest.mark.parametrize(("last", "fires"), [("59m59s", True), ("1h", False)])
def test_the_last_step_comes_less_than_the_window_after_the_first(last: str, fires: bool) -> None:
    user = sequence(A, B)
    user.event("0s", "A")
    user.event(last, "B")
    assert bool(user.lines) is fires


def test_the_order_is_that_of_client_time() -> None:
    user = sequence(A, B)
    user.event("10m", "B", e="5m")
    user.event("11m", "A", e="1m")
    assert user.lines == ["11m t m1 ADMITTED"]
    assert user.effects.decisions[0].event == "m0"


def test_equal_client_times_are_in_the_order_of_the_log() -> None:
    user = sequence(A, B)
    user.event("1m", "B", e="0s")
    user.event("2m", "A", e="0s")
    assert user.lines == []
    user.event("3m", "B", e="0s")
    assert user.lines == ["3m t m1 ADMITTED"]


def test_a_later_step_may_refer_to_the_first() -> None:
    user = sequence(
        {"event": "A", "where": {"properties.sku": {"exists": True}}},
        {"event": "B", "where": {"properties.sku": "$start.properties.sku"}},
    )
    user.event("0s", "A", sku="x")
    user.event("1m", "A", sku="y")
    user.event("2m", "B", sku="z")
    assert user.lines == []
    user.event("3m", "B", sku="y")
    assert user.lines == ["3m t m1 ADMITTED"]


def test_one_event_is_not_two_steps() -> None:
    user = sequence(A, A)
    user.event("0s", "A")
    assert user.lines == []
    user.event("1m", "A")
    assert user.lines == ["1m t m0 ADMITTED"]


def test_a_completed_sequence_uses_its_events_up() -> None:
    user = sequence(A, B)
    for at, name in (("0s", "A"), ("1m", "A"), ("2m", "B"), ("3m", "B")):
        user.event(at, name)
    assert user.lines == ["2m t m0 ADMITTED"]


def test_a_message_sent_twice_is_one_step() -> None:
    user = sequence(A, B)
    user.event("0s", "A", id="a")
    user.event("1m", "B", id="b")
    user.event("2m", "A", e="0s", id="a")
    user.event("3m", "B", e="1m", id="b")
    assert user.lines == ["1m t a ADMITTED"]


def test_what_completed_a_sequence_does_not_begin_the_next_one() -> None:
    user = sequence({"event": "A", "where": {"properties.k": 1}}, {"event": "A"})
    for minute in range(4):
        user.event(f"{minute}m", "A", k=1)
    assert user.lines == ["1m t m0 ADMITTED", "3m t m2 ADMITTED"]


def test_a_late_event_that_may_be_either_step_ends_the_sequence_that_began_first() -> None:
    user = sequence({"event": "A"}, {"event": "A"}, within="5m")
    user.event("0s", "A", id="first")
    user.event("8m", "A", id="last")
    user.event("9m", "A", e="4m", id="late")
    assert user.lines == ["9m t first ADMITTED"]


def test_a_delivery_is_called_back_by_what_the_last_step_names() -> None:
    user = sequence(
        A,
        B,
        wait="10m",
        unless={"event": "C", "where": {"properties.k": "$event.properties.k"}},
    )
    user.event("0s", "A", k=1)
    user.event("1m", "B", k=2)
    user.fire("1h")
    user.event("1h", "C", k=1)
    assert user.effects.cancelled == []
    user.event("61m", "C", k=2)
    (delivery,) = user.effects.deliveries
    assert [found.delivery_id for found in user.effects.cancelled] == [delivery.delivery_id]


def test_an_absence_after_a_sequence_is_cancelled_by_what_the_last_step_names() -> None:
    user = sequence(
        A,
        B,
        unless={"event": "Ordered", "where": {"properties.sku": "$event.properties.sku"}},
        wait="1h",
    )
    user.event("0s", "A", sku="x")
    user.event("1m", "B", sku="y")
    user.event("2m", "Ordered", sku="x")
    assert user.lines == []
    user.event("3m", "Ordered", sku="y")
    assert user.lines == ["3m t m0 CANCELLED"]


def test_steps_are_forgotten_when_no_late_event_can_complete_them() -> None:
    user = sequence(A, B)
    user.event("0s", "A")
    user.fire("25h1m")
    assert not user.state.patterns


steps = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 30), st.integers(0, 50)), max_size=25
)


def completes(kept: list[tuple[int, int, str]], names: str, within: int) -> bool:
    """Is there any chain at all? Every choice is tried."""

    def extend(chain: list[tuple[int, int, str]]) -> bool:
        if len(chain) == len(names):
            return True
        after = (x for x in kept if x[2] == names[len(chain)] and (not chain or x > chain[-1]))
        return any(extend([*chain, x]) for x in after if not chain or x[0] - chain[0][0] < within)

    return extend([])


@given(steps, st.sampled_from(["AB", "ABC", "AAB", "BAC"]))
def test_a_sequence_agrees_with_trying_every_chain(
    log: list[tuple[str, int, int]], names: str
) -> None:
    user = sequence(*({"event": name} for name in names))
    at, kept, expected = 0, [], []
    for number, (name, gap, late) in enumerate(log):
        at += gap
        e = max(0, at - late)
        user.event(f"{at}m", name, e=f"{e}m", id=f"m{number}")
        kept.append((e, number, name))
        if completes(kept, names, 60):
            expected.append(ms(f"{at}m"))
            kept = []
    assert [decision.at_ms for decision in user.effects.decisions] == expected


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"event": "A", "count": 1, "within": "1h"}, "is at least 2"),
        ({"event": "A", "count": 2}, "`within` is missing"),
        ({"event": "A", "count": 2, "within": "1h", "nth": 2}, "unknown field 'nth'"),
        ({"event": "A", "nth": 0}, "is at least 1"),
        ({"sequence": [A], "within": "1h"}, "has at least 2"),
        (
            {"sequence": [{**A, "where": {"properties.x": "$start.properties.x"}}, B]}
            | {"within": "1h"},
            "is this event itself",
        ),
        ({"sequence": [A, B], "event": "A", "within": "1h"}, "exactly one pattern"),
    ],
)
def test_a_pattern_that_cannot_mean_anything_is_refused(when: Any, message: str) -> None:
    with pytest.raises(DefinitionErrors, match=message):
        load_documents([{"id": "t", "when": when}])
