"""The triggers of the crash tests: few, fixed, and simple enough to be checked without the engine.

Waits are short, so that absences fire while things break. `tests/crash/model.py` knows the same
numbers and nothing else of the engine.
"""

from typing import Any, Final

from triggers.definition import Policy, TriggerDefinition

ORDER: Final = "Order Completed"
CHECKOUT: Final = "Checkout Started"
ADDED: Final = "Product Added"
REMOVED: Final = "Product Removed"
VIEWED: Final = "Product Viewed"

THANKS_ID: Final = "order-thanks"
STOPPED_ID: Final = "checkout-stopped"
LEFT_ID: Final = "cart-left"
OFFER_ID: Final = "view-offer"
MARKETING: Final = frozenset({LEFT_ID, OFFER_ID})

GRACE_MS: Final = 1_000
STOPPED_WAIT_MS: Final = 3_000
LEFT_WAIT_MS: Final = 4_000
OFFER_PRICE: Final = 100

SPACING_MS: Final = 2_000
COOLDOWN_MS: Final = 5_000
CAPS: Final = ((3, 15_000), (4, 30_000))
"""(at most, in this many milliseconds)"""


def _message(title: str, body: str) -> dict[str, Any]:
    return {"push": {"title": title, "body": body}}


def definitions() -> dict[str, TriggerDefinition]:
    """An immediate transactional trigger, an absence per user that restarts, one per product with
    a `$start` reference that does not, and a marketing trigger with every limit there is."""
    documents: list[dict[str, Any]] = [
        {
            "id": THANKS_ID,
            "state": "live",
            "class": "transactional",
            "lane": "critical",
            "when": {"event": ORDER},
            "expires": "5m",
            "message": _message("Thank you", "Your order is on its way"),
        },
        {
            "id": STOPPED_ID,
            "state": "live",
            "class": "transactional",
            "lane": "high",
            "when": {"event": CHECKOUT},
            "unless": {"event": ORDER},
            "wait": f"{STOPPED_WAIT_MS}ms",
            "on_repeat": "restart",
            "expires": "5m",
            "message": _message("Still there?", "Your checkout is waiting"),
        },
        {
            "id": LEFT_ID,
            "state": "live",
            "class": "marketing",
            "lane": "normal",
            "priority": 60,
            "when": {"event": ADDED},
            "unless": [
                {"event": ORDER},
                {
                    "event": REMOVED,
                    "where": {"properties.product_id": "$start.properties.product_id"},
                },
            ],
            "wait": f"{LEFT_WAIT_MS}ms",
            "per": "properties.product_id",
            "on_repeat": "keep",
            "expires": "20s",
            "message": _message("In your cart", "{{ start.properties.product_id }} is waiting"),
        },
        {
            "id": OFFER_ID,
            "state": "live",
            "class": "marketing",
            "lane": "low",
            "priority": 30,
            "when": {"event": VIEWED, "where": {"properties.price": {"gte": OFFER_PRICE}}},
            "expires": "20s",
            "message": _message("For you", "Pay in four parts"),
        },
    ]
    made = [TriggerDefinition.model_validate(document) for document in documents]
    return {definition.id: definition for definition in made}


def policies() -> dict[str, Policy]:
    """One policy for all."""
    document = {
        "spacing": f"{SPACING_MS}ms",
        "cooldown": f"{COOLDOWN_MS}ms",
        "caps": [{"max": count, "per": f"{per_ms}ms"} for count, per_ms in CAPS],
        "grace": f"{GRACE_MS}ms",
    }
    return {"default": Policy.model_validate(document)}
