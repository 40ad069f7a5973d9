"""The catalogue: products in categories, some far more popular, with prices that change."""

from bisect import bisect_right
from random import Random
from typing import Any, Final

PRODUCTS: Final = 240
#: Mean time between two prices of one product.
PRICE_EVERY_MS: Final = 4 * 3_600_000
CURRENCY: Final = "USD"

#: Category -> (things, lowest usual price, highest usual price).
_SHELVES: Final = {
    "shoes": (("sneakers", "boots", "sandals", "loafers", "running shoes"), 35, 180),
    "bags": (("backpack", "tote", "duffel", "wallet", "messenger bag"), 20, 240),
    "jackets": (("parka", "windbreaker", "blazer", "fleece", "raincoat"), 50, 320),
    "home": (("lamp", "kettle", "blanket", "mug set", "wall clock"), 8, 120),
    "electronics": (("headphones", "e-reader", "smart watch", "speaker", "camera"), 30, 900),
    "toys": (("puzzle", "kite", "train set", "board game", "plush bear"), 6, 70),
}
_MAKES: Final = ("Alpine", "Harbor", "Nova", "Cedar", "Comet", "Juniper", "Tundra", "Saffron")


class Product:
    """One product and its prices so far, oldest first."""

    __slots__ = ("category", "changes", "name", "prices", "product_id", "usual")

    def __init__(self, product_id: str, name: str, category: str, usual: float) -> None:
        self.product_id = product_id
        self.name = name
        self.category = category
        self.usual = usual
        self.changes: list[float] = []
        self.prices: list[float] = []

    def described(self, price: float) -> dict[str, Any]:
        """The properties every event about this product carries."""
        return {
            "product_id": self.product_id,
            "name": self.name,
            "category": self.category,
            "price": price,
            "currency": CURRENCY,
        }


class Market:
    """All products; `price_every_ms` is the mean time between prices of one product."""

    def __init__(self, source: Random, start_ms: float, price_every_ms: float) -> None:
        self._source = source
        self._price_every_ms = price_every_ms
        shelves = list(_SHELVES.items())
        self.categories = [category for category, _ in shelves]
        self.products: list[Product] = []
        for number in range(PRODUCTS):
            category, (things, low, high) = shelves[number % len(shelves)]
            rank = number // len(shelves)
            make = _MAKES[rank // len(things) % len(_MAKES)]
            usual = _rounded(low + (high - low) * source.random() ** 2)
            product = Product(
                f"p{number:04d}", f"{make} {things[rank % len(things)]}", category, usual
            )
            product.changes.append(start_ms - 1)
            product.prices.append(usual)
            self.products.append(product)
        source.shuffle(self.products)

    def pick(self) -> Product:
        """A product by popularity: a third of the looks goes to a tenth of the products."""
        return self.products[int(PRODUCTS * self._source.random() ** 2)]

    def price(self, product: Product, now_ms: float) -> float:
        """What the product costs at `now_ms`; prices are made as far as somebody looks."""
        changes = product.changes
        while changes[-1] <= now_ms:
            changes.append(changes[-1] + self._source.expovariate(1.0) * self._price_every_ms)
            factor = self._source.choice((0.7, 0.8, 0.9, 1.0, 1.0, 1.15))
            product.prices.append(_rounded(product.usual * factor))
        return product.prices[bisect_right(changes, now_ms) - 1]


def _rounded(price: float) -> float:
    """Prices end in .90, as in shops."""
    return int(price) + 0.9
