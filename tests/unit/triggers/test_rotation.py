"""Texts that take turns: the one said longest ago, none again too soon."""

from typing import Any

import pytest

from schemas.reasons import REFUNDED, Reason
from tests.unit.triggers.user import HELLO, T0, User, ms, program_of
from triggers.decide import apply_merged
from triggers.rotation import TURNS_KEPT_MS
from triggers.state import TEXTS_MAX, UserState, decode_state, encode_state
from triggers.workspace import DefinitionErrors, load_documents

TEXT = {"push": {"title": "a", "body": "b"}}


def rotating(*texts: str, no_repeat: str | None = None, **changes: Any) -> dict[str, Any]:
    rotate = {"texts": list(texts)} | ({"no_repeat": no_repeat} if no_repeat else {})
    return {**HELLO, "rotate": rotate, "messages": dict.fromkeys(texts, TEXT), **changes}


def said(user: User, *times: str) -> list[str]:
    """The text of each message, or the reason why there was none."""
    found = []
    for at in times:
        before = len(user.effects.deliveries)
        user.event(at, "Opened")
        new = user.effects.deliveries[before:]
        found.append(new[0].text if new else user.lines[-1].split()[-1])
    return found


def test_texts_take_turns_in_the_order_they_stand_in() -> None:
    user = User(program_of(rotating("m2", "m1", "m3")))
    times = [f"{number}h" for number in range(7)]
    assert said(user, *times) == ["m2", "m1", "m3", "m2", "m1", "m3", "m2"]


def test_no_text_comes_again_within_no_repeat_and_then_there_is_no_fresh_one() -> None:
    user = User(program_of(rotating("m1", "m2", no_repeat="30d")))
    assert said(user, "0s", "1d", "2d", "29d23h59m59s999ms", "30d", "30d1s", "31d") == [
        "m1",
        "m2",
        "NO_FRESH_TEXT",
        "NO_FRESH_TEXT",
        "m1",
        "NO_FRESH_TEXT",
        "m2",
    ]


def test_the_turns_go_on_after_a_long_silence() -> None:
    user = User(program_of(rotating("m1", "m2", "m3")))
    assert said(user, "0s", "20d", "100d") == ["m1", "m2", "m3"]
    user.fire("400d")
    assert user.state.texts == {}
    assert TURNS_KEPT_MS > 80 * 86_400_000


@pytest.mark.parametrize("reason", [Reason.ACCEPTED, Reason.UNKNOWN, *sorted(REFUNDED)], ids=str)
def test_only_a_definite_failure_gives_the_text_back(reason: Reason) -> None:
    user = User(program_of(rotating("m1", "m2", no_repeat="30d")))
    said(user, "0s", "1h")
    user.outcome("2h", reason, delivery=0)
    assert said(user, "3h") == ["m1" if reason in REFUNDED else "NO_FRESH_TEXT"]


def test_refunds_in_any_order_leave_the_last_use_that_stands() -> None:
    for order in ((0, 1), (1, 0)):
        user = User(program_of(rotating("m1", no_repeat="1h")))
        assert said(user, "0s", "1h", "2h") == ["m1"] * 3
        user.outcome("2h1m", Reason.REJECTED, delivery=2)
        assert user.state.texts == {"hello": {"m1": ms("1h")}}
        for delivery in order:
            user.outcome("2h2m", Reason.REJECTED, delivery=delivery)
        assert user.state.texts == {}


def test_merged_profiles_remember_the_latest_use_of_each() -> None:
    program = program_of(rotating("m1", "m2", no_repeat="30d"))
    known, guest = User(program), User(program, name="guest")
    assert said(known, "0s") == ["m1"]
    assert said(guest, "1d", "2d") == ["m1", "m2"]
    moved = decode_state(encode_state(guest.state))
    apply_merged(program, "u", known.state, moved, ms("3d"), known.effects)
    assert said(known, "4d", "31d") == ["NO_FRESH_TEXT", "m1"]


def test_what_is_kept_is_bounded_and_overflow_errs_towards_silence() -> None:
    names = [f"m{number}" for number in range(40)]
    user = User(
        program_of(
            *(rotating(*names, no_repeat="90d", id=name, when={"event": name}) for name in "ab")
        )
    )
    for number in range(80):
        user.event(f"{number}m", "ab"[number // 40])
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED"] * 80
    kept = [text for used in user.state.texts.values() for text in used if text]
    assert len(kept) == TEXTS_MAX
    user.event("81m", "a")
    assert user.lines[-1].endswith("NO_FRESH_TEXT")
    assert user.state.texts["a"][""] == ms("15m")


def test_a_text_that_was_taken_out_of_the_rotation_is_forgotten() -> None:
    user = User(program_of(rotating("m1", "m2")))
    said(user, "0s", "1h")
    user.program = program_of(rotating("m2", "m3"))
    assert said(user, "2h", "3h", "4h") == ["m3", "m2", "m3"]
    assert set(user.state.texts["hello"]) == {"m2", "m3"}


def test_a_rotation_that_is_gone_is_forgotten_with_the_next_timer() -> None:
    user = User(program_of(rotating("m1")))
    said(user, "0s")
    user.program = program_of(HELLO)
    user.fire("100d")
    assert user.state.texts == UserState().texts
    assert T0 > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotate": {"texts": ["m1", "mx"]}}, "there is no 'mx' in `messages`"),
        ({"rotate": {"texts": ["m1", "m1"]}}, "a text stands in `texts` once"),
        ({"rotate": {"texts": []}}, "must not be empty"),
        ({"rotate": {"texts": ["m1"]}}, "no step of a series sends 'm2', nor does `rotate`"),
        ({"message": TEXT}, "the texts of a `rotate` stand in `messages`"),
        ({"series": [{"after": "1h", "message": "m1"}]}, "no `rotate`"),
    ],
)
def test_a_wrong_rotation_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionErrors, match=message.replace("(", r"\(")):
        load_documents([rotating("m1", "m2", **changes)])
