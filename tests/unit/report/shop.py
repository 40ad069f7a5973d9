"""Counters as a shop's shards might have them, by hand."""

from engine.report.plans import Plan
from engine.report.score import Worth

#: 2026-11-02, a Monday, and its Tuesday.
MONDAY = 20_759
TUESDAY = MONDAY + 1

PLANS = {
    "cart": {2: Plan({"control": 1_000, "a": 9_000}, Worth(1, 5))},
    "new": {1: Plan({"a": 5_000, "b": 5_000})},
    "skewed": {1: Plan({"a": 5_000, "b": 5_000})},
}

_CART = {
    f"2||{MONDAY}|MATCHED|": 300,
    f"2||{MONDAY}|COOLDOWN|": 120,
    f"2||{MONDAY}|SPACING|": 10,
    f"2||{MONDAY}|CANCELLED|": 70,
    f"2|control|{MONDAY}|MATCHED|": 20,
    f"2|control|{MONDAY}|CONTROL|": 20,
    f"2|a|{MONDAY}|MATCHED|": 170,
    f"2|a|{MONDAY}|ADMITTED|push": 170,
    f"2|a|{MONDAY}|ACCEPTED|push": 160,
    f"2|a|{MONDAY}|EXPIRED|push": 4,
    f"2|a|{MONDAY}|UNREGISTERED|push": 6,
    f"2|a|{MONDAY}|DELIVERED|push": 150,
    f"2|a|{MONDAY}|OPENED|push": 40,
    f"2|a|{TUESDAY}|CLICKED|push": 30,
    f"2|a|{TUESDAY}|CONVERTED|push": 12,
    f"2|a|{TUESDAY}|VALUE|push": 600_500_000,
    f"2|a|{TUESDAY}|UNSUBSCRIBED|push": 1,
    f"2|control|{TUESDAY}|CONVERTED|push": 1,
    f"2|control|{TUESDAY}|VALUE|push": 20_000_000,
    # 3,000 users in control, of whom 150 bought, once and for 20.00 each.
    f"2|control|{MONDAY}|USERS|": 3_000,
    f"2|control|{MONDAY}|CONVERTERS|": 150,
    f"2|control|{MONDAY}|GOALS|": 150,
    f"2|control|{MONDAY}|GOALS2|": 150,
    f"2|control|{MONDAY}|WORTH|": 3_000_000_000,
    f"2|control|{MONDAY}|WORTH2|": 150 * 2_000**2,
    f"2|control|{MONDAY}|UNSUBSCRIBERS|": 3,
    # 27,300 with the message, of whom 2,730 bought; 100 of them twice.
    f"2|a|{MONDAY}|USERS|": 27_300,
    f"2|a|{MONDAY}|CONVERTERS|": 2_730,
    f"2|a|{TUESDAY}|GOALS|": 2_830,
    f"2|a|{TUESDAY}|GOALS2|": 2_630 + 4 * 100,
    f"2|a|{TUESDAY}|WORTH|": 56_600_000_000,
    f"2|a|{TUESDAY}|WORTH2|": 2_630 * 2_000**2 + 100 * 4_000**2,
    f"2|a|{TUESDAY}|UNSUBSCRIBERS|": 60,
}
_NEW = {
    f"1|a|{TUESDAY}|USERS|": 412,
    f"1|b|{TUESDAY}|USERS|": 431,
}
_SKEWED = {
    f"1|a|{TUESDAY}|USERS|": 5_200,
    f"1|b|{TUESDAY}|USERS|": 4_700,
    f"1|b|{TUESDAY}|CONVERTERS|": 470,
}
_USERS = {
    f"{MONDAY}|LAST_REACHED|": 90,
    f"{TUESDAY}|LAST_REACHED|": 10,
    f"{MONDAY}|WEEK_MESSAGES_1|": 100,
    f"{MONDAY}|WEEK_MESSAGES_2|": 45,
    f"{MONDAY}|WEEK_MESSAGES_3|": 6,
    f"{MONDAY}|WEEK_MESSAGES_4|": 5,
}

COUNTERS = {
    **{f"cart|{name}": number for name, number in _CART.items()},
    **{f"new|{name}": number for name, number in _NEW.items()},
    **{f"skewed|{name}": number for name, number in _SKEWED.items()},
    **{f"|0||{name}": number for name, number in _USERS.items()},
}
