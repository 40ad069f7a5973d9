"""The send queue: order and shares."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.lanes import Lanes, Slots
from schemas.topics import Lane

WEIGHTS = (8, 3, 1)
SHARES = dict(zip((Lane.HIGH, Lane.NORMAL, Lane.LOW), WEIGHTS, strict=True))
ROOM = 1_000_000


def filled(count: int, lanes: tuple[Lane, ...] = tuple(SHARES), slots: int = 1) -> Lanes[Lane]:
    made: Lanes[Lane] = Lanes(WEIGHTS)
    for lane in lanes:
        for _ in range(count):
            made.put(lane, "fcm", slots, lane)
    return made


def open_slots() -> Slots:
    return Slots(ROOM, ["fcm", "apns"])


@given(start=st.integers(0, 500), rounds=st.integers(1, 20))
def test_in_any_window_full_lanes_get_what_their_weights_say(start: int, rounds: int) -> None:
    drained = filled(2_000).take(open_slots(), start + 12 * rounds)
    got = Counter(drained[start:])
    for lane, weight in SHARES.items():
        assert abs(got[lane] - weight * rounds) <= 1


def test_a_lane_alone_gets_everything() -> None:
    assert filled(50, (Lane.LOW,)).take(open_slots(), 50) == [Lane.LOW] * 50


def test_the_share_of_an_empty_lane_goes_to_the_others_by_their_weights() -> None:
    got = Counter(filled(1_000, (Lane.HIGH, Lane.LOW)).take(open_slots(), 900))
    assert got == {Lane.HIGH: 800, Lane.LOW: 100}


def test_critical_goes_first_whenever_it_comes() -> None:
    lanes = filled(100)
    lanes.take(open_slots(), 10)
    lanes.put(Lane.CRITICAL, "fcm", 1, Lane.CRITICAL)
    lanes.put(Lane.CRITICAL, "apns", 1, Lane.CRITICAL)
    assert lanes.take(open_slots(), 3)[:2] == [Lane.CRITICAL] * 2


def test_a_lane_that_was_empty_saved_nothing_up() -> None:
    lanes = filled(2_000, (Lane.HIGH, Lane.NORMAL))
    lanes.take(open_slots(), 1_100)
    for _ in range(100):
        lanes.put(Lane.LOW, "fcm", 1, Lane.LOW)
    assert Counter(lanes.take(open_slots(), 120))[Lane.LOW] in (10, 11)


def test_shares_are_of_slots_not_of_deliveries() -> None:
    lanes: Lanes[Lane] = Lanes((1, 1, 1))
    for _ in range(300):
        lanes.put(Lane.HIGH, "fcm", 3, Lane.HIGH)
        lanes.put(Lane.NORMAL, "fcm", 1, Lane.NORMAL)
    got = Counter(lanes.take(open_slots(), 200))
    assert abs(got[Lane.NORMAL] - 3 * got[Lane.HIGH]) <= 3


def test_a_lane_keeps_its_order() -> None:
    lanes: Lanes[int] = Lanes(WEIGHTS)
    for number in range(20):
        lanes.put(Lane.NORMAL, "fcm", 1, number)
    slots = open_slots()
    assert [lanes.take(slots, 1)[0] for _ in range(20)] == list(range(20))


def test_no_more_is_taken_than_there_are_slots() -> None:
    lanes, slots = filled(100), Slots(10, ["fcm"])
    assert len(lanes.take(slots, 64)) == 10
    assert lanes.take(slots, 64) == []
    slots.give("fcm", 4)
    assert len(lanes.take(slots, 64)) == 4
    assert slots.used == 10


def test_a_provider_that_hangs_leaves_slots_to_the_other_one() -> None:
    lanes, slots = filled(100), Slots(20, ["fcm", "apns"])
    assert len(lanes.take(slots, 64)) == 15
    lanes.put(Lane.LOW, "apns", 1, Lane.LOW)
    assert lanes.take(slots, 64) == [Lane.LOW]


def test_full_lanes_of_one_provider_do_not_hold_back_the_other_ones_low_lane() -> None:
    lanes: Lanes[str] = Lanes(WEIGHTS)
    for _ in range(100):
        lanes.put(Lane.HIGH, "fcm", 1, "fcm")
    lanes.put(Lane.LOW, "apns", 1, "apns")
    assert "apns" in lanes.take(open_slots(), 2)


@given(
    puts=st.lists(
        st.tuples(st.sampled_from(Lane), st.sampled_from(["fcm", "apns", ""]), st.integers(1, 5)),
        max_size=100,
    ),
    room=st.integers(1, 30),
    at_once=st.integers(1, 64),
)
def test_everything_put_is_taken_once_and_the_depth_counts_what_waits(
    puts: list[tuple[Lane, str, int]], room: int, at_once: int
) -> None:
    lanes: Lanes[int] = Lanes(WEIGHTS)
    for number, (lane, route, slots) in enumerate(puts):
        lanes.put(lane, route, slots, number)
    free, taken = Slots(room, ["fcm", "apns"]), []
    while found := lanes.take(free, at_once):
        assert free.used <= room + 4
        taken += found
        waiting = len(puts) - len(taken)
        assert sum(lanes.depth(lane) for lane in Lane) == waiting
        for number in found:
            free.give(puts[number][1], puts[number][2])
    assert sorted(taken) == list(range(len(puts)))
    assert free.used == 0
