"""Profiles become one: what each of them waited for is what one profile would have waited for."""

from typing import Any

import pytest

from schemas.reasons import Reason
from tests.unit.triggers.test_audience import identify
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.decide import apply_merged
from triggers.effects import Recall
from triggers.merging import freeze


def both(document: dict[str, Any]) -> tuple[User, User]:
    program = program_of(document)
    return User(program, name="guest"), User(program)


def unite(guest: User, known: User, at: str) -> None:
    moved = freeze(guest.name, guest.state, known.name)
    assert moved is not None
    apply_merged(known.program, known.name, known.state, moved, ms(at), known.effects)


@pytest.mark.parametrize("guest_first", [True, False])
def test_a_chain_of_restarts_fires_at_the_latest_then_across_a_merge(guest_first: bool) -> None:
    guest, known = both({**CART, "restart_at_most": "3h"})
    first, second = (guest, known) if guest_first else (known, guest)
    first.event("0s", "Added", id="first")
    second.event("90m", "Added", id="second")
    unite(guest, known, "95m")
    assert known.state.due == ms("3h")
    known.event("100m", "Added", id="third")
    known.fire("1d")
    assert known.lines == ["3h cart third ADMITTED"]


def test_a_start_that_keep_kept_out_at_a_merge_is_no_new_start_when_it_is_sent_again() -> None:
    guest, known = both({**CART, "on_repeat": "keep"})
    guest.event("0s", "Added", id="first")
    known.event("1h", "Added", e="59m", id="second")
    unite(guest, known, "90m")
    known.event("3h", "Added", e="59m", id="second")
    known.fire("1d")
    assert known.lines == ["2h cart first ADMITTED"]


def test_a_series_that_has_begun_to_speak_begins_no_chain_at_a_merge() -> None:
    push = {"push": {"title": "a", "body": "b"}}
    series = [{"after": "1h", "message": "m1"}, {"after": "10h", "message": "m2"}]
    document = {key: value for key, value in CART.items() if key not in ("wait", "message")}
    said = {"series": series, "messages": {"m1": push, "m2": push}, "restart_at_most": "10h"}
    guest, known = both({**document, **said})
    guest.event("0s", "Added", id="first")
    guest.fire("9h")
    known.event("9h30m", "Added", id="second")
    unite(guest, known, "9h40m")
    assert known.state.due == ms("10h30m")


@pytest.mark.parametrize("told", ["pro", None])
def test_a_trait_that_a_guest_brings_calls_back_what_is_no_longer_true(told: str | None) -> None:
    guest, known = both({**HELLO, "still": {"traits.plan": {"exists": False}}})
    known.event("1s", "Opened")
    if told is not None:
        identify(guest, "2s", plan=told)
    unite(guest, known, "3s")
    (delivery,) = known.effects.deliveries
    called_back = [Recall(delivery.delivery_id, ms("3s"), Reason.NO_LONGER_TRUE)]
    assert known.effects.cancelled == (called_back if told else [])


@pytest.mark.parametrize("zone", ["", "Asia/Almaty"])
def test_a_guests_message_waits_for_its_usual_hour_across_a_merge_where_the_zone_stays(
    zone: str,
) -> None:
    guest, known = both({**HELLO, "send_at": "usual_hour"})
    guest.state.zone, known.state.zone = "Asia/Almaty", zone
    # By their clock the guest is there at 14:00, the known user at 17:00.
    for user, hour, weight in ((guest, 14, 160), (known, 17, 1600)):
        user.state.usual = [ms("0s") // 3_600_000, {hour: weight}]
    guest.event("10h", "Opened", id="opened")
    assert [held.release_at for held in guest.state.held] == [ms("33h")]
    unite(guest, known, "12h")
    known.fire("30d")
    assert known.lines == ["1d9h hello opened ADMITTED"]
