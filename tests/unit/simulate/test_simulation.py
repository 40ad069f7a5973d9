from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from engine.simulate import Message, SimulationOptions, simulate
from schemas.events import Event, decode_event, to_ms

#: A minute of a shop that lives twenty times faster: about 6,000 messages.
OPTIONS = SimulationOptions(
    users=600, duration_ms=60_000, rate_per_s=100, seed=3, compression=20, duplicates=0.02
)


def with_(**changes: Any) -> SimulationOptions:
    return replace(OPTIONS, **changes)


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(simulate(OPTIONS))


@pytest.fixture(scope="module")
def events(messages: list[Message]) -> list[Event]:
    return [decode_event(message.value) for message in messages]


def first_sent(events: Iterable[Event]) -> dict[str, list[Event]]:
    """By person, in the order the person did it, duplicates left out."""
    people: dict[str, dict[int, Event]] = defaultdict(dict)
    for event in events:
        person, _, number = event.message_id.rsplit("-", 2)
        people[person].setdefault(int(number, 16), event)
    return {person: [found[n] for n in sorted(found)] for person, found in people.items()}


def test_equal_options_give_equal_bytes(messages: list[Message]) -> None:
    assert list(simulate(OPTIONS)) == messages


def test_another_seed_gives_another_history(messages: list[Message]) -> None:
    others = simulate(with_(seed=4))
    assert [message.value for message in others] != [message.value for message in messages]


def test_messages_come_by_append_time_and_within_the_asked_duration(
    messages: list[Message],
) -> None:
    times = [message.a_ms for message in messages]
    assert times == sorted(times)
    assert OPTIONS.start_ms <= times[0]
    assert times[-1] < OPTIONS.start_ms + OPTIONS.duration_ms


def test_every_value_is_a_client_event_received_at_its_append_time_under_its_key(
    messages: list[Message], events: list[Event]
) -> None:
    for message, event in zip(messages, events, strict=True):
        assert event.received_at is not None
        assert to_ms(event.received_at) == message.a_ms
        assert event.profile == message.user


@pytest.mark.parametrize(
    ("users", "rate_per_s", "compression"),
    [(600, 100.0, 20.0), (50_000, 400.0, 1.0), (20, 500.0, 1.0)],
    ids=["fast life", "real life", "too few users for the rate"],
)
def test_the_rate_is_kept_from_the_first_second(
    users: int, rate_per_s: float, compression: float
) -> None:
    options = with_(users=users, rate_per_s=rate_per_s, compression=compression, duration_ms=30_000)
    thirds = Counter((m.a_ms - options.start_ms) // 10_000 for m in simulate(options))
    assert thirds.keys() == {0, 1, 2}
    for count in thirds.values():
        assert count == pytest.approx(rate_per_s * 10, rel=0.15)


def test_everything_that_happens_in_a_shop_happens(events: list[Event]) -> None:
    seen = {event.event or event.type for event in events}
    assert seen >= {
        "page",
        "screen",
        "identify",
        "Products Searched",
        "Product Viewed",
        "Product Added",
        "Product Removed",
        "Product Added to Wishlist",
        "Product Removed from Wishlist",
        "Checkout Started",
        "Checkout Step Completed",
        "Order Completed",
    }


def test_an_order_holds_what_was_added_and_not_removed(events: list[Event]) -> None:
    orders = 0
    for history in first_sent(events).values():
        cart: set[str] = set()
        unknown = True  # what the person had in the cart before the simulation
        for event in history:
            properties = event.properties or {}
            if event.event == "Product Added":
                cart.add(properties["product_id"])
            elif event.event == "Product Removed":
                cart.discard(properties["product_id"])
            elif event.event == "Order Completed":
                orders += 1
                lines = properties["products"]
                bought = {line["product_id"] for line in lines}
                assert cart <= bought
                assert len(bought - cart) <= unknown
                total = sum(line["price"] * line["quantity"] for line in lines)
                assert properties["revenue"] == pytest.approx(total)
                cart, unknown = set(), False
    assert orders > 20


def test_some_carts_are_abandoned_and_some_people_come_back(events: list[Event]) -> None:
    last_added: dict[str, int] = {}
    gaps_ms = []
    for event in events:
        assert event.received_at is not None
        now_ms = to_ms(event.received_at)
        if event.event == "Product Added":
            last_added[event.profile] = now_ms
        elif event.event == "Order Completed" and event.profile in last_added:
            gaps_ms.append(now_ms - last_added.pop(event.profile))
    end_ms = OPTIONS.start_ms + OPTIONS.duration_ms
    abandoned = [user for user, at_ms in last_added.items() if end_ms - at_ms > 15_000]
    assert len(abandoned) > 20
    assert any(gap_ms > 15_000 for gap_ms in gaps_ms)
    assert any(gap_ms < 15_000 for gap_ms in gaps_ms)


def test_a_duplicate_differs_in_its_receipt_only(events: list[Event]) -> None:
    by_id = defaultdict(list)
    for event in events:
        by_id[event.message_id].append(event)
    twice = [found for found in by_id.values() if len(found) > 1]
    assert len(twice) / len(by_id) == pytest.approx(OPTIONS.duplicates, rel=0.5)
    for first, second in twice:
        assert first.received_at is not None
        assert second.received_at is not None
        assert second.received_at > first.received_at
        second.received_at = first.received_at
        assert second == first


def test_without_duplicates_every_message_id_is_unique() -> None:
    ids = [decode_event(m.value).message_id for m in simulate(with_(duplicates=0))]
    assert len(ids) == len(set(ids))


def test_clocks_of_devices_differ_and_some_messages_overtake_others(events: list[Event]) -> None:
    ahead = behind = overtaken = 0
    for event in events:
        assert event.received_at is not None
        assert event.timestamp is not None
        late_ms = to_ms(event.received_at) - to_ms(event.timestamp)
        ahead += late_ms < 0
        behind += late_ms > 2_000
    last: dict[str, int] = {}
    for event in events:
        person, _, number = event.message_id.rsplit("-", 2)
        overtaken += int(number, 16) < last.get(person, 0)
        last[person] = int(number, 16)
    assert ahead > 0
    assert behind > 0
    assert overtaken > 0


def test_people_have_one_token_or_two_or_none_and_some_tokens_are_dead(
    events: list[Event],
) -> None:
    tokens: dict[str, set[str]] = defaultdict(set)
    for event in events:
        device = (event.context or {}).get("device")
        tokens[event.profile].update([device["token"]] if device else [])
    sizes = Counter(len(found) for found in tokens.values())
    assert sizes.keys() == {0, 1, 2}
    assert sizes[1] > sizes[0] + sizes[2]
    assert any(token.startswith("dead") for found in tokens.values() for token in found)


def test_guests_have_an_anonymous_id_only(messages: list[Message]) -> None:
    guests = {m.user for m in messages if decode_event(m.value).user_id is None}
    everybody = {m.user for m in messages}
    assert len(guests) / len(everybody) == pytest.approx(OPTIONS.guests, abs=0.08)


def test_nothing_but_noise_is_added_by_noise() -> None:
    counts = Counter(decode_event(m.value).event for m in simulate(with_(noise=0.6)))
    noise = ("Banner Viewed", "List Scrolled", "Video Played", "Filter Opened", "Store Located")
    assert sum(counts[name] for name in noise) / counts.total() == pytest.approx(0.6, abs=0.06)
    without = {decode_event(m.value).event for m in simulate(with_(noise=0))}
    assert without.isdisjoint(noise)


def test_prefixes_keep_the_users_of_two_simulations_apart(messages: list[Message]) -> None:
    others = {m.user for m in simulate(with_(prefix="other-"))}
    assert others.isdisjoint(m.user for m in messages)


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": 0},
        {"rate_per_s": 0},
        {"duration_ms": 0},
        {"seed": -1},
        {"noise": 1.0},
        {"noise": float("nan")},
        {"duplicates": 1.5},
        {"compression": 0},
        {"prefix": ""},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        with_(**wrong)
