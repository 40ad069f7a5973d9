"""Devices: learnt from events, forgotten when the provider says so."""

from typing import Any

import pytest

from schemas.events import Event
from schemas.records import DeadToken
from triggers.devices import TOKEN_CHARS_MAX, device_of, register_device, remove_dead
from triggers.state import DAY_MS, DEVICES_MAX, UserState


def event(**device: Any) -> Event:
    return Event(type="identify", context={"device": device})


def tokens(state: UserState) -> list[str]:
    return [device.token for device in state.devices]


@pytest.mark.parametrize(
    ("kind", "platform"), [("ios", "ios"), ("iOS", "ios"), ("android", "android"), ("A", None)]
)
def test_the_platform_is_told_by_the_type(kind: str, platform: str | None) -> None:
    assert device_of(event(token="t", type=kind)) == (("t", platform) if platform else None)


@pytest.mark.parametrize(
    "context",
    [
        None,
        {},
        {"device": "text"},
        {"device": {"token": "t"}},
        {"device": {"type": "ios"}},
        {"device": {"token": 5, "type": "ios"}},
        {"device": {"token": "", "type": "ios"}},
        {"device": {"token": "x" * (TOKEN_CHARS_MAX + 1), "type": "ios"}},
        {"device": {"token": "t", "type": 1}},
    ],
)
def test_what_is_not_a_device_teaches_nothing(context: dict[str, Any] | None) -> None:
    state = UserState()
    assert not register_device(state, Event(type="track", context=context), 1)
    assert state.devices == []


def test_a_known_device_is_written_at_most_once_a_day() -> None:
    state = UserState()
    assert register_device(state, event(token="t", type="ios"), 5)
    assert not register_device(state, event(token="t", type="ios"), 5 + DAY_MS - 1)
    assert register_device(state, event(token="t", type="ios"), 5 + DAY_MS)
    assert [(d.token, d.seen) for d in state.devices] == [("t", 5 + DAY_MS)]


def test_overflow_forgets_the_device_seen_longest_ago() -> None:
    state = UserState()
    for number in range(DEVICES_MAX + 1):
        register_device(state, event(token=f"t{number}", type="ios"), number)
    assert tokens(state) == [f"t{number}" for number in range(1, DEVICES_MAX + 1)]


def test_a_dead_token_is_removed_and_the_others_stay() -> None:
    state = UserState()
    for name in ("a", "b"):
        register_device(state, event(token=name, type="ios"), 10)
    assert remove_dead(state, [DeadToken("a"), DeadToken("unknown")])
    assert tokens(state) == ["b"]
    assert not remove_dead(state, [DeadToken("a")])
    assert not remove_dead(state, [])


@pytest.mark.parametrize(("since", "left"), [(None, []), (10, []), (9, ["a"])])
def test_a_registration_after_the_provider_s_own_time_wins(
    since: int | None, left: list[str]
) -> None:
    state = UserState()
    register_device(state, event(token="a", type="ios"), 10)
    remove_dead(state, [DeadToken("a", since)])
    assert tokens(state) == left
