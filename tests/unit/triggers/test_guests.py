"""What is under way of a guest who became a part of a known profile."""

from typing import Any

import msgspec
import pytest

from schemas.reasons import Reason
from schemas.records import OutcomeRecord
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers import merging
from triggers.decide import apply_merge, apply_merged, apply_outcome
from triggers.effects import Effects, Merge
from triggers.program import Program
from triggers.state import PENDING_MAX, SETTLING_MAX, UserState, decode_state, encode_state

NEWS: dict[str, Any] = {**HELLO, "category": "news"}
AGAIN: dict[str, Any] = {
    "id": "again",
    "state": "live",
    "when": {"outcome": "rejected", "trigger": "hello"},
}
CLICKED: dict[str, Any] = {
    "id": "thanks",
    "state": "live",
    "when": {"outcome": "clicked", "trigger": "hello"},
}


class Two:
    """A guest and a known profile; what one tells the other is carried over by `tell`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.guest, self.known = User(program, name="guest"), User(program, name="known")
        # Messages of their own.
        self.known.count = 100

    def merge(self, at: str) -> None:
        guest = self.guest
        apply_merge(self.program, "guest", guest.state, "known", ms(at), guest.effects)
        self.tell()

    def tell(self) -> None:
        """Through the log: as records, one after the other."""
        while waiting := [*self.guest.effects.merges, *self.known.effects.merges]:
            self.guest.effects.merges.clear()
            self.known.effects.merges.clear()
            for merge in waiting:
                self._apply(merge)

    def _apply(self, merge: Merge) -> None:
        program, known = self.program, self.known
        assert merge.moved is not None
        moved = decode_state(encode_state(merge.moved))
        told = (moved, merge.a, known.effects, merge.outcome)
        apply_merged(program, "known", known.state, *told)
        assert decode_state(encode_state(known.state)) == known.state

    def ended(self, at: str, reason: Reason) -> None:
        """How the guest's last delivery ended, or what followed it."""
        self.guest.outcome(at, reason)
        self.tell()


def test_a_message_for_a_guest_that_did_not_arrive_is_given_back_to_the_known_profile() -> None:
    two = Two(program_of(NEWS, cooldown="1d", caps=[{"max": 1, "per": "7d"}]))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    two.known.event("3s", "Opened")
    assert two.known.lines[-1].endswith("COOLDOWN")
    assert two.known.state.sends == [ms("1s")]
    two.ended("4s", Reason.REJECTED)
    assert (two.known.state.sends, two.known.state.cooled) == ([], [])
    two.known.event("5s", "Opened")
    assert two.known.lines[-1].endswith("ADMITTED")


@pytest.mark.parametrize("reason", [Reason.ACCEPTED, Reason.UNKNOWN])
def test_a_message_for_a_guest_that_may_have_arrived_is_not_given_back(reason: Reason) -> None:
    two = Two(program_of(NEWS, cooldown="1d"))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    two.ended("3s", reason)
    two.known.event("4s", "Opened")
    assert two.known.lines[-1].endswith("COOLDOWN")


def test_a_guests_message_given_back_leaves_the_cooldown_of_the_known_profile() -> None:
    two = Two(program_of(NEWS, cooldown="1d"))
    two.known.event("0s", "Opened")
    two.known.outcome("0s", Reason.ACCEPTED)
    two.guest.event("1h", "Opened")
    two.merge("2h")
    two.ended("3h", Reason.REJECTED)
    assert [(c.trigger, c.at) for c in two.known.state.cooled] == [("hello", ms("0s"))]
    two.known.event("23h", "Opened")
    two.known.event("25h", "Opened")
    assert [line.split()[-1] for line in two.known.lines] == ["ADMITTED", "COOLDOWN", "ADMITTED"]


def test_the_same_end_told_twice_is_given_back_once() -> None:
    two = Two(program_of(NEWS, caps=[{"max": 9, "per": "7d"}]))
    two.known.event("1s", "Opened")
    two.guest.event("1s", "Opened")
    two.merge("2s")
    assert len(two.known.state.sends) == 2
    two.guest.outcome("3s", Reason.REJECTED)
    [merge] = two.guest.effects.merges
    two.guest.effects.merges.append(merge)
    two.tell()
    assert len(two.known.state.sends) == 1


def test_a_pattern_of_the_known_profile_is_told_how_a_guests_delivery_ended() -> None:
    two = Two(program_of(NEWS, AGAIN))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    two.ended("3s", Reason.REJECTED)
    assert [line.split()[1:] for line in two.known.lines] == [
        ["again", f"{two.guest.effects.deliveries[0].delivery_id}:rejected", "ADMITTED"]
    ]
    assert two.known.effects.deliveries[0].user == "known"


@pytest.mark.parametrize("first", [Reason.ACCEPTED, Reason.CLICKED])
def test_a_reaction_to_a_guests_delivery_is_told_to_the_known_profile_once(first: Reason) -> None:
    """Also when it reaches the log before the outcome does."""
    two = Two(program_of(NEWS, CLICKED))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    for at, reason in (("3s", first), ("4s", Reason.CLICKED), ("5s", Reason.ACCEPTED)):
        two.ended(at, reason)
    assert [line.split()[1] for line in two.known.lines] == ["thanks"]
    assert (two.guest.state.touches, two.guest.state.instances) == ([], [])
    [touch] = [one for one in two.known.state.touches if one.trigger == "hello"]
    assert touch.accepted_after >= 0


def test_a_guest_is_forgotten_when_nobody_waits_for_its_deliveries_any_more() -> None:
    two = Two(program_of(NEWS))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    [[pending]] = two.known.state.guests.values()
    assert 0 < pending.drop_at <= two.known.state.due
    two.known.fire("100d")
    assert two.known.state.guests == {}


def test_deliveries_of_guests_are_bounded() -> None:
    two = Two(program_of(NEWS))
    two.guest.event("1s", "Opened")
    [pending] = two.guest.state.pending
    two.guest.state.pending = [
        msgspec.structs.replace(pending, delivery=number.to_bytes(16), at=ms("1s") + number)
        for number in range(PENDING_MAX)
    ]
    two.known.state.guests["other"] = [msgspec.structs.replace(pending, at=ms("0s"))]
    two.merge("2s")
    assert {name: len(kept) for name, kept in two.known.state.guests.items()} == {
        "guest": PENDING_MAX
    }
    assert two.known.effects.evicted["pending"] == 1


def test_what_a_guest_of_a_guest_has_under_way_is_known_to_the_last_one() -> None:
    program = program_of(NEWS)
    two = Two(program)
    two.guest.event("1s", "Opened")
    two.merge("2s")
    last, out = User(program, name="last"), Effects()
    apply_merge(program, "known", two.known.state, "last", ms("3s"), out)
    [merge] = out.merges
    assert merge.moved is not None
    apply_merged(program, "last", last.state, merge.moved, ms("3s"), last.effects)
    assert list(last.state.guests) == ["guest"]
    ended = OutcomeRecord(
        two.guest.effects.deliveries[0].delivery_id, "guest", "hello", Reason.REJECTED, ms("4s")
    )
    apply_outcome(program, "guest", two.guest.state, ended, ms("4s"), two.guest.effects)
    [told] = two.guest.effects.merges
    assert told.moved is not None
    apply_merged(program, "last", last.state, told.moved, ms("4s"), last.effects, told.outcome)
    assert (last.state.guests, last.state.sends) == ({}, [])


DROPS: dict[str, Any] = {
    "id": "drops",
    "state": "live",
    "when": {"event": "Opened"},
    "per": "event",
    "bundle": {"window": "1h", "max": 4},
}


def test_bundles_of_two_profiles_become_one_message() -> None:
    two = Two(program_of(DROPS))
    two.guest.event("0s", "Opened")
    two.known.event("10m", "Opened")
    two.merge("20m")
    two.known.fire("59m")
    assert two.known.lines == []
    two.known.fire("3h")
    assert [line.split()[::3] for line in two.known.lines] == [
        ["1h", "ADMITTED"],
        ["1h", "BUNDLED"],
    ]
    assert two.known.effects.deliveries[0].activation == "m0"


def test_what_does_not_fit_into_a_bundle_of_two_profiles_opens_the_next_one() -> None:
    two = Two(program_of(DROPS, cooldown="1ms"))
    for user in (two.guest, two.known):
        for _ in range(3):
            user.event("0s", "Opened")
    two.merge("20m")
    assert [len(bundle.waiting) for bundle in two.known.state.bundles] == [4, 2]
    two.known.fire("21m")
    assert [line.split()[0] for line in two.known.lines] == ["20m"] * 4
    two.known.fire("3h")
    assert [line.split()[0] for line in two.known.lines[4:]] == ["1h"] * 2


def test_bundles_of_a_trigger_that_bundles_no_more_stay_as_they_are_in_a_merge() -> None:
    two = Two(program_of(DROPS))
    two.guest.event("0s", "Opened")
    two.known.event("10m", "Opened")
    two.program = program_of({name: DROPS[name] for name in DROPS if name != "bundle"})
    two.merge("20m")
    assert [len(bundle.waiting) for bundle in two.known.state.bundles] == [1, 1]


def test_what_became_of_a_guests_message_does_not_move_what_is_held() -> None:
    bill = {**HELLO, "id": "bill", "class": "transactional", "when": {"event": "Bought"}}
    two = Two(program_of({**HELLO, "send_at": {"between": ["18:00", "20:00"]}}, bill))
    two.known.state.zone = "Europe/London"
    two.guest.event("7h", "Bought")
    two.merge("8h")
    two.known.event("9h", "Opened")
    [held] = two.known.state.held
    # As habits that were different then would have had it.
    held.release_at = ms("19h")
    two.ended("12h", Reason.ACCEPTED)
    assert [held.release_at for held in two.known.state.held] == [ms("19h")]


def test_a_settle_window_that_is_full_by_two_profiles_closes_at_once() -> None:
    many = {**HELLO, "per": "event"}
    two = Two(program_of(many, settle="5m"))
    for user in (two.guest, two.known):
        for _ in range(SETTLING_MAX // 2):
            user.event("0s", "Opened")
    two.merge("1m")
    two.known.fire("61s")
    assert two.known.state.settling == []
    assert len(two.known.lines) == SETTLING_MAX
    assert [line.split()[-1] for line in two.known.lines].count("ADMITTED") == 1


def test_a_settle_window_of_two_profiles_that_is_not_full_waits() -> None:
    two = Two(program_of({**HELLO, "per": "event"}, settle="5m"))
    two.guest.event("0s", "Opened")
    two.known.event("1m", "Opened")
    two.merge("2m")
    two.known.fire("4m")
    assert two.known.lines == []
    two.known.fire("1h")
    assert [line.split()[0] for line in two.known.lines] == ["5m", "5m"]


def test_what_a_profile_too_large_for_a_record_leaves_behind_ends_with_a_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = {**HELLO, "id": "held", "hold": {"for": ["quiet_hours"], "at_most": "12h"}}
    two = Two(program_of(CART, DROPS, held, quiet=["22:00", "09:00"]))
    two.guest.event("0s", "Added")
    two.guest.event("0s", "Opened")
    monkeypatch.setattr(merging, "MOVED_BYTES_MAX", 10)
    two.merge("1m")
    assert sorted(two.guest.lines) == [
        "1m cart m0 CANCELLED",
        "1m drops m1 CANCELLED",
        "1m held m1 CANCELLED",
    ]
    said = [line for line in two.guest.effects.journal if line.by == merging.TOO_LARGE]
    assert sorted(line.trigger for line in said) == ["cart", "drops", "held"]
    two.known.fire("3d")
    assert two.known.lines == []


def test_a_record_that_passes_an_outcome_on_writes_no_line_of_a_merge() -> None:
    two = Two(program_of(NEWS))
    two.guest.event("1s", "Opened")
    two.merge("2s")
    merges = [line for line in two.known.effects.journal if line.what == "MERGED"]
    assert len(merges) == 1
    two.ended("3s", Reason.REJECTED)
    two.ended("4s", Reason.CLICKED)
    assert [line for line in two.known.effects.journal if line.what == "MERGED"] == merges


def test_the_end_of_a_guests_delivery_enters_or_leaves_the_ring_of_the_known_profile() -> None:
    for reason, counts, gone in (
        (Reason.REJECTED, 0, 1),
        (Reason.ACCEPTED, 1, 0),
        (Reason.UNKNOWN, 1, 0),
    ):
        two = Two(program_of(NEWS))
        two.guest.event("1s", "Opened")
        two.merge("2s")
        two.ended("3s", reason)
        delivery = two.guest.effects.deliveries[0].delivery_id
        reached = [(r.user, r.delivery_id) for r in two.known.effects.reached]
        assert reached == [("known", delivery)] * counts
        assert two.known.effects.given_back == [("known", delivery)] * gone


def ring(program: Program) -> tuple[User, User]:
    """`a`, whose message is under way, became a part of `b`, and `b` a part of `a`."""
    a, b, passing = User(program, name="a"), User(program, name="b"), Effects()
    b.count = 100
    a.event("1s", "Opened")
    apply_merge(program, "a", a.state, "b", ms("2s"), passing)
    apply_merged(program, "b", b.state, _moved(passing), ms("2s"), b.effects)
    apply_merge(program, "b", b.state, "a", ms("3s"), passing)
    apply_merged(program, "a", a.state, _moved(passing), ms("3s"), a.effects)
    return a, b


def _moved(passing: Effects) -> UserState:
    moved = passing.merges.pop().moved
    assert moved is not None
    return decode_state(encode_state(moved))


def test_a_profile_that_comes_home_from_a_ring_is_no_guest_of_its_own() -> None:
    a, _ = ring(program_of(NEWS))
    assert (a.state.guests, len(a.state.pending)) == ({}, 1)


def test_a_message_of_a_profile_in_a_ring_that_did_not_arrive_is_given_back() -> None:
    a, _ = ring(program_of(NEWS, cooldown="1d", caps=[{"max": 1, "per": "7d"}]))
    a.outcome("4s", Reason.REJECTED)
    assert (a.state.sends, a.state.cooled, a.state.pending) == ([], [], [])
    a.event("5s", "Opened")
    assert a.lines[-1].endswith("ADMITTED")


def test_an_end_that_was_on_its_way_when_its_ring_closed_is_still_heard_of() -> None:
    program = program_of(NEWS)
    a, b, passing = User(program, name="a"), User(program, name="b"), Effects()
    a.event("1s", "Opened")
    apply_merge(program, "a", a.state, "b", ms("2s"), passing)
    apply_merged(program, "b", b.state, _moved(passing), ms("2s"), b.effects)
    apply_merge(program, "b", b.state, "a", ms("3s"), passing)
    back = _moved(passing)
    a.outcome("4s", Reason.REJECTED)
    [told] = a.effects.merges
    assert told.moved is not None
    apply_merged(program, "a", a.state, back, ms("5s"), a.effects)
    assert a.state.sends == [ms("1s")]
    apply_merged(program, "a", a.state, told.moved, ms("6s"), a.effects, told.outcome)
    assert (a.state.sends, a.state.guests) == ([], {})


SPLIT: dict[str, Any] = {
    **NEWS,
    "cooldown": "1d",
    "message": {"push": {"title": "t", "body": "b"}},
    "experiment": {"control": "50%", "variants": {"a": "50%"}},
}


def test_a_merge_calls_the_ghosts_of_a_control_group_back_as_it_does_their_twins() -> None:
    program = program_of(SPLIT, {**NEWS, "id": "bill", "class": "transactional"})
    ends = set()
    for number in range(20):
        two = Two(program)
        two.guest.name = f"guest-{number}"
        two.guest.event("1s", "Opened")
        ends |= {line.split()[-1] for line in two.guest.lines if " hello " in line}
        [hello] = [d for d in two.guest.effects.deliveries if d.trigger.id == "hello"]
        two.merge("2s")
        assert [r.delivery_id for r in two.guest.effects.cancelled] == [hello.delivery_id]
        number = two.guest.effects.deliveries.index(hello)
        two.guest.outcome("3s", Reason.CANCELLED, delivery=number)
        two.tell()
        assert [c for c in two.known.state.cooled if c.trigger == "hello"] == []
    assert ends == {"CONTROL", "ADMITTED"}
