"""A program: which triggers an event touches, and in which order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas.events import Event
from tests.unit.triggers.user import CART, HELLO, program_of
from triggers.program import NO_HITS, Program


def viewed(**properties: Any) -> Event:
    return Event(type="track", message_id="m", event="Viewed", user_id="u", properties=properties)


def touched(program: Program, event: Event) -> list[str]:
    """The triggers that were looked at, in order."""
    found: list[str] = []
    for index in program.by_event.values():
        groups = [index.rest, *(group for table in index.tables for group in table.roles.values())]
        for group in groups:
            group[:] = [(_counting(static, role.trigger.id, found), role) for static, role in group]
    replace(program).match("Viewed", event)
    return found


def _counting(inner: Any, name: str, found: list[str]) -> Callable[[Event], bool | None]:
    def counting(event: Event) -> bool | None:
        found.append(name)
        return True if inner is None else bool(inner(event))

    return counting


def _document(number: int, where: dict[str, Any] | None = None) -> dict[str, Any]:
    when: dict[str, Any] = {"event": "Viewed"}
    if where is not None:
        when["where"] = where
    return {"id": f"t{number:04d}", "state": "live", "when": when}


def test_a_thousand_triggers_with_one_equality_each_touch_only_their_own() -> None:
    documents = [_document(n, {"properties.category": f"c{n}"}) for n in range(1000)]
    program = program_of(*documents)
    assert touched(program, viewed(category="c7")) == ["t0007"]


def test_triggers_of_other_events_are_not_touched() -> None:
    documents = [
        {"id": f"t{n:04d}", "state": "live", "when": {"event": f"Event {n}"}} for n in range(1000)
    ]
    program = program_of(*documents, _document(5000))
    assert touched(program, viewed()) == ["t5000"]


def test_the_index_finds_what_evaluating_everything_finds() -> None:
    wheres: list[dict[str, Any] | None] = [
        None,
        {"properties.a": 1},
        {"properties.a": True},
        {"properties.a": "1"},
        {"properties.a": {"in": [1, 2, "x"]}},
        {"properties.a": {"ne": 1}},
        {"properties.b": "x", "properties.a": 1},
        {"all": [{"properties.b": "x"}]},
        {"any": [{"properties.a": 1}, {"properties.b": "x"}]},
        {"not": {"properties.a": 1}},
        {"properties.list.*": 1},
    ]
    program = program_of(*(_document(n, where) for n, where in enumerate(wheres)))
    alone = [program_of(_document(n, where)) for n, where in enumerate(wheres)]
    for a in (1, 1.0, True, "1", 2, "x", None, [1], {"a": 1}, float("nan")):
        for b in ("x", None, 5):
            event = viewed(a=a, b=b, list=[a])
            found = [role.trigger.id for role in program.match("Viewed", event).starts]
            each = [
                trigger
                for one in alone
                for trigger, compiled in one.triggers.items()
                if all(
                    want.filter.static in (None,) or want.filter.static(event) is True
                    for want in compiled.pattern.wants
                )
            ]
            assert found == each


def test_starts_come_in_admission_order() -> None:
    program = program_of(
        {**_document(1), "priority": 10},
        {**_document(2, {"properties.a": 1}), "priority": 90},
        {**_document(3), "priority": 90},
    )
    starts = program.match("Viewed", viewed(a=1)).starts
    assert [role.trigger.id for role in starts] == ["t0002", "t0003", "t0001"]


def test_an_event_may_start_one_trigger_and_cancel_another() -> None:
    program = program_of(CART, {**HELLO, "when": {"event": "Ordered"}})
    hits = program.match("Ordered", Event(type="track", event="Ordered"))
    assert [role.trigger.id for role in hits.cancels] == ["cart"]
    assert [role.trigger.id for role in hits.starts] == ["hello"]


def test_an_event_that_no_trigger_names_means_nothing() -> None:
    assert program_of(CART).match("Other", viewed()) is NO_HITS


def test_a_filter_that_could_not_be_evaluated_is_an_error_and_no_match() -> None:
    program = program_of(_document(1, {"properties.price": {"gte": 5}}))
    hits = program.match("Viewed", viewed(price="7"))
    assert (hits.starts, [trigger.id for trigger in hits.errors]) == ((), ["t0001"])


@pytest.mark.parametrize("value", [1, 1.0])
def test_equal_numbers_meet_in_the_index(value: float) -> None:
    program = program_of(_document(1, {"properties.a": value}))
    assert [len(program.match("Viewed", viewed(a=a)).starts) for a in (1, 1.0, True, "1")] == [
        1,
        1,
        0,
        0,
    ]


def test_the_ring_of_sends_covers_the_widest_cap_and_spacing_of_all_policies() -> None:
    program = program_of(
        HELLO, spacing="2h", caps=[{"max": 3, "per": "7d"}, {"max": 5, "per": "1d"}]
    )
    assert (program.sends_max, program.sends_window_ms) == (5, 7 * 86_400_000)
    assert program_of(HELLO).sends_window_ms == 0
