"""The names that are built in: Segment's Ecommerce spec, version 2, and their version 1 aliases.

Facts from https://github.com/segmentio/segment-docs, src/connections/spec/ecommerce/v2.md at commit
747b35d8f5f1889b041f2101185d562d7c4c016e (CC BY 4.0): names, property types, aliases.
"""

from typing import Final

from triggers.catalog import Catalog

#: The version 1 name and its version 2 name.
ALIASES: Final = {
    "Viewed Product Category": "Product List Viewed",
    "Clicked Product": "Product Clicked",
    "Viewed Product": "Product Viewed",
    "Added Product": "Product Added",
    "Removed Product": "Product Removed",
    "Started Order": "Checkout Started",
    "Viewed Checkout Step": "Checkout Step Viewed",
    "Completed Checkout Step": "Checkout Step Completed",
    "Updated Order": "Order Updated",
    "Completed Order": "Order Completed",
}

_PRODUCT = "product_id sku category name brand variant price quantity coupon position url image_url"
_ORDER = "order_id affiliation total revenue shipping tax discount coupon currency [products]"
_STEP = "checkout_id step shipping_method payment_method"
_LIST = "list_id category [products]"
_WISHLIST = "wishlist_id wishlist_name"
_PROMOTION = "promotion_id creative name position"
_COUPON = "order_id cart_id coupon_id"
_SHARED = "share_via share_message recipient"

_EVENTS: Final = {
    "Products Searched": "query",
    "Product List Viewed": _LIST,
    "Product List Filtered": f"{_LIST} [filters] [sorts]",
    "Promotion Viewed": _PROMOTION,
    "Promotion Clicked": _PROMOTION,
    "Product Clicked": _PRODUCT,
    "Product Viewed": f"{_PRODUCT} currency value",
    "Product Added": f"{_PRODUCT} cart_id",
    "Product Removed": f"{_PRODUCT} cart_id",
    "Cart Viewed": "cart_id [products]",
    "Checkout Started": (
        "order_id affiliation value revenue shipping tax discount coupon currency [products]"
    ),
    "Checkout Step Viewed": _STEP,
    "Checkout Step Completed": _STEP,
    "Payment Info Entered": f"{_STEP} order_id",
    "Order Updated": _ORDER,
    "Order Completed": f"{_ORDER} checkout_id subtotal",
    "Order Refunded": "order_id total currency [products]",
    "Order Cancelled": _ORDER,
    "Coupon Entered": _COUPON,
    "Coupon Applied": f"{_COUPON} coupon_name discount",
    "Coupon Denied": f"{_COUPON} coupon_name reason",
    "Coupon Removed": f"{_COUPON} coupon_name discount",
    "Product Added to Wishlist": f"{_PRODUCT} {_WISHLIST}",
    "Product Removed from Wishlist": f"{_PRODUCT} {_WISHLIST}",
    "Wishlist Product Added to Cart": f"{_PRODUCT} {_WISHLIST} cart_id",
    "Product Shared": (f"{_SHARED} product_id sku category name brand variant price url image_url"),
    "Cart Shared": f"{_SHARED} cart_id [products]",
    "Product Reviewed": "product_id review_id review_body rating",
}
_ELEMENTS: Final = {"products": _PRODUCT, "filters": "type value", "sorts": "type value"}
_NUMBERS: Final = (
    "price",
    "quantity",
    "position",
    "step",
    "value",
    "revenue",
    "shipping",
    "tax",
    "discount",
    "total",
    "subtotal",
)
#: Where the spec has texts under a name that is a number elsewhere: "home_banner_top".
_TEXTS: Final = frozenset((name, "position") for name in _EVENTS if name.startswith("Promotion"))


def _paths(event: str, names: str) -> dict[str, str]:
    paths = {}
    for name in names.split():
        if name.startswith("["):
            name = name.strip("[]")
            paths[f"properties.{name}"] = "list"
            paths[f"properties.{name}.*"] = "object"
            for below in _ELEMENTS[name].split():
                number = name == "products" and below in _NUMBERS
                paths[f"properties.{name}.*.{below}"] = "number" if number else "string"
        else:
            number = name in _NUMBERS and (event, name) not in _TEXTS
            paths[f"properties.{name}"] = "number" if number else "string"
    return paths


#: The spec as a catalogue; others' events and properties may well exist beside it.
ECOMMERCE: Final = Catalog.model_validate(
    {"events": {name: {"paths": _paths(name, names)} for name, names in _EVENTS.items()}}
)
