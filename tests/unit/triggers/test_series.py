"""Series: one instance, several messages. Bundles: several candidates, one message."""

from typing import Any

import msgspec
import pytest

from engine.delivery.render import fill
from engine.stream.building import DELIVERY_BYTES_MAX, Origin, delivery_messages, delivery_of
from schemas.deliveries import decode_delivery, encode_delivery
from schemas.reasons import Reason
from schemas.topics import Topics
from tests.unit.triggers.user import CART, User, ms, program_of
from triggers.decide import apply_merged
from triggers.merging import freeze
from triggers.state import decode_state, encode_state
from triggers.texts import TextError, compile_text


def text(title: str = "t") -> dict[str, Any]:
    return {"push": {"title": title, "body": "b"}}


SERIES: dict[str, Any] = {
    "id": "s",
    "state": "live",
    "when": {"event": "Signed Up"},
    "unless": {"event": "Ordered"},
    "series": [{"after": "1d", "message": "first"}, {"after": "3d", "message": "second"}],
    "messages": {"first": text(), "second": text()},
}


def series(**changes: Any) -> User:
    return User(program_of({**SERIES, **changes}))


def said(user: User) -> list[tuple[int, str]]:
    return [(delivery.step, delivery.text) for delivery in user.effects.deliveries]


def test_each_step_of_a_series_is_due_after_the_start() -> None:
    user = series()
    user.event("0s", "Signed Up")
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "3d s m0 ADMITTED"]
    assert said(user) == [(0, "first"), (1, "second")]
    assert len({delivery.delivery_id for delivery in user.effects.deliveries}) == 2
    assert user.state.instances == []


def test_a_cancel_ends_what_is_left_of_a_series() -> None:
    user = series()
    user.event("0s", "Signed Up")
    user.event("2d", "Ordered")
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "2d s m0 CANCELLED"]


def test_a_series_needs_no_unless() -> None:
    user = series(unless={"event": "Never"})
    user.event("0s", "Signed Up")
    user.fire("10d")
    assert len(user.lines) == 2


def test_cooldown_does_not_stand_between_the_steps_of_one_series() -> None:
    user = series(cooldown="30d")
    user.event("0s", "Signed Up")
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "3d s m0 ADMITTED"]
    user.event("10d", "Signed Up")
    user.fire("20d")
    assert user.lines[2:] == ["11d s m1 COOLDOWN", "13d s m1 COOLDOWN"]


def test_a_refunded_step_leaves_the_cooldown_of_the_step_before_it() -> None:
    user = series(cooldown="30d", per="properties.sku")
    user.event("0s", "Signed Up", sku="a")
    user.fire("4d")
    user.outcome("4d", Reason.EXPIRED)
    user.event("4d", "Signed Up", sku="b")
    user.fire("6d")
    assert user.lines[2:] == ["5d s m1 COOLDOWN"]


def test_steps_that_were_both_refunded_leave_no_cooldown() -> None:
    user = series(cooldown="30d", per="properties.sku", expires="7d")
    user.event("0s", "Signed Up", sku="a")
    user.fire("4d")
    user.outcome("4d", Reason.EXPIRED, delivery=0)
    user.outcome("4d", Reason.EXPIRED, delivery=1)
    user.event("4d", "Signed Up", sku="b")
    user.fire("6d")
    assert user.lines[2:] == ["5d s m1 ADMITTED"]


def test_a_new_start_begins_the_series_anew() -> None:
    user = series()
    user.event("0s", "Signed Up")
    user.event("2d", "Signed Up")
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "3d s m1 ADMITTED", "5d s m1 ADMITTED"]


def test_a_message_sent_twice_does_not_begin_its_series_again() -> None:
    user = series(
        series=[{"after": "1h", "message": "first"}, {"after": "3h", "message": "second"}]
    )
    user.event("0s", "Signed Up", id="once")
    user.event("2h", "Signed Up", id="once", e="0s")
    user.fire("10d")
    assert user.lines == ["1h s once ADMITTED", "3h s once ADMITTED"]


def test_a_chain_of_restarts_ends_where_its_series_begins_to_speak() -> None:
    user = series(restart_at_most="1d")
    user.event("0s", "Signed Up")
    user.event("2d", "Signed Up")
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "3d s m1 ADMITTED", "5d s m1 ADMITTED"]


def test_a_series_made_shorter_sends_its_last_text() -> None:
    user = series()
    user.event("0s", "Signed Up")
    user.fire("2d")
    shorter = {"series": SERIES["series"][:1], "messages": {"first": text()}}
    user.program = program_of({**SERIES, **shorter}, number=2)
    user.fire("10d")
    assert user.lines == ["1d s m0 ADMITTED", "3d s m0 ADMITTED"]
    assert said(user) == [(0, "first"), (1, "first")]


def test_wait_alone_is_a_delay() -> None:
    user = User(program_of({"id": "d", "state": "live", "when": {"event": "A"}, "wait": "3d"}))
    user.event("0s", "A")
    user.fire("4d")
    assert user.lines == ["3d d m0 ADMITTED"]


# --- bundles ---

BUNDLE: dict[str, Any] = {
    **CART,
    "per": "properties.sku",
    "unless": {"event": "Ordered", "where": {"properties.sku": "$start.properties.sku"}},
    "bundle": {"window": "1h", "max": 3},
    "message": text("{% for item in items %}{{ item.start.properties.label }} {% endfor %}"),
}


def bundle(**changes: Any) -> User:
    return User(program_of({**BUNDLE, **changes}))


def add(user: User, at: str, sku: str) -> None:
    user.event(at, "Added", sku=sku, label=f"Shoe {sku}")


def test_candidates_of_a_window_become_one_message() -> None:
    user = bundle()
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.fire("5h")
    assert user.lines == ["3h cart m0 ADMITTED", "3h cart m1 BUNDLED"]
    (delivery,) = user.effects.deliveries
    assert {decision.delivery_id for decision in user.effects.decisions} == {delivery.delivery_id}


def test_a_bundle_lists_its_items_in_the_text() -> None:
    user = bundle()
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.fire("5h")
    made = delivery_of(user.effects.deliveries[0], Origin(0, 1, Topics()))
    sent = decode_delivery(encode_delivery(made))
    assert fill(BUNDLE["message"]["push"]["title"], sent) == "Shoe a Shoe b "


def test_a_refunded_bundle_gives_back_the_cooldown_of_all_its_items() -> None:
    user = bundle(cooldown={"user": "10d", "per": "20d"})
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.fire("5h")
    user.outcome("5h", Reason.REJECTED)
    assert user.state.cooled == []
    add(user, "6h", "b")
    user.fire("1d")
    assert user.lines[2:] == ["9h cart m2 ADMITTED"]


def test_a_full_bundle_does_not_wait_for_its_window() -> None:
    user = bundle()
    for number, sku in enumerate("abcd"):
        add(user, f"{number}m", sku)
    user.fire("5h")
    assert user.lines == [
        "2h2m cart m0 ADMITTED",
        "2h2m cart m1 BUNDLED",
        "2h2m cart m2 BUNDLED",
        "3h3m cart m3 ADMITTED",
    ]


def test_a_cancel_takes_an_item_out_of_its_bundle() -> None:
    user = bundle()
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.event("2h30m", "Ordered", sku="a")
    user.fire("5h")
    assert user.lines == ["2h30m cart m0 CANCELLED", "3h cart m1 ADMITTED"]


def test_a_refused_bundle_refuses_all_its_items_for_the_same_reason() -> None:
    user = bundle(state="paused")
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.fire("5h")
    assert user.lines == ["3h cart m0 PAUSED", "3h cart m1 PAUSED"]


def test_an_item_that_is_cooling_down_is_left_out_of_the_bundle() -> None:
    user = bundle(cooldown={"per": "7d"})
    add(user, "0s", "a")
    user.fire("1d")
    add(user, "1d", "a")
    add(user, "1d10m", "b")
    user.fire("2d")
    assert user.lines == ["3h cart m0 ADMITTED", "1d3h cart m1 COOLDOWN", "1d3h cart m2 ADMITTED"]


def test_a_bundle_cools_down_every_item_it_names() -> None:
    user = bundle(cooldown={"per": "7d"})
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(user, at, sku)
    user.fire("1d")
    add(user, "1d", "b")
    user.fire("2d")
    assert user.lines[2:] == ["1d3h cart m2 COOLDOWN"]


def test_an_open_bundle_survives_being_stored() -> None:
    user = bundle()
    add(user, "0s", "a")
    user.fire("2h30m")
    assert user.state.bundles
    assert user.state.due == ms("3h")
    user.state = decode_state(encode_state(user.state))
    user.fire("5h")
    assert user.lines == ["3h cart m0 ADMITTED"]


def test_a_removed_trigger_ends_what_waits_in_its_bundle() -> None:
    user = bundle()
    add(user, "0s", "a")
    user.fire("2h30m")
    user.program = program_of(SERIES, number=2)
    user.fire("5h")
    assert user.lines == ["3h cart m0 PAUSED"]
    assert user.state.bundles == []


@pytest.mark.parametrize(
    "source", ["{{ items[0].strat.x }}", "{% for i in items %}{{ i.start.nope }}{% endfor %}"]
)
def test_a_text_may_read_only_start_and_event_of_an_item(source: str) -> None:
    with pytest.raises(TextError):
        compile_text(source)


def test_an_order_of_the_other_profile_takes_an_item_out_of_a_bundle_that_is_moved() -> None:
    known = bundle()
    guest = User(known.program, name="guest")
    for at, sku in (("0s", "a"), ("10m", "b")):
        add(guest, at, sku)
    known.event("2h20m", "Ordered", sku="a")
    guest.fire("2h30m")
    moved = freeze("guest", guest.state, "u")
    assert moved is not None
    apply_merged(known.program, "u", known.state, moved, ms("2h30m"), known.effects)
    known.fire("5h")
    assert known.lines == ["2h30m cart m0 CANCELLED", "3h cart m1 ADMITTED"]


def test_a_bundle_of_large_items_fits_into_a_record_and_an_unless_still_compares_them() -> None:
    label = {"properties.label": "$start.properties.label"}
    user = bundle(
        per="event",
        on_repeat="keep",
        unless={"event": "Ordered", "where": label},
        bundle={"window": "1h", "max": 50},
    )
    for number in range(32):
        user.event(f"{number}s", "Added", label="\x01" * 60_000 + str(number))
    user.event("1m", "Ordered", label="\x01" * 60_000 + "7")
    assert len(encode_state(user.state)) < 100_000
    user.fire("5h")
    assert [line.split()[-1] for line in user.lines].count("CANCELLED") == 1
    ((_, message),) = delivery_messages(user.effects, Origin(0, 1, Topics()))
    assert len(message.value) <= DELIVERY_BYTES_MAX


def test_a_delivery_larger_than_a_record_keeps_its_first_items() -> None:
    user = bundle(bundle={"window": "1h", "max": 50})
    add(user, "0s", "a")
    add(user, "1s", "b")
    user.fire("5h")
    (admitted,) = user.effects.deliveries
    large: tuple[dict[str, object], dict[str, object]] = ({"properties.label": "x" * 100_000}, {})
    user.effects.deliveries[0] = msgspec.structs.replace(admitted, items=(large,) * 32)
    ((_, message),) = delivery_messages(user.effects, Origin(0, 1, Topics()))
    assert len(message.value) <= DELIVERY_BYTES_MAX
    assert len(decode_delivery(message.value).items) == 8


def test_of_two_steps_that_are_held_together_the_later_one_is_sent() -> None:
    steps = [{"after": "1h", "message": "first"}, {"after": "2h", "message": "second"}]
    user = series(series=steps, send_at={"between": ["12:00", "20:00"]})
    user.event("0s", "Signed Up")
    user.fire("10d")
    assert user.lines == ["12h s m0 ADMITTED", "12h s m0 LOWER_PRIORITY"]
    assert said(user) == [(1, "second")]
