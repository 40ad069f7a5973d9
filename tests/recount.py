"""A recount of the funnel from the records of the decisions and outcomes topics, and nothing else.

Written from docs/interfaces.md. Keys are those of the store: `trigger|revision|variant|day|stage|
channel`; the two halves of WORTH2 are put together (`whole`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
GHOSTS = ("CONTROL", "GLOBAL_CONTROL")
#: Rows of a user who is read out, not of a delivery.
OF_USERS = ("exposed", "goal", "unsubscriber")


def recount(decisions: Iterable[Row], outcomes: Iterable[Row]) -> Counter[str]:
    """Every counter of the funnel. The rows of one user are in the order they were written."""
    found: Counter[str] = Counter()
    ghosts: set[str] = set()
    for row in decisions:
        trigger, revision = row["trigger"], row["revision"]
        variant, day, how = row["variant"] or "", day_of(row), row["reason"] or row["outcome"]
        found[key(trigger, revision, variant, day, how, "push" if how == "ADMITTED" else "")] += 1
        if row["outcome"] != "CANCELLED":
            found[key(trigger, revision, "", day, "MATCHED", "")] += 1
        if row["reason"] in GHOSTS and row["delivery_id"] not in ghosts:
            ghosts.add(row["delivery_id"])
            found[key(trigger, revision, variant, day, "GHOST", "push")] += 1
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    reached: dict[str, tuple[int, int]] = {}
    for row in outcomes:
        if row["kind"] == "accepted":
            reach(row, reached, found)
        if row["kind"] in OF_USERS:
            read_out(row, totals, found)
            continue
        where = (row["trigger"], row["revision"], row["variant"], day_of(row))
        found[key(*where, row["kind"].upper(), row["channel"])] += 1
        found[key(*where, "VALUE", row["channel"])] += row["value"]
    return found


def read_out(row: Row, totals: dict[tuple[str, str], tuple[int, int]], found: Counter[str]) -> None:
    """The sums over users: goals and worth so far, their squares as what they grow by."""
    where = (row["trigger"], row["revision"], row["variant"], day_of(row))

    def add(stage: str, number: int) -> None:
        found[key(*where, stage, "")] += number

    who = (row["user"], row["trigger"])
    if row["kind"] == "exposed":
        totals[who] = (0, 0)
        add("USERS", 1)
    elif row["kind"] == "unsubscriber":
        add("UNSUBSCRIBERS", 1)
    else:
        goals, worth = totals[who]
        totals[who] = (goals + 1, worth + row["value"])
        add("CONVERTERS", 1 if goals == 0 else 0)
        add("GOALS", 1)
        add("GOALS2", (goals + 1) ** 2 - goals**2)
        add("WORTH", row["value"])
        add("WORTH2", cents(worth + row["value"]) ** 2 - cents(worth) ** 2)


def reach(row: Row, reached: dict[str, tuple[int, int]], found: Counter[str]) -> None:
    """Users by the day of their last message, and by messages in a week (from Monday)."""
    day, number = day_of(row), 0
    last = reached.get(row["user"])
    if last is not None:
        found[key("", 0, "", last[0], "LAST_REACHED", "")] -= 1
        day = max(day, last[0])
        number = last[1] if monday(day) == monday(last[0]) else 0
    reached[row["user"]] = (day, number + 1)
    found[key("", 0, "", day, "LAST_REACHED", "")] += 1
    found[key("", 0, "", monday(day), f"WEEK_MESSAGES_{number + 1}", "")] += 1


def monday(day: int) -> int:
    return day - (date(1970, 1, 1) + timedelta(days=day)).weekday()


def whole(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters with WORTH2 in one piece, and without those that are zero."""
    found: Counter[str] = Counter()
    for name, number in counters.items():
        high = name.split("|")[4] == "WORTH2_HIGH"
        found[name.replace("|WORTH2_HIGH|", "|WORTH2|")] += number * 2**40 if high else number
    return {name: number for name, number in found.items() if number}


def key(trigger: str, revision: int, variant: str, day: int, stage: str, channel: str) -> str:
    return f"{trigger}|{revision}|{variant}|{day}|{stage}|{channel}"


def day_of(row: Row) -> int:
    return int(datetime.fromisoformat(row["at"]).timestamp()) // 86_400


def cents(millionths: int) -> int:
    return (millionths + 5_000) // 10_000
