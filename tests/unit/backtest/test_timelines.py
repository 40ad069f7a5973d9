from random import Random

from engine.backtest.run import POLL_EVERY
from engine.backtest.timelines import ENTRIES_MAX, Followed, Timeline, shown
from engine.backtest.users import Slot
from schemas.events import Event
from tests.unit.backtest.histories import CART, HOUR, LOOK, decided, definitions, event

EVENTS = [
    event(number, f"u{number % 40}", ("Product Viewed", "Product Added")[number % 2])
    for number in range(400)
]


def shown_of(users: list[str]) -> list[Timeline]:
    followed = Followed(followed_max=5)
    for user in users:
        slot = Slot()
        followed.meet(user, slot)
        if slot.trace is not None:
            slot.trace.append((1, "t", "ADMITTED"))
    return shown(followed.traces)


def test_the_same_users_are_shown_whatever_order_they_come_in() -> None:
    users = [f"u{number}" for number in range(100)]
    expected = shown_of(users)
    Random(1).shuffle(users)
    assert len(expected) == 5
    assert shown_of(users) == expected


def test_ten_users_of_whom_something_was_decided_are_shown_at_most() -> None:
    run, _ = decided(definitions(CART, LOOK), [*EVENTS, event(2 * HOUR, "x", "Other")])
    timelines = run.result().timelines()
    assert len(timelines) == 10
    assert all(any(entry.trigger for entry in one.entries) for one in timelines)
    kinds = {(entry.trigger, entry.what) for one in timelines for entry in one.entries}
    assert {("cart", "ADMITTED"), ("look", "ADMITTED")} <= kinds


def test_a_timeline_is_bounded() -> None:
    events = [event(number, "ann", "Product Viewed") for number in range(500)]
    run, _ = decided(definitions(LOOK), events)
    (one,) = run.result().timelines()
    assert len(one.entries) == ENTRIES_MAX


def test_what_is_cut_off_a_timeline_does_not_depend_on_the_events_of_others() -> None:
    mine = [event(number, "ann", "Product Added") for number in range(ENTRIES_MAX - 1)]
    mine.append(event(3 * HOUR, "ann", "Something Else"))
    others = [event(2 * HOUR, "bob", "Something Else") for _ in range(POLL_EVERY)]
    last = []
    for events in (mine, [*mine[:-1], *others, mine[-1]]):
        run, _ = decided(definitions(CART), events)
        (one,) = run.result().timelines()
        last.append(one.entries[-1].what)
    assert last == ["ADMITTED", "ADMITTED"]


def test_a_message_without_a_name_is_shown_by_its_type() -> None:
    identified = Event("identify", "i", user_id="ann", traits={"plan": "pro"})
    run, _ = decided(definitions(LOOK), [(0, identified), event(HOUR, "ann", "Product Viewed")])
    (one,) = run.result().timelines()
    assert [entry.what for entry in one.entries] == ["identify", "Product Viewed", "ADMITTED"]
