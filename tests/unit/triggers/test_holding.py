"""Holds beside merges, edits, series, changes of clocks and zones. T0 is a Monday, 00:00."""

from typing import Any

import pytest

from schemas.reasons import Reason
from schemas.records import OutcomeRecord
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.decide import apply_merge, apply_merged, apply_outcome
from triggers.effects import Effects
from triggers.state import HELD_MAX, decode_state, encode_state

QUIET = ["22:00", "09:00"]


def night(*documents: dict[str, Any], reachable: bool = True, **policy: Any) -> User:
    return User(program_of(*(documents or (HELLO,)), quiet=QUIET, **policy), reachable=reachable)


def hello(**changes: Any) -> dict[str, Any]:
    return {**HELLO, **changes}


def pending(user: User) -> int:
    return sum(user.effects.pending.values())


# --- quiet hours ---


def test_a_candidate_in_quiet_hours_is_sent_when_they_end_and_has_no_row_before() -> None:
    user = night()
    user.event("23h", "Opened")
    assert user.lines == []
    assert pending(user) == 1
    assert user.state.due == ms("33h")
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 ADMITTED"]
    assert pending(user) == 0
    assert [line.what for line in user.effects.journal] == ["HELD", "ADMITTED"]


def test_a_user_whose_zone_does_not_exist_has_that_of_the_policy() -> None:
    user = night(zone="Asia/Almaty")
    user.identify("0s", zone="Mars/Olympus")
    user.event("17h", "Opened")
    user.fire("2d")
    assert user.lines == ["1d4h hello m1 ADMITTED"]


def test_several_windows_are_all_quiet() -> None:
    user = User(program_of(HELLO, quiet=[["22:00", "09:00"], ["12:00", "14:00"]]))
    user.event("13h", "Opened")
    user.event("23h", "Opened")
    user.fire("2d")
    assert user.lines == ["14h hello m0 ADMITTED", "1d9h hello m1 ADMITTED"]


def test_transactional_messages_have_no_quiet_hours_but_keep_their_own_send_at() -> None:
    between = {"between": ["12:00", "20:00"]}
    user = night(
        hello(**{"class": "transactional"}),
        hello(id="later", send_at=between, **{"class": "transactional"}),
    )
    user.event("1h", "Opened")
    user.fire("2d")
    assert user.lines == ["1h hello m0 ADMITTED", "12h later m0 ADMITTED"]


def test_a_release_is_checked_again_in_the_zone_the_user_has_by_then() -> None:
    user = night()
    user.event("23h", "Opened")
    # At 09:00 UTC it is 04:00 in New York.
    user.identify("30h", zone="America/New_York")
    user.fire("33h1ms")
    assert user.lines == []
    assert user.state.due == ms("38h")
    user.fire("2d")
    assert user.lines == ["1d14h hello m0 ADMITTED"]


def test_a_release_in_a_gap_of_the_clocks_comes_at_the_jump() -> None:
    # New York, 9 March 2025: 02:00 to 03:00 is skipped, at 07:00 UTC.
    user = User(program_of(HELLO, quiet=["22:00", "02:30"], zone="America/New_York"))
    user.event("62d5h", "Opened")
    user.fire("70d")
    assert user.lines == ["62d7h hello m0 ADMITTED"]


def test_a_release_in_a_fold_of_the_clocks_comes_at_the_first_of_the_two_moments() -> None:
    # New York, 2 November 2025: 01:00 to 02:00 comes twice, from 05:00 and from 06:00 UTC.
    user = User(program_of(HELLO, quiet=["22:00", "01:30"], zone="America/New_York"))
    user.event("300d3h", "Opened")
    user.fire("300d6h")
    user.event("300d6h10m", "Opened")
    user.fire("301d")
    assert user.lines == ["300d5h30m hello m0 ADMITTED", "300d6h30m hello m1 ADMITTED"]


# --- what is held, and for how long ---


@pytest.mark.parametrize("holds", [[], ["send_at"]])
def test_quiet_hours_that_a_trigger_does_not_hold_for_refuse_for_good(holds: list[str]) -> None:
    user = night(hello(hold={"for": holds}))
    user.event("23h", "Opened")
    assert user.lines == ["23h hello m0 QUIET_HOURS"]
    assert user.state.held == []


def test_a_send_at_that_a_trigger_does_not_hold_for_refuses_for_good() -> None:
    between = {"between": ["12:00", "20:00"]}
    user = night(hello(send_at=between, hold={"for": ["quiet_hours"]}))
    user.event("10h", "Opened")
    user.event("23h", "Opened")
    assert user.lines == ["10h hello m0 QUIET_HOURS", "23h hello m1 QUIET_HOURS"]


def test_a_hold_whose_hours_open_just_when_at_most_is_over_is_sent() -> None:
    user = night(hello(hold={"at_most": "10h"}))
    user.event("23h", "Opened")
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 ADMITTED"]


def test_without_hold_a_candidate_waits_a_day_and_no_longer() -> None:
    # Hours that never come: within the quiet ones.
    user = night(hello(send_at={"between": ["23:00", "23:30"]}))
    user.event("10h", "Opened")
    user.fire("5d")
    assert user.lines == ["1d10h hello m0 EXPIRED"]


# --- the checks run again ---


def test_a_refusal_before_quiet_hours_is_final_at_once() -> None:
    user = night(reachable=False)
    user.event("23h", "Opened")
    assert user.lines == ["23h hello m0 NO_DEVICE"]


def test_a_cancel_ends_what_is_held_also_at_the_moment_of_its_release() -> None:
    user = night(CART)
    user.event("21h", "Added")
    user.fire("23h1ms")
    assert len(user.state.held) == 1
    user.event("33h", "Ordered")
    user.fire("3d")
    assert user.lines == ["1d9h cart m0 CANCELLED"]
    assert pending(user) == 0


def test_a_cancel_after_the_release_calls_the_delivery_back() -> None:
    user = night(CART)
    user.event("21h", "Added")
    user.event("33h1m", "Ordered")
    assert user.lines == ["1d9h cart m0 ADMITTED"]
    assert len(user.effects.cancelled) == 1


def test_a_late_start_of_a_known_cancel_is_not_held() -> None:
    user = night(CART)
    user.event("23h", "Ordered")
    user.event("23h30m", "Added", e="21h")
    user.fire("3d")
    assert user.lines == ["23h30m cart m1 CANCELLED"]


# --- edits of the trigger ---


def test_a_paused_trigger_ends_what_it_held_at_the_release() -> None:
    user = night()
    user.event("23h", "Opened")
    user.program = program_of(hello(state="paused"), quiet=QUIET)
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 PAUSED"]


def test_what_is_held_when_the_quiet_hours_are_taken_away_goes_at_its_release() -> None:
    user = night()
    user.event("23h", "Opened")
    user.program = program_of(HELLO)
    user.fire("2d")
    assert user.lines == ["1d9h hello m0 ADMITTED"]


# --- bundles, series, merges ---


def test_a_cancel_takes_one_candidate_out_of_a_held_bundle() -> None:
    where = {"properties.item": "$start.properties.item"}
    user = night(
        {
            **CART,
            "per": "properties.item",
            "unless": {"event": "Ordered", "where": where},
            "bundle": {"window": "1h"},
        }
    )
    user.event("21h", "Added", item="a")
    user.event("21h", "Added", item="b")
    user.fire("25h")
    user.event("26h", "Ordered", item="a")
    user.fire("2d")
    assert user.lines == ["1d2h cart m0 CANCELLED", "1d9h cart m1 ADMITTED"]


def test_an_item_that_another_bundle_has_told_while_it_was_held_is_left_out() -> None:
    user = night(
        {
            **CART,
            "class": "transactional",
            "per": "properties.item",
            "cooldown": {"per": "7d"},
            "bundle": {"window": "1h"},
            "send_at": {"between": ["09:00", "21:00"]},
        }
    )
    user.event("20h", "Added", item="b")
    user.event("20h", "Added", item="a")
    user.event("23h", "Added", item="a")
    user.fire("5d")
    assert user.lines == [
        "1d9h cart m2 ADMITTED",
        "1d9h cart m1 COOLDOWN",
        "1d9h cart m0 ADMITTED",
    ]
    assert [len(delivery.items) for delivery in user.effects.deliveries] == [1, 1]


def test_a_bundle_all_of_which_is_cooling_down_is_refused_as_one() -> None:
    user = User(
        program_of(
            hello(per="properties.item", cooldown={"per": "7d"}, bundle={"window": "1h"}),
        )
    )
    for at in ("0h", "2h"):
        for item in "ab":
            user.event(at, "Opened", item=item)
    user.fire("1d")
    assert [line.split()[2:] for line in user.lines] == [
        ["m0", "ADMITTED"],
        ["m1", "BUNDLED"],
        ["m2", "COOLDOWN"],
        ["m3", "COOLDOWN"],
    ]
    assert [line.what for line in user.effects.journal] == ["ADMITTED", "COOLDOWN"]


def test_a_step_of_a_series_that_is_held_leaves_the_next_one_its_time() -> None:
    push = {"push": {"title": "t", "body": "b"}}
    series = {
        "id": "s",
        "state": "live",
        "when": {"event": "Opened"},
        "series": [{"after": "2h", "message": "one"}, {"after": "1d", "message": "two"}],
        "messages": {"one": push, "two": push},
        "cooldown": "7d",
    }
    user = night(series)
    user.event("21h", "Opened")
    user.fire("5d")
    assert user.lines == ["1d9h s m0 ADMITTED", "1d21h s m0 ADMITTED"]
    assert [delivery.text for delivery in user.effects.deliveries] == ["one", "two"]


def test_a_step_that_is_due_when_the_one_before_is_released_goes_first() -> None:
    push = {"push": {"title": "t", "body": "b"}}
    first = {"after": "1h", "message": "one"}
    series = {
        "id": "s",
        "state": "live",
        "when": {"event": "Opened"},
        "series": [first, {"after": "14h", "message": "two"}],
        "messages": {"one": push, "two": push},
        "cooldown": "7d",
        "send_at": {"between": ["12:00", "13:00"]},
    }
    user = User(program_of(series))
    user.event("22h", "Opened")
    user.fire("2d")
    # The second is due when the first one is released: the newest goes first.
    assert user.lines == ["1d12h s m0 ADMITTED", "1d12h s m0 LOWER_PRIORITY"]
    assert [delivery.text for delivery in user.effects.deliveries] == ["two"]


def merged(known: User, anonymous: User, at: str) -> None:
    out = Effects()
    apply_merge(anonymous.program, anonymous.name, anonymous.state, known.name, ms(at), out)
    [merge] = [merge for merge in out.merges if merge.moved is not None]
    assert merge.moved is not None
    anonymous.effects.pending.update(out.pending)
    apply_merged(known.program, known.name, known.state, merge.moved, ms(at), known.effects)


def test_a_merge_moves_what_is_held_and_counts_it_once() -> None:
    known, anonymous = night(CART), night(CART)
    anonymous.name = "a"
    anonymous.event("21h", "Added")
    anonymous.fire("24h")
    merged(known, anonymous, "25h")
    assert anonymous.state.held == []
    assert (pending(anonymous), pending(known)) == (0, 1)
    known.fire("2d")
    assert known.lines == ["1d9h cart m0 ADMITTED"]
    assert pending(known) == 0


def test_a_cancel_that_the_other_profile_remembers_ends_what_is_held() -> None:
    known, anonymous = night(CART), night(CART)
    anonymous.name = "a"
    known.event("22h", "Ordered", id="order")
    anonymous.event("21h", "Added")
    anonymous.fire("24h")
    merged(known, anonymous, "25h")
    assert known.lines == ["1d1h cart m0 CANCELLED"]
    assert (pending(anonymous), pending(known)) == (0, 0)


def test_a_merge_releases_what_is_held_by_the_clock_of_the_zone_it_tells() -> None:
    known, anonymous = night(), night()
    anonymous.name = "a"
    known.event("23h", "Opened")
    # At 23:00 UTC it is 04:00 in Almaty: their quiet hours end at 04:00 UTC.
    anonymous.identify("23h", zone="Asia/Almaty")
    merged(known, anonymous, "24h")
    known.fire("2d")
    assert known.lines == ["1d4h hello m0 ADMITTED"]


def test_what_was_on_its_way_to_another_profile_for_longer_than_its_hold_expires() -> None:
    other = hello(id="other", when={"event": "Asked"})
    known, anonymous = night(hello(hold={"at_most": "10h"}), other), night()
    anonymous.program, anonymous.name = known.program, "a"
    anonymous.event("23h", "Opened")
    out = Effects()
    apply_merge(anonymous.program, "a", anonymous.state, "u", ms("24h"), out)
    [moved] = [merge.moved for merge in out.merges if merge.moved is not None]
    known.event("40h", "Asked")
    apply_merged(known.program, "u", known.state, moved, ms("41h"), known.effects)
    known.fire("3d")
    assert known.lines == ["1d16h other m0 ADMITTED", "1d16h hello m0 EXPIRED"]


def test_a_hold_whose_time_ends_with_a_change_of_the_zone_is_not_held_beyond_it() -> None:
    user = night(hello(hold={"at_most": "1h"}))
    user.event("23h", "Opened")
    user.identify("24h", zone="America/New_York")
    user.fire("2d")
    assert user.lines == ["1d hello m0 ADMITTED"]


# --- usual hour ---


USUAL = hello(when={"event": "Priced"}, send_at="usual_hour")


def habit(user: User, days: int, hour: int) -> None:
    """Something at that hour of so many days."""
    for day in range(days):
        user.event(f"{day * 24 + hour}h10m", "Looked")


def test_the_usual_hour_is_the_one_the_user_is_active_in_most() -> None:
    user = User(program_of(USUAL))
    habit(user, 20, 19)
    user.event("20d10h", "Priced")
    user.fire("30d")
    assert user.lines == ["20d19h hello m20 ADMITTED"]


def test_within_the_usual_hour_a_message_goes_at_once() -> None:
    user = User(program_of(USUAL))
    habit(user, 20, 19)
    user.event("20d19h40m", "Priced")
    assert user.lines == ["20d19h40m hello m20 ADMITTED"]


def test_a_usual_hour_within_quiet_hours_is_none() -> None:
    user = night(USUAL)
    habit(user, 14, 23)
    habit(user, 12, 18)
    for day in range(14, 26):
        user.event(f"{day * 24 + 18}h10m", "Looked")
    user.event("26d10h", "Priced")
    user.fire("40d")
    assert user.lines[-1].startswith("26d18h hello ")


def test_a_new_habit_outweighs_an_old_one_after_weeks() -> None:
    user = User(program_of(USUAL))
    habit(user, 28, 8)
    for day in range(84, 105):
        user.event(f"{day * 24 + 19}h10m", "Looked")
    user.event("105d6h", "Priced")
    user.fire("120d")
    assert user.lines[-1].startswith("105d19h hello ")


def test_many_events_of_one_hour_count_as_one_and_change_the_state_once() -> None:
    user = User(program_of(USUAL))
    user.event("1h10m", "Looked")
    before = encode_state(user.state)
    for minute in range(11, 60):
        user.event(f"1h{minute}m", "Looked")
    assert encode_state(user.state) == before


def test_our_own_outcomes_are_no_activity() -> None:
    user = User(program_of(USUAL))
    user.event("1h", "Priced")
    before = list(user.state.usual)
    delivery = user.effects.deliveries[0].delivery_id
    record = OutcomeRecord(delivery, "u", "hello", Reason.ACCEPTED, ms("5h"))
    apply_outcome(user.program, "u", user.state, record, ms("5h"), user.effects)
    assert user.state.usual == before


# --- the state ---


def test_a_held_candidate_survives_its_encoding() -> None:
    user = night(hello(per="event", bundle={"window": "1h"}))
    habit_of = User(program_of(USUAL))
    habit(habit_of, 3, 5)
    user.event("22h30m", "Opened")
    user.fire("24h")
    user.state.usual = habit_of.state.usual
    assert decode_state(encode_state(user.state)) == user.state


# --- found beside the first tests ---


def test_hours_that_a_trigger_does_not_hold_for_refuse_also_at_the_release() -> None:
    evening = {"between": ["19:00", "23:00"]}
    user = night(hello(send_at=evening, hold={"for": ["quiet_hours"]}))
    user.event("22h30m", "Opened")
    user.fire("3d")
    assert user.lines == ["1d9h hello m0 QUIET_HOURS"]


def test_who_travels_while_held_for_the_usual_hour_still_waits_for_it() -> None:
    user = User(program_of(USUAL))
    habit(user, 20, 19)
    user.event("20d10h", "Priced")
    # 19:00 in Almaty is 14:00 UTC.
    user.identify("20d11h", zone="Asia/Almaty")
    assert user.lines == []
    user.fire("20d20h")
    assert user.lines == ["20d14h hello m20 ADMITTED"]


def test_a_merge_of_too_many_held_ends_the_oldest_with_a_row_of_its_own() -> None:
    known, anonymous = night(hello(per="event")), night(hello(per="event"))
    anonymous.name = "a"
    for number in range(20):
        known.event(f"{22 * 60 + number}m", "Opened", id=f"k{number}")
        anonymous.event(f"{22 * 60 + 30 + number}m", "Opened", id=f"a{number}")
    merged(known, anonymous, "24h")
    assert len(known.state.held) == HELD_MAX
    assert known.lines == [f"1d hello k{number} EXPIRED" for number in range(8)]
    assert (pending(anonymous), pending(known)) == (0, HELD_MAX)
    known.fire("2d")
    assert len(known.lines) == 40
    assert pending(known) == 0
