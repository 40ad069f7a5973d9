"""Relations: edges between a user and items, by client time, bounded."""

from typing import Any

import pytest

from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.decide import apply_merged
from triggers.merging import absorb, freeze
from triggers.state import REMEMBERED_MAX, is_blank
from triggers.workspace import DefinitionErrors, load_documents

CART: dict[str, Any] = {
    "add": "Added",
    "remove": ["Removed", "Ordered", {"event": "Cleared", "all": True}],
    "item": "properties.sku",
    "keep": "10d",
    "max": 50,
}


def shopper(**fields: Any) -> User:
    files = {"relations": {"cart": {**CART, **fields}}}
    return User(program_of({**HELLO, "audience": {"has": {"cart": {"gte": 1}}}}, files=files))


def items(user: User, at: str) -> int:
    return user.program.relations["cart"].count(user.state, ms(at))


def test_an_item_is_related_from_add_to_remove() -> None:
    user = shopper()
    user.event("0s", "Added", sku="a")
    user.event("1s", "Added", sku="a")
    user.event("2s", "Added", sku=7)
    assert items(user, "2s") == 2
    user.event("3s", "Removed", sku="a")
    user.event("4s", "Removed", sku="7")
    assert items(user, "4s") == 0


def test_an_order_removes_the_products_it_lists() -> None:
    user = shopper()
    for sku in "abc":
        user.event("0s", "Added", sku=sku)
    user.event("1s", "Ordered", products=[{"sku": "a"}, {"sku": "c"}])
    assert items(user, "1s") == 1


def test_a_removal_without_an_item_removes_nothing_and_is_counted() -> None:
    user = shopper()
    user.event("0s", "Added", sku="a")
    user.event("1s", "Ordered")
    assert items(user, "1s") == 1
    assert sum(user.effects.unevaluated.values()) == 1


def test_a_removal_of_all_empties_the_relation() -> None:
    user = shopper()
    user.event("0s", "Added", sku="a")
    user.event("1s", "Added", sku="b")
    user.event("2s", "Cleared")
    assert items(user, "2s") == 0
    user.event("3s", "Added", e="1s", sku="c")
    assert items(user, "3s") == 0
    user.event("4s", "Added", sku="c")
    assert items(user, "4s") == 1


def test_client_time_decides_in_whatever_order_events_come() -> None:
    user = shopper()
    user.event("5m", "Removed", sku="a")
    user.event("6m", "Added", e="4m", sku="a")
    assert items(user, "6m") == 0
    user.event("7m", "Added", sku="a")
    user.event("8m", "Removed", e="6m", sku="a")
    assert items(user, "8m") == 1
    user.event("9m", "Removed", e="7m", sku="a")
    assert items(user, "9m") == 0


def test_an_addition_sent_twice_does_not_bring_a_removed_item_back() -> None:
    user = shopper()
    user.event("0s", "Added", id="one", timeless=True, sku="a")
    user.event("1s", "Removed", sku="a")
    user.event("2s", "Added", id="one", timeless=True, sku="a")
    assert items(user, "2s") == 0


def test_an_item_is_kept_for_a_half_open_time() -> None:
    user = shopper()
    user.event("0s", "Added", sku="a")
    assert items(user, "9d23h59m59s999ms") == 1
    assert items(user, "10d") == 0


def test_events_may_have_a_where() -> None:
    user = shopper(add={"event": "Added", "where": {"properties.list": "wish"}})
    user.event("0s", "Added", sku="a", list="cart")
    user.event("0s", "Added", sku="b", list="wish")
    assert items(user, "0s") == 1


def test_items_and_removals_are_bounded_and_the_oldest_goes() -> None:
    user = shopper()
    for number in range(120):
        user.event(f"{number}s", "Added", sku=f"i{number}")
    assert items(user, "2m") == 50
    assert user.effects.evicted["relations"] == 70
    assert "i119" in user.state.relations["cart"]
    for number in range(120):
        user.event(f"{200 + number}s", "Removed", sku=f"i{number}")
    assert items(user, "6m") == 0
    assert len(user.state.relations["cart"]) <= 50
    assert user.effects.evicted["removals"] >= 120 - 50
    assert sum(1 for at in user.state.relations["cart"].values() if at < 0) <= REMEMBERED_MAX


def test_a_relation_is_forgotten_by_the_timer_index_and_leaves_nothing() -> None:
    user = shopper()
    user.state.devices.clear()
    user.event("0s", "Added", sku="a")
    assert user.state.due == ms("11d")
    user.fire("11d1ms")
    assert is_blank(user.state)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"add": []}, "cart.add: `add` must not be empty"),
        ({"add": {"event": "Added", "all": True}}, "cart.add.0.all: `all` empties: only in"),
        ({"item": "properties.products.*.sku"}, "cart.item: 'properties.products.*.sku' must lead"),
        ({"itm": "x"}, "cart.itm: unknown field 'itm' (did you mean 'item'?)"),
        ({"max": 1001}, "cart.max: `max` is at most 1000"),
        ({"keep": 180}, "cart.keep: a duration is text"),
    ],
)
def test_a_wrong_relation_is_refused_where_it_is_wrong(fields: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as refused:
        load_documents([], {}, {"relations": {"cart": {**CART, **fields}}})
    assert said in str(refused.value)


def test_a_merge_lets_client_time_decide_over_both_profiles() -> None:
    known = shopper()
    anonymous = User(known.program, name="anonymous")
    anonymous.event("1s", "Added", id="x1", sku="a")
    anonymous.event("5s", "Removed", id="x2", sku="b")
    anonymous.event("6s", "Added", id="x3", sku="c")
    known.event("3s", "Removed", id="y1", sku="a")
    known.event("4s", "Added", id="y2", sku="b")
    known.event("4s", "Added", id="y3", sku="d")
    absorb(known.program, "u", known.state, anonymous.state, ms("7s"), known.effects)
    assert {item for item, at in known.state.relations["cart"].items() if at > 0} == {"c", "d"}


def test_a_merge_leaves_nothing_of_a_relation_whose_items_have_all_expired() -> None:
    known = shopper()
    anonymous = User(known.program, name="anonymous")
    for number in range(REMEMBERED_MAX + 8):
        anonymous.event("1s", "Added", sku=f"item-{number}")
    moved = freeze("anonymous", anonymous.state, "u")
    assert moved is not None
    apply_merged(known.program, "u", known.state, moved, ms("12d"), known.effects)
    assert "cart" not in known.state.relations
