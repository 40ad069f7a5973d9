"""The triggers of the crash tests: few, fixed, and simple enough to be checked without the engine.

Waits are short, so that absences fire while things break. `tests/crash/model.py` knows the same
numbers and nothing else of the engine.
"""

from datetime import UTC, datetime
from typing import Any, Final

from triggers.definition import Policy, TriggerDefinition

ORDER: Final = "Order Completed"
CHECKOUT: Final = "Checkout Started"
ADDED: Final = "Product Added"
REMOVED: Final = "Product Removed"
VIEWED: Final = "Product Viewed"
SEARCHED: Final = "Products Searched"
PROMO: Final = "Promotion Viewed"

THANKS_ID: Final = "order-thanks"
STOPPED_ID: Final = "checkout-stopped"
LEFT_ID: Final = "cart-left"
OFFER_ID: Final = "view-offer"
NEWS_ID: Final = "search-news"
LATER_ID: Final = "promo-later"
MARKETING: Final = frozenset({LEFT_ID, OFFER_ID, NEWS_ID, LATER_ID})
SETTLING: Final = frozenset({OFFER_ID, NEWS_ID, LATER_ID})
"""Those whose policy lets candidates compete for a while."""

GRACE_MS: Final = 1_000
STOPPED_WAIT_MS: Final = 3_000
LEFT_WAIT_MS: Final = 4_000
OFFER_PRICE: Final = 100

SETTLE_MS: Final = 1_000
HOLD_MS: Final = 3_500
"""So long LATER is held at most."""
OPEN_MS: Final = 12 * 3_600_000
"""So long the hours of LATER are open."""

SPACING_MS: Final = 2_000
COOLDOWN_MS: Final = 5_000
CAPS: Final = ((2, 5_000), (3, 8_000))
"""(at most, in this many milliseconds)"""
NEWS_CAP: Final = (1, 8_000)
"""The same of the category of NEWS."""
DAY_MAX: Final = 4
"""At most so many on one day, UTC."""

CONTROL_SHARE: Final = 2_000
"""Of 10,000 buckets; the variants `a` and `b` share the others."""
GROUP_SIZE: Final = 1_000
GROUP_ROTATES: Final = 200
"""The global control group and how far it moves a month, in buckets."""


def _message(title: str, body: str) -> dict[str, Any]:
    return {"push": {"title": title, "body": body}}


def opening_ms(now_ms: int, ahead_ms: int = 15_000) -> int:
    """When the hours of LATER open in a run that starts now: hours have whole minutes, so runs that
    end before it only see what is held too long."""
    return -(-(now_ms + ahead_ms) // 60_000) * 60_000


def definitions(opens_ms: int) -> dict[str, TriggerDefinition]:
    """The transactional triggers, and the marketing triggers with every limit there is. The hours
    of LATER open at `opens_ms`, a whole minute."""
    documents = [*_transactional(), *_marketing(), *_settling(opens_ms)]
    made = [TriggerDefinition.model_validate(document) for document in documents]
    return {definition.id: definition for definition in made}


def _transactional() -> list[dict[str, Any]]:
    """An immediate one, and an absence per user that restarts."""
    return [
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
    ]


def _marketing() -> list[dict[str, Any]]:
    """An absence per product with a `$start` reference that keeps."""
    return [
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
    ]


def _settling(opens_ms: int) -> list[dict[str, Any]]:
    """Those that compete: an immediate one, one with a category and an experiment, and one that
    waits for its hours."""
    share = f"{(10_000 - CONTROL_SHARE) / 200:g}%"
    variant = {"weight": share, "set": {"message": _message("New for you", "Have another look")}}
    return [
        {
            "id": OFFER_ID,
            "state": "live",
            "class": "marketing",
            "lane": "low",
            "priority": 30,
            "policy": "settling",
            "when": {"event": VIEWED, "where": {"properties.price": {"gte": OFFER_PRICE}}},
            "expires": "20s",
            "message": _message("For you", "Pay in four parts"),
        },
        {
            "id": NEWS_ID,
            "state": "live",
            "class": "marketing",
            "category": "news",
            "lane": "normal",
            "priority": 50,
            "policy": "settling",
            "when": {"event": SEARCHED},
            "experiment": {
                "control": f"{CONTROL_SHARE / 100:g}%",
                "variants": {"a": share, "b": variant},
            },
            "expires": "20s",
            "message": _message("New for you", "What you have looked for"),
        },
        {
            "id": LATER_ID,
            "state": "live",
            "class": "marketing",
            "lane": "low",
            "priority": 40,
            "policy": "settling",
            "when": {"event": PROMO},
            "send_at": {"between": [_clock(opens_ms), _clock(opens_ms + OPEN_MS)]},
            "hold": {"for": ["send_at"], "at_most": f"{HOLD_MS}ms"},
            "expires": "20s",
            "message": _message("Tonight", "Everything is cheaper"),
        },
    ]


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M}"


def policies() -> dict[str, Policy]:
    """One that decides at once, and one whose candidates compete for a while and have caps of their
    category; all else is alike."""
    caps: list[dict[str, Any]] = [{"max": count, "per": f"{per_ms}ms"} for count, per_ms in CAPS]
    caps.append({"max": DAY_MAX, "calendar": "day"})
    document = {
        "spacing": f"{SPACING_MS}ms",
        "cooldown": f"{COOLDOWN_MS}ms",
        "caps": caps,
        "grace": f"{GRACE_MS}ms",
        "global_control": {
            "size": f"{GROUP_SIZE / 100:g}%",
            "rotate": f"{GROUP_ROTATES / 100:g}%",
        },
    }
    count, per_ms = NEWS_CAP
    of_news = {"max": count, "per": f"{per_ms}ms", "category": "news"}
    settling = {**document, "caps": [*caps, of_news], "settle": f"{SETTLE_MS}ms"}
    return {
        "default": Policy.model_validate(document),
        "settling": Policy.model_validate(settling),
    }
