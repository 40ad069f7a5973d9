"""Explain tells why, why not and what is pending, by the core's own verdicts."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers

from schemas.events import Event
from schemas.reasons import Reason
from schemas.records import OutcomeRecord
from tests.unit.triggers.user import CART, HELLO, T0, ms, program_of, text
from tests.unit.triggers.user import User as PlainUser
from triggers.check_values import Weighed
from triggers.explaining import Entry, Watch
from triggers.outlook import outlook
from triggers.state import Cooled, Device, UserState, decode_state, encode_state

DROP: dict[str, Any] = {
    "id": "drop",
    "state": "live",
    "priority": 90,
    "when": {"event": "Dropped", "where": {"properties.price": {"lt": 20}}},
}


class _Made(PlainUser):
    """Hands its events to a watch instead of the core."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch.program)
        self._watch = watch

    def apply(self, at: str, event: Event) -> bool:
        self._watch.event(event, ms(at))
        return True


class Watched:
    """The timeline of `tests.unit.triggers.user`, watched."""

    def __init__(self, *documents: Any, reachable: bool = True, **policy: Any) -> None:
        self.watch = Watch(program_of(*documents, **policy), "u")
        if reachable:
            self.watch.state.devices.append(Device("token", "ios", T0))
        self._made = _Made(self.watch)

    def event(self, at: str, name: str, **fields: Any) -> None:
        self._made.event(at, name, **fields)

    @property
    def lines(self) -> list[str]:
        return [_line(entry) for entry in self.watch.entries]


def _line(entry: Entry) -> str:
    parts = [text(entry.at), entry.trigger, entry.what, entry.reason, entry.note, entry.activation]
    if entry.due_at is not None:
        parts.append(f"due {text(entry.due_at)}")
    return " ".join(part for part in parts if part)


def _check(entry: Entry, name: str) -> Weighed:
    return next(check for check in entry.checks if check.name == name)


def _clause(entry: Entry) -> list[tuple[Any, str, Any, bool | None]]:
    return [(c.value, c.operator, c.compared, c.result) for c in entry.clauses]


def test_a_match_shows_each_clause_with_value_and_operand() -> None:
    user = Watched(DROP)
    user.event("0s", "Dropped", price=18)
    user.event("1h", "Dropped", price=25)
    user.event("2h", "Dropped", price="18")
    assert user.lines == [
        "0s drop ADMITTED m0",
        "1h drop NOT_MATCHED",
        "2h drop NOT_EVALUATED COULD_NOT_EVALUATE",
    ]
    assert [_clause(entry) for entry in user.watch.entries] == [
        [(18, "lt", 20, True)],
        [(25, "lt", 20, False)],
        [("18", "lt", 20, None)],
    ]


def test_a_refusal_shows_which_message_came_before_and_when_it_is_free_again() -> None:
    user = Watched(DROP, CART, spacing="3h")
    user.event("0s", "Added")
    user.event("1h", "Dropped", price=18)
    user.watch.advance(ms("3h"))
    refused = user.watch.entries[-1]
    assert _line(refused) == "2h cart SUPPRESSED SPACING m0"
    spacing = _check(refused, "spacing")
    assert spacing.reason is Reason.SPACING
    assert dict(spacing.values) == {
        "period_ms": 10_800_000,
        "last_at": ms("1h"),
        "last_trigger": "drop",
        "free_at": ms("4h"),
    }
    assert {check.name for check in refused.checks if check.reason} == {"spacing"}
    assert {"state", "device", "cooldown", "caps"} < {check.name for check in refused.checks}


def test_checks_behind_the_first_refusal_are_shown_too() -> None:
    user = Watched(DROP, reachable=False, caps=[{"max": 1, "per": "1d"}])
    user.watch.state.sends = [ms("0s")]
    user.event("1h", "Dropped", price=18)
    (entry,) = user.watch.entries
    assert entry.reason == "NO_DEVICE"
    assert _check(entry, "caps").reason is Reason.FREQUENCY_CAP
    assert _check(entry, "caps").values == {
        "caps": [{"max": 1, "per_ms": 86_400_000, "used": 1}],
        "free_at": ms("1d"),
    }


def test_an_absence_is_armed_restarted_and_cancelled_by_an_event() -> None:
    user = Watched(CART)
    user.event("0s", "Added")
    user.event("1h", "Added")
    user.event("2h", "Ordered")
    assert user.lines == [
        "0s cart ARMED m0 due 2h",
        "1h cart RESTARTED m1 due 3h",
        "2h cart CANCELLED m1",
    ]
    last = user.watch.entries[-1].event
    assert last is not None
    assert (last.name, last.message_id) == ("Ordered", "m2")


def test_an_unless_event_that_cancels_nothing_shows_what_it_was_compared_with() -> None:
    by_item = {"event": "Ordered", "where": {"properties.item": "$start.properties.item"}}
    user = Watched({**CART, "unless": by_item})
    user.event("0s", "Added", item="a")
    user.event("1h", "Ordered", item="b")
    assert user.lines[-1] == "1h cart NOT_CANCELLED m0 due 2h"
    assert _clause(user.watch.entries[-1]) == [("b", "eq", "a", False)]


def test_a_start_that_an_earlier_cancel_ends_says_so() -> None:
    user = Watched(CART)
    user.event("1h", "Ordered")
    user.event("2h", "Added", e="30m")
    assert user.lines == ["1h cart NOTED", "2h cart CANCELLED REMEMBERED m1"]


def test_an_event_that_changes_nothing_says_why() -> None:
    user = Watched({**CART, "on_repeat": "keep", "per": "properties.item"})
    user.event("0s", "Added", item="a")
    user.event("1h", "Added", item="a")
    user.event("1h", "Added")
    user.event("50h", "Added", item="b", e="1h")
    assert user.lines == [
        "0s cart ARMED m0 due 2h",
        "1h cart IGNORED due 2h",
        "1h cart NOT_EVALUATED PER_MISSING",
        "2h cart ADMITTED m0",
        "50h cart NOT_EVALUATED LATE_EVENT".replace("50h", "2d2h"),
    ]


def test_an_event_outside_the_active_days_is_explained_by_that() -> None:
    user = Watched({**CART, "active": {"from": "2030-01-01"}})
    user.event("0s", "Added")
    assert user.lines == ["0s cart NOT_EVALUATED NOT_ACTIVE"]


def test_a_pattern_that_only_counts_is_explained_by_that() -> None:
    user = Watched({**DROP, "when": {"event": "Dropped", "nth": 2}})
    user.event("0s", "Dropped")
    user.event("1h", "Dropped")
    user.event("2h", "Dropped")
    assert user.lines == ["0s drop COUNTED", "1h drop ADMITTED m1", "2h drop IGNORED"]


def test_a_candidate_that_waits_for_its_bundle_says_until_when() -> None:
    user = Watched({**DROP, "per": "event", "bundle": {"window": "1h", "max": 10}})
    user.event("0s", "Dropped", price=1)
    user.event("10m", "Dropped", price=2)
    user.watch.advance(ms("2h"))
    assert user.lines == [
        "0s drop COLLECTED m0 due 1h",
        "10m drop COLLECTED m1 due 1h",
        "1h drop ADMITTED m0",
        "1h drop BUNDLED m1",
    ]


def test_watching_changes_no_decision() -> None:
    documents = [CART, DROP, {**CART, "id": "silent", "when": {"idle": "3h"}}]
    documents[2] = {"id": "silent", "state": "live", "when": {"idle": "3h"}}
    plain, user = PlainUser(program_of(*documents, spacing="1h")), Watched(*documents, spacing="1h")
    for number, at in enumerate(("0s", "40m", "1h", "5h", "5h10m", "9h", "30h")):
        name = ("Added", "Dropped", "Ordered")[number % 3]
        plain.event(at, name, price=number)
        user.event(at, name, price=number)
    plain.fire("10d")
    user.watch.advance(ms("10d"))
    assert len(plain.effects.decisions) > 4
    assert list(user.watch.decisions) == plain.effects.decisions
    assert user.watch.state == plain.state


def test_the_outlook_shows_what_waits_and_what_a_candidate_would_meet_now() -> None:
    user = Watched(CART, DROP, spacing="3h")
    user.event("0s", "Added")
    user.event("1h", "Dropped", price=18)
    program, state = user.watch.program, user.watch.state
    cart = outlook(program.triggers["cart"], "u", state, ms("90m"))
    (instance,) = cart.pending
    assert (instance.kind, instance.due_at, instance.activation) == ("instance", ms("2h"), "m0")
    assert [condition.event for condition in cart.unless] == ["Ordered"]
    assert [check.reason for check in cart.checks if check.reason] == [Reason.SPACING]
    drop = outlook(program.triggers["drop"], "u", state, ms("90m"))
    assert drop.starts[0].clauses == (("properties.price", "lt", 20),)
    assert [pending.kind for pending in drop.pending] == ["delivery"]


def test_what_an_apply_withdraws_is_told_as_that() -> None:
    user = Watched(CART)
    user.event("0s", "Added")
    withdrawn = {"cart": ((1, ms("1h")),)}
    user.watch.activate(replace(user.watch.program, withdrawn=withdrawn), ms("1h"))
    user.event("90m", "Noise")
    assert user.lines[-1] == "1h cart CANCELLED WITHDRAWN m0"


def test_a_merged_profile_brings_what_it_held_and_loses_it() -> None:
    guest, known = Watched(CART), Watched(CART)
    guest.event("0s", "Added", id="g0")
    moved = decode_state(encode_state(guest.watch.state))
    guest.watch.merge("u", ms("1h"))
    guest.event("90m", "Added")
    known.watch.merged(moved, ms("1h"))
    known.event("90m", "Ordered")
    assert guest.lines == ["0s cart ARMED g0 due 2h", "1h MERGED u", "1h30m FORWARDED"]
    assert known.lines == [
        "1h MERGED",
        "1h cart ARMED g0 due 2h",
        "1h30m cart CANCELLED g0",
    ]


def test_the_end_of_a_guests_delivery_is_told_as_that_and_not_as_another_merge() -> None:
    guest, known = Watched(HELLO), Watched(HELLO)
    guest.event("0s", "Opened", id="g0")
    guest.watch.merge("u", ms("1h"))
    (merge,) = guest.watch.merges
    assert merge.moved is not None
    known.watch.merged(merge.moved, ms("1h"))
    (pending,) = guest.watch.state.pending
    ended = OutcomeRecord(pending.delivery.hex(), "u", "hello", Reason.REJECTED, ms("2h"))
    known.watch.merged(UserState(), ms("2h"), ended)
    clicked = msgspec.structs.replace(ended, reason=Reason.CLICKED)
    known.watch.merged(UserState(), ms("3h"), clicked)
    assert [line.split()[:3] for line in known.lines] == [
        ["1h", "MERGED"],
        ["2h", "hello", "OUTCOME"],
    ]


def test_an_outcome_that_is_not_the_first_does_not_count() -> None:
    user = Watched(DROP)
    user.event("0s", "Dropped", price=18)
    delivery = user.watch.entries[-1].delivery_id or ""
    record = OutcomeRecord(delivery, "u", "drop", Reason.EXPIRED, ms("1m"))
    user.watch.outcome(record, ms("1m"))
    user.watch.outcome(record, ms("2m"))
    assert user.lines[1:] == ["1m drop OUTCOME EXPIRED", "2m drop OUTCOME EXPIRED AGAIN"]


@pytest.mark.parametrize("reason", ["COOLDOWN", "SPACING", "FREQUENCY_CAP"])
@given(gap_ms=integers(min_value=1, max_value=90_000_000), sends=integers(1, 4))
@settings(max_examples=60)
def test_a_check_passes_at_the_moment_it_says_and_not_before(
    reason: str, gap_ms: int, sends: int
) -> None:
    policies: dict[str, dict[str, Any]] = {
        "COOLDOWN": {"cooldown": "1d"},
        "SPACING": {"spacing": "1d"},
        "FREQUENCY_CAP": {"caps": [{"max": 2, "per": "1d"}, {"max": 1, "per": "3h"}]},
    }
    program, state = program_of(DROP, **policies[reason]), UserState()
    trigger = program.triggers["drop"]
    times = [ms("0s") + number * gap_ms for number in range(sends)]
    state.sends = list(times)
    state.cooled = [Cooled("drop", "", times[-1])]

    def asked(at: int) -> Weighed:
        checks = outlook(trigger, "u", state, at).checks
        return next(check for check in checks if check.name == name)

    name = {"FREQUENCY_CAP": "caps"}.get(reason, reason.lower())

    # At the moment of the last message itself they compete: LOWER_PRIORITY.
    free_at = asked(times[-1] + 1).values["free_at"]
    assert asked(free_at).reason is None
    assert asked(free_at - 1).reason == reason


def test_an_audience_shows_each_condition_about_the_user() -> None:
    user = Watched({**DROP, "audience": {"traits.city": "Almaty", "traits.age": {"gte": 18}}})
    user.watch.state.traits = {"city": "Astana", "age": 30}
    user.event("0s", "Dropped", price=18)
    (entry,) = user.watch.entries
    assert entry.reason == "AUDIENCE"
    audience = _check(entry, "audience")
    assert [(c.path, c.value, c.compared, c.result) for c in audience.clauses] == [
        ("traits.city", "Astana", "Almaty", False),
        ("traits.age", 30, 18, True),
    ]


def test_a_ghost_shows_its_arm_and_a_passed_control_check_the_variant() -> None:
    split = {"control": "50%", "variants": {"a": "50%"}}
    seen = {}
    for name in ("drop", "fall"):
        user = Watched({**DROP, "id": name, "experiment": split}, global_control={"size": "2%"})
        user.event("0s", "Dropped", price=18)
        (entry,) = user.watch.entries
        control = _check(entry, "control")
        seen[control.values["arm"]] = control.reason
        assert (control.values["bucket"] < 5_000) == (control.reason is Reason.CONTROL)
        assert _check(entry, "global_control").values["size"] == 200
    assert seen == {"control": Reason.CONTROL, "a": None}


def test_of_two_messages_of_one_activation_at_one_moment_each_shows_its_own_checks() -> None:
    push = {"push": {"title": "a", "body": "b"}}
    user = Watched(
        {
            "id": "s",
            "state": "live",
            "when": {"event": "Added"},
            "series": [{"after": "1h", "message": "m1"}, {"after": "2h", "message": "m2"}],
            "messages": {"m1": push, "m2": push},
            "send_at": {"between": ["12:00", "20:00"]},
        }
    )
    user.event("0s", "Added")
    user.watch.advance(ms("1d"))
    decided = [entry for entry in user.watch.entries if entry.what in ("ADMITTED", "SUPPRESSED")]
    assert [entry.reason for entry in decided] == [None, Reason.LOWER_PRIORITY]
    for entry in decided:
        reasons = [check.reason for check in entry.checks]
        assert reasons
        assert next(filter(None, reasons), None) == entry.reason
