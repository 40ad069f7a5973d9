from pathlib import Path
from typing import Any

import pytest

from engine.files import UnsortedError
from tests.unit.files.reading import mapping, read, write

RULES = """
user: who
time: {column: at, unit: ms}
event: what
properties:
  order: order_id
  sku: product_id
  price: {type: float}
  total: {name: revenue, type: float}
group_by: {columns: order, products: [product_id, price]}
"""
HEADER = "who,at,what,order,sku,price,total\n"


def events(tmp_path: Path, text: str, rules: str = RULES, **options: Any) -> list[tuple[Any, ...]]:
    path = write(tmp_path / "a.csv", HEADER + text)
    found, counts, _ = read(path, mapping(tmp_path, rules), **options)
    assert counts == {}
    return [(e.a_ms, e.event.user_id, e.event.message_id, e.event.properties) for e in found]


def test_lines_of_an_order_are_one_event_with_products(tmp_path: Path) -> None:
    text = "u1,5,Buy,o1,p1,1.5,\nu1,5,Buy,o1,p2,2,3.5\nu1,9,Buy,o2,p1,1,1\n"
    assert events(tmp_path, text) == [
        (
            *(5, "u1", "1"),
            {
                "order_id": "o1",
                "revenue": 3.5,
                "products": [
                    {"product_id": "p1", "price": 1.5},
                    {"product_id": "p2", "price": 2.0},
                ],
            },
        ),
        (
            *(9, "u1", "3"),
            {"order_id": "o2", "revenue": 1.0, "products": [{"product_id": "p1", "price": 1.0}]},
        ),
    ]


def test_rows_without_the_group_stay_by_themselves_with_their_values_at_the_top(
    tmp_path: Path,
) -> None:
    found = events(tmp_path, "u1,5,Look,,p1,1,\nu1,5,Look,,p1,1,\n")
    assert [properties for *_, properties in found] == [{"product_id": "p1", "price": 1.0}] * 2


def test_users_events_and_times_keep_groups_apart(tmp_path: Path) -> None:
    text = "".join(
        f"{who},{at},{what},o1,p1,1,\n"
        for who, at, what in [
            ("u1", 5, "Buy"),
            ("u2", 5, "Buy"),
            ("u1", 5, "Pay"),
            ("u1", 6, "Buy"),
        ]
    )
    assert len(events(tmp_path, text)) == 4


def test_within_joins_rows_that_come_a_little_later_at_the_time_of_the_first(
    tmp_path: Path,
) -> None:
    text = (
        "u1,0,Buy,o1,p1,1,\nu2,900,Look,,p9,9,\nu1,1000,Buy,o1,p2,2,\n"
        "u2,1000,Look,,p9,9,\nu1,2001,Buy,o1,p3,3,\n"
    )
    rules = RULES.replace("columns: order", "columns: order, within: 1s")
    found = events(tmp_path, text, rules)
    assert [(a_ms, user) for a_ms, user, *_ in found] == [
        (0, "u1"),
        (900, "u2"),
        (1_000, "u2"),
        (2_001, "u1"),
    ]
    assert [line["product_id"] for line in found[0][3]["products"]] == ["p1", "p2"]


def test_only_the_named_events_are_grouped(tmp_path: Path) -> None:
    rules = RULES.replace("columns: order", "columns: order, events: Buy")
    found = events(tmp_path, "u1,5,Look,o1,p1,1,\nu1,5,Look,o1,p1,1,\nu1,5,Buy,o1,p1,1,\n", rules)
    assert ["products" in properties for *_, properties in found] == [False, False, True]


def test_a_grouped_file_out_of_order_is_refused_or_sorted_with_its_groups(tmp_path: Path) -> None:
    text = "u1,9,Buy,o2,p1,1,\nu1,5,Buy,o1,p1,1,\nu1,5,Buy,o1,p2,1,\n"
    with pytest.raises(UnsortedError, match=r"a\.csv:3"):
        events(tmp_path, text)
    found = events(tmp_path, text, sort=True)
    assert [(a_ms, len(properties["products"])) for a_ms, *_, properties in found] == [
        (5, 2),
        (9, 1),
    ]


def test_a_group_the_log_would_refuse_for_its_size_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEADER + "u1,5,Buy,o1,p1,1.5,\n" * 3_000 + "u1,6,Buy,o1,,,\n")
    found, counts, said = read(path, mapping(tmp_path, RULES))
    assert [event.a_ms for event in found] == [6]
    assert counts == {"TOO_LARGE": 1}
    assert f"  {path}:2: " in said[1]


def test_rows_waiting_for_their_group_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.files.grouping.WAITING_MAX", 10)
    text = "u1,0,Buy,o1,p1,1,\n" + "".join(f"u2,0,Buy,x{n},p1,1,\n" for n in range(10))
    found = events(tmp_path, text + "u1,0,Buy,o1,p2,1,\n")
    assert len(found) == 12
