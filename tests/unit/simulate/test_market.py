from itertools import pairwise
from random import Random

from engine.simulate.market import PRODUCTS, Market

HOUR_MS = 3_600_000


def market(seed: int = 1) -> Market:
    return Market(Random(seed), 0, HOUR_MS)


def test_a_price_does_not_depend_on_when_somebody_looks_for_it() -> None:
    shop = market()
    product = shop.products[0]
    times = [step * HOUR_MS / 4 for step in range(200)]
    forward = [shop.price(product, now_ms) for now_ms in times]
    assert [shop.price(product, now_ms) for now_ms in reversed(times)] == forward[::-1]


def test_prices_drop_and_rise_again() -> None:
    shop = market()
    prices = [shop.price(shop.products[0], hour * HOUR_MS) for hour in range(100)]
    steps = [later - earlier for earlier, later in pairwise(prices)]
    assert min(steps) < 0 < max(steps)
    assert min(prices) > 0


def test_products_have_ids_and_names_of_their_own_and_popular_ones_are_picked_more() -> None:
    shop = market()
    assert len({product.product_id for product in shop.products}) == PRODUCTS
    assert len({(product.name, product.category) for product in shop.products}) == PRODUCTS
    popular = {product.product_id for product in shop.products[: PRODUCTS // 10]}
    picks = [shop.pick().product_id in popular for _ in range(2_000)]
    assert 0.25 < sum(picks) / len(picks) < 0.40
