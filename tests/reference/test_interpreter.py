"""The interpreter by itself: what it leans on, and timelines worked out by hand."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reference import admitting, filters, interpreter, patterns
from tests.reference.admitting import Row
from tests.reference.interpreter import HOUR, interpret
from tests.reference.patterns import DAY

CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Added"},
    "unless": {"event": "Ordered"},
    "wait": "2h",
}
POLICIES: dict[str, Any] = {"default": {"grace": "0s", "caps": [{"max": 1, "per": "1d"}]}}


def record(a: int, name: str, **more: Any) -> dict[str, Any]:
    message = {
        "type": "track",
        "event": name,
        "userId": "u",
        "messageId": f"m{a}",
        "properties": {},
        "context": {"device": {"token": "t"}},
    }
    return {"a": a, "t": a, "message": message, **more}


def rows(*log: dict[str, Any], until: int = 10 * DAY, **changes: Any) -> list[Row]:
    return interpret([{**CART, **changes}], POLICIES, log, until=until)


@pytest.mark.parametrize("module", [filters, patterns, admitting, interpreter])
def test_it_imports_nothing_of_what_it_is_compared_with(module: Any) -> None:
    found = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    own = {f"tests.reference.{name}" for name in ("filters", "patterns", "admitting")}
    assert found <= sys.stdlib_module_names | {"collections.abc"} | own


def test_a_between_with_a_bound_of_another_type_cannot_be_evaluated() -> None:
    between = {"properties.price": {"between": ["shoe", 9]}}
    for price in ("1", "z", 1):
        assert filters.judge(between, {"properties": {"price": price}}, None) is None


def test_an_absence_fires_at_its_deadline() -> None:
    assert rows(record(HOUR, "Added")) == [("cart", "u", "m3600000", 3 * HOUR, "ADMITTED", None)]


def test_a_pending_one_has_no_row() -> None:
    assert rows(record(HOUR, "Added"), until=3 * HOUR) == []


def test_a_cancel_in_time_is_a_row_of_its_own() -> None:
    found = rows(record(HOUR, "Added"), record(3 * HOUR, "Ordered"))
    assert found == [("cart", "u", "m3600000", 3 * HOUR, "CANCELLED", None)]


def test_what_starts_on_an_active_day_and_is_due_after_the_last_one_is_paused() -> None:
    found = rows(record(23 * HOUR, "Added"), active={"until": "1970-01-01"})
    assert found == [("cart", "u", "m82800000", 25 * HOUR, "SUPPRESSED", "PAUSED")]


def test_what_happens_before_the_first_active_day_starts_nothing() -> None:
    days = {"from": "1970-01-02"}
    assert rows(record(DAY - 1, "Added"), active=days) == []
    assert len(rows(record(DAY, "Added"), active=days)) == 1


def test_a_refunded_message_frees_the_cap() -> None:
    outcome = {
        "a": 4 * HOUR,
        "user": "u",
        "trigger": "cart",
        "activation": "m0",
        "step": 0,
        "outcome": "REJECTED",
        "dead": [],
    }
    log = [record(0, "Added"), outcome, record(5 * HOUR, "Added")]
    assert [row[5] for row in rows(*log)] == [None, None]
    log[1] = {**outcome, "outcome": "UNKNOWN"}
    assert [row[5] for row in rows(*log)] == [None, "FREQUENCY_CAP"]
