"""Definitions that several tests start from."""

from typing import Any

#: Every field of a trigger that this version runs.
FULL: dict[str, Any] = {
    "id": "abandoned-cart",
    "name": "Abandoned cart",
    "owner": "growth@shop.example",
    "state": "live",
    "class": "marketing",
    "category": "reminders",
    "priority": 60,
    "lane": "high",
    "when": {
        "event": "Product Added",
        "where": {
            "properties.price": {"gte": 20},
            "properties.category": {"in": ["shoes", "NO", "22:00"]},
            "properties.coupon": None,
        },
    },
    "unless": [
        {"event": "Order Completed"},
        {
            "event": ["Product Removed", "Cart Emptied"],
            "where": {"properties.product_id": "$start.properties.product_id"},
        },
    ],
    "wait": "2h",
    "per": "properties.product_id",
    "on_repeat": "restart",
    "restart_at_most": "1d",
    "send_at": {"between": ["10:00", "21:00"]},
    "hold": {"for": ["quiet_hours", "send_at"], "at_most": "12h"},
    "cooldown": {"user": "1d", "per": "14d"},
    "expires": "6h",
    "policy": "default",
    "goal": {
        "event": "Order Completed",
        "where": {"properties.revenue": {"gt": 0}},
        "within": "7d",
        "value": "properties.revenue",
    },
    "experiment": {
        "control": "10%",
        "variants": {
            "a": {"weight": "45%"},
            "b": {
                "weight": "45%",
                "set": {
                    "message": {"push": {"title": "Now?", "body": "{{ start.properties.price }}"}},
                    "link": "https://shop.example/b",
                    "channels": {"order": ["push"], "send": "all"},
                    "wait": "4h",
                },
            },
        },
        "until": "14d",
    },
    "message": {
        "link": "https://shop.example/cart",
        "push": {
            "title": {"en": "Still thinking?", "ru": "Ещё думаете?"},
            "body": "{{ start.properties.name }} is waiting",
            "image": "https://shop.example/cart.png",
        },
    },
    "tests": [
        {
            "name": "an order cancels",
            "now": "2026-03-01T10:00:00Z",
            "zone": "Asia/Almaty",
            "devices": ["android", "ios"],
            "events": [
                {"at": "0s", "event": "Product Added", "properties": {"price": 30, "x": None}},
                {"at": "1h", "type": "identify", "traits": {"city": "Almaty"}},
                {"at": "1h30m", "event": "Order Completed", "occurred_at": "1h20m", "user": "user"},
            ],
            "expect": [{"at": "1h30m", "outcome": "CANCELLED"}],
            "until": "1d",
        },
        {"name": "a cheap thing starts nothing", "events": [], "expect": []},
    ],
}
IMMEDIATE: dict[str, Any] = {"id": "welcome", "when": {"event": "Signed Up"}}
ABSENCE: dict[str, Any] = {
    "id": "cart",
    "when": {"event": "Product Added"},
    "unless": {"event": "Order Completed"},
    "wait": "2h",
}
IDLE: dict[str, Any] = {"id": "silent", "when": {"idle": "7d"}}
POLICY: dict[str, Any] = {
    "spacing": "2h",
    "cooldown": "1d",
    "settle": "30s",
    "caps": [
        {"max": 3, "per": "7d"},
        {"max": 1, "per": "1d", "channel": "push"},
        {"max": 1, "calendar": "week", "category": "reminders"},
    ],
    "quiet": [["22:00", "09:00"], ["13:00", "14:00"]],
    "global_control": {"size": "10%", "rotate": "2%"},
    "zone": "Asia/Almaty",
    "grace": "30s",
    "text": {"title_max": 30, "body_max": 100, "over": "warn"},
    "worth": {"goal": 2.0, "unsubscribe": 12.5},
}
