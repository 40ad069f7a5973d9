"""One visit of one person: what they look at, keep, put back, buy or leave behind."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from engine.simulate.market import CURRENCY, Market, Product
from engine.simulate.people import Device, Person
from engine.simulate.post import Post

#: Mean time between two steps of a visit.
THINK_MS: Final = 18_000
#: Mean number of steps of a visit; the shortest is one look (a bounce).
STEPS_MEAN: Final = 9
CART_MAX: Final = 8
FAVOURITES_MAX: Final = 20

_NOISE: Final = ("Banner Viewed", "List Scrolled", "Video Played", "Filter Opened", "Store Located")
_SEARCHES: Final = ("gift", "sale", "waterproof", "size 42", "new in", "for kids")


class Shopper:
    """A visit in steps: `visit` sends what a step does and yields the time of the next one.

    `pace` multiplies the time between steps; the simulation changes it to keep its rate.
    """

    pace: float = 1.0

    def __init__(self, market: Market, post: Post, source: Random, noise: float) -> None:
        self._market = market
        self._post = post
        self._source = source
        self._noise = noise

    def visit(self, person: Person, device: Device, now_ms: float, steps: int) -> Iterator[float]:
        """Run one visit from `now_ms`; a filled cart at its end is bought or abandoned."""
        if person.known and self._source.random() < 0.3:
            self._identify(person, device, now_ms)
        return self.rest(person, device, now_ms, steps)

    def rest(self, person: Person, device: Device, now_ms: float, steps: int) -> Iterator[float]:
        """The last `steps` steps of a visit, from `now_ms`."""
        for _ in range(steps):
            self._step(person, device, now_ms)
            now_ms += self._think()
            yield now_ms
        if person.cart and self._source.random() < person.buys:
            yield from self._buy(person, device, now_ms)

    def steps(self) -> int:
        """How long a visit is: many short ones, a few long ones."""
        return 1 + int(self._source.expovariate(1 / (STEPS_MEAN - 1)))

    def rest_of_thought(self) -> float:
        """Milliseconds to the next step of a visit met at a random moment (renewal theory: the
        residual of `_think`), so that a simulation is at its rate from the first second."""
        drawn = self._source.random()
        residual = drawn if drawn < 0.2 else 0.2 + self._source.expovariate(1.25)
        return residual * THINK_MS * self.pace

    def _think(self) -> float:
        return (0.2 + self._source.expovariate(1.25)) * THINK_MS * self.pace

    def _say(
        self,
        person: Person,
        device: Device,
        now_ms: float,
        event: str,
        properties: dict[str, Any],
    ) -> None:
        self._post.send(now_ms, person, device, "track", event, properties)
        self._fidget(person, device, now_ms)

    def _fidget(self, person: Person, device: Device, now_ms: float) -> None:
        while self._noise and self._source.random() < self._noise:
            now_ms += 40
            event = _NOISE[int(self._source.random() * len(_NOISE))]
            properties = {"position": int(self._source.random() * 12)}
            self._post.send(now_ms, person, device, "track", event, properties)

    def _step(self, person: Person, device: Device, now_ms: float) -> None:
        drawn = self._source.random()
        if drawn < 0.55:
            self._look(person, device, now_ms)
        elif drawn < 0.85:
            self._turn_page(person, device, now_ms)
        elif drawn < 0.90:
            query = {"query": self._source.choice(_SEARCHES)}
            self._say(person, device, now_ms, "Products Searched", query)
        elif person.cart and drawn < 0.95:
            self._put_back(person, device, now_ms)
        elif person.favourites and drawn < 0.98:
            self._forget(person, device, now_ms)
        else:
            self._look(person, device, now_ms)

    def _turn_page(self, person: Person, device: Device, now_ms: float) -> None:
        category = self._source.choice(self._market.categories)
        properties = {"name": "Category", "category": category}
        if device.platform == "web":
            properties["path"] = f"/c/{category}"
        kind = "page" if device.platform == "web" else "screen"
        self._post.send(now_ms, person, device, kind, None, properties)
        self._fidget(person, device, now_ms)

    def _look(self, person: Person, device: Device, now_ms: float) -> None:
        wanted = person.favourites + person.cart
        known = wanted and self._source.random() < 0.25
        product = self._source.choice(wanted) if known else self._market.pick()
        properties = product.described(self._market.price(product, now_ms))
        self._say(person, device, now_ms, "Product Viewed", properties)
        drawn = self._source.random()
        if drawn < person.adds and len(person.cart) < CART_MAX:
            person.cart.append(product)
            added = {**properties, "quantity": 1 + (self._source.random() < 0.15)}
            self._say(person, device, now_ms + 1_500 * self.pace, "Product Added", added)
        elif drawn > 1 - person.likes and self._is_new_favourite(person, product):
            person.favourites.append(product)
            event = "Product Added to Wishlist"
            self._say(person, device, now_ms + 1_000 * self.pace, event, properties)

    def _is_new_favourite(self, person: Person, product: Product) -> bool:
        return product not in person.favourites and len(person.favourites) < FAVOURITES_MAX

    def _put_back(self, person: Person, device: Device, now_ms: float) -> None:
        product = person.cart.pop(int(self._source.random() * len(person.cart)))
        while product in person.cart:
            person.cart.remove(product)
        properties = product.described(self._market.price(product, now_ms))
        self._say(person, device, now_ms, "Product Removed", properties)

    def _forget(self, person: Person, device: Device, now_ms: float) -> None:
        product = person.favourites.pop(int(self._source.random() * len(person.favourites)))
        properties = product.described(self._market.price(product, now_ms))
        self._say(person, device, now_ms, "Product Removed from Wishlist", properties)

    def _buy(self, person: Person, device: Device, now_ms: float) -> Iterator[float]:
        """Checkout in two steps and the order; one in six stops on the way."""
        if not person.known and person.user_id:
            person.known = True
            self._identify(person, device, now_ms)
        lines, total = self._lines(person.cart, now_ms)
        order_id = f"o-{person.anonymous_id}-{person.orders + 1}"
        checkout = {"order_id": order_id, "value": total, "currency": CURRENCY, "products": lines}
        self._say(person, device, now_ms, "Checkout Started", checkout)
        now_ms += self._think()
        yield now_ms
        step = {"checkout_id": order_id, "step": 2, "payment_method": "card"}
        self._say(person, device, now_ms, "Checkout Step Completed", step)
        if self._source.random() < 1 / 6:
            return
        now_ms += self._think()
        yield now_ms
        person.orders += 1
        lines, total = self._lines(person.cart, now_ms)
        order = {
            "order_id": order_id,
            "revenue": total,
            "currency": CURRENCY,
            "products": lines,
        }
        self._say(person, device, now_ms, "Order Completed", order)
        bought = {line["product_id"] for line in lines}
        person.favourites = [p for p in person.favourites if p.product_id not in bought]
        person.cart.clear()

    def _lines(self, cart: list[Product], now_ms: float) -> tuple[list[dict[str, Any]], float]:
        lines: dict[str, dict[str, Any]] = {}
        for product in cart:
            price = self._market.price(product, now_ms)
            line = lines.get(product.product_id)
            if line is None:
                described = {**product.described(price), "quantity": 1}
                del described["currency"]
                lines[product.product_id] = described
            else:
                line["quantity"] += 1
        found = list(lines.values())
        return found, round(sum(line["price"] * line["quantity"] for line in found), 2)

    def _identify(self, person: Person, device: Device, now_ms: float) -> None:
        self._post.send(now_ms - 1, person, device, "identify", None, None, person.traits)
