"""`{item: price_drop, relation: favourite, by: 10%, since: followed}`: a related item changed.

Items are the catalogue's: parsed and checked here, run with the catalogue.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from triggers.fields import Category, Release, ShareOrAmount
from triggers.patterns.base import PatternKind, When
from triggers.patterns.later import build_not_yet
from triggers.problems import Problem

#: Which change has which fields of its own.
_FIELDS = {"price_drop": ("by", "since"), "back_in_stock": ("release",), "low_stock": ("below",)}


class ItemWhen(When):
    """`{item, relation, by, since, below, release}`; `by` alone says how much cheaper is enough,
    `below` is the stock that counts as low, `release` how many users a unit is worth."""

    item: Literal["price_drop", "back_in_stock", "low_stock"]
    """What changed."""
    relation: Category
    """How the user is related to the item."""
    by: ShareOrAmount | None = None
    """How much cheaper is enough: 10% or an amount."""
    since: Literal["followed", "seen", "notified"] | None = None
    """The price it is compared with."""
    below: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """The stock that counts as low."""
    release: Release | None = None
    """How many users a unit in stock is worth."""

    def cross_problems(self) -> Iterable[Problem]:
        for change, names in _FIELDS.items():
            for name in names:
                if change != self.item and getattr(self, name) is not None:
                    message = f"`{name}` goes with `item: {change}` only"
                    yield Problem((name,), message, at_key=True)
        if self.item == "low_stock" and self.below is None:
            yield Problem((), "`low_stock` needs `below`: the stock that counts as low")


ITEM = PatternKind("item", ItemWhen, build_not_yet, later="the catalogue")
