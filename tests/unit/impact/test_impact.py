"""Two definitions over one history: what is lost, gained, and over budget."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.impact import Budgets, Change, check, compare, load_budgets, measure
from engine.impact.compare import FieldChange
from engine.impact.measure import percentile
from engine.impact.report import impact_lines, impact_markdown
from tests.unit.backtest.histories import (
    CART,
    DAY,
    HOUR,
    LOOK,
    MINUTE,
    SPACED,
    definitions,
    event,
)
from triggers.workspace import DefinitionErrors

EVENTS = [
    event(0, "ann", "Product Added"),
    event(30 * MINUTE, "ann", "Product Viewed"),
    event(31 * MINUTE, "bob", "Product Viewed"),
    event(3 * HOUR, "bob", "Product Viewed"),
    event(3 * HOUR + 1, "bob", "Product Viewed"),
    event(2 * DAY, "eve", "Something Else"),
]
FREE = definitions(CART, LOOK)
HELD = definitions(CART, LOOK, policies=SPACED)


def test_a_difference_names_every_field_that_changed() -> None:
    before = definitions(CART, LOOK)
    after = definitions({**CART, "wait": "2h", "priority": 10}, {**LOOK, "id": "new"})
    found = compare(before, after)
    assert [(one.kind, one.name, one.change) for one in found] == [
        ("trigger", "cart", Change.CHANGED),
        ("trigger", "look", Change.REMOVED),
        ("trigger", "new", Change.ADDED),
    ]
    assert set(found[0].fields) == {
        FieldChange("priority", 60, 10),
        FieldChange("wait", "1h", "2h"),
    }


def test_equal_definitions_do_not_differ() -> None:
    assert compare(definitions(CART, LOOK), definitions(LOOK, CART)) == []


def test_what_is_lost_is_counted_with_the_reason_it_is_lost_for() -> None:
    impact = measure(FREE, HELD, EVENTS, over=1)
    assert impact.triggers["cart"].lost == Counter({"SPACING": 1})
    assert impact.triggers["look"].lost == Counter({"SPACING": 1})
    assert impact.total.lost == Counter({"SPACING": 2})
    assert impact.total.gained == 0
    back = measure(HELD, FREE, EVENTS, over=1)
    assert back.total.gained == 2
    assert back.total.lost == Counter()


def test_a_removed_trigger_loses_what_it_sent() -> None:
    impact = measure(FREE, definitions(CART), EVENTS, over=1)
    assert impact.triggers["look"].lost == Counter({"NOT_A_CANDIDATE": 4})
    assert impact.triggers["look"].after.admitted == 0


def test_the_same_definitions_lose_and_gain_nothing() -> None:
    impact = measure(HELD, HELD, EVENTS, over=1)
    assert impact.total.lost == Counter()
    assert impact.total.gained == 0
    assert impact.total.before == impact.total.after


def test_rates_are_over_the_length_of_the_history() -> None:
    impact = measure(FREE, HELD, EVENTS, over=1)
    assert impact.days == 2.0
    assert impact.total.before.per_day == 2.5
    assert impact.total.after.per_day == 1.5
    assert impact.total.after.per_month == 45


def test_users_with_too_much_on_one_day_are_counted() -> None:
    impact = measure(FREE, HELD, EVENTS, over=1)
    assert [side.over for side in impact.per_user_day] == [2, 1]
    assert [side.most for side in impact.per_user_day] == [3, 2]


@given(st.lists(st.integers(1, 9), min_size=1), st.sampled_from((0.5, 0.9, 0.99, 1.0)))
def test_a_percentile_is_the_smallest_value_that_covers_the_share(
    values: list[int], share: float
) -> None:
    found = percentile(Counter(values), share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert found in values
    below = [value for value in values if value < found]
    assert len(below) < share * len(values)


@pytest.mark.parametrize(
    ("budgets", "over"),
    [
        ({"sends_per_day": {"at_most": 1}}, ["sends_per_day.at_most"]),
        ({"sends_per_day": {"at_most": 3}}, []),
        ({"sends_per_day": {"growth": "66%"}}, ["sends_per_day.growth"]),
        ({"sends_per_day": {"growth": "67%"}}, []),
        ({"per_user_per_day": {"most": 2}}, ["per_user_per_day.most"]),
        ({"per_user_per_day": {"p99": 2, "most": 3}}, ["per_user_per_day.p99"]),
        ({"users_over": {"messages": 1, "at_most": 1}}, ["users_over.at_most"]),
        ({"users_over": {"messages": 1, "growth": "100%"}}, []),
        ({"newly_suppressed": {"share": "0%"}}, []),
        (
            {"triggers": {"cart": {"sends_per_day": {"growth": "0%"}}}},
            [],
        ),
    ],
)
def test_a_budget_is_over_only_beyond_its_limit(budgets: dict[str, Any], over: list[str]) -> None:
    impact = measure(HELD, FREE, EVENTS, over=1)
    found = check(Budgets.model_validate(budgets), impact)
    assert [one.budget for one in found if not one.ok] == over, found


def test_what_is_newly_kept_back_can_be_over_budget() -> None:
    impact = measure(FREE, HELD, EVENTS, over=1)
    budgets = Budgets.model_validate({"newly_suppressed": {"share": "10%"}})
    (found,) = check(budgets, impact)
    assert not found.ok
    assert found.found == 2 / 5


def test_a_series_that_is_kept_back_is_one_activation_of_those_sent_before() -> None:
    steps = [{"after": f"{day}d", "message": "m"} for day in (1, 2, 3)]
    series = {**CART, "series": steps, "messages": {"m": {"push": {"title": "t", "body": "b"}}}}
    del series["wait"]
    capped = {"default": {"grace": "0s", "caps": [{"max": 1, "per": "7d"}]}}
    before, after = definitions(series, LOOK), definitions(series, LOOK, policies=capped)
    events = [*EVENTS[:2], event(4 * DAY, "eve", "Something Else")]
    impact = measure(before, after, events, over=1)
    assert impact.total.before.admitted == 4
    budgets = Budgets.model_validate({"newly_suppressed": {"share": "10%"}})
    (found,) = check(budgets, impact)
    assert found.found == 1 / 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sends_per_day: {at_mst: 5}", "budgets.yaml:1:17: unknown field 'at_mst'"),
        ("sends_per_day: {growth: 20}", "budgets.yaml:1:25: write a share in percent"),
        ("sends_per_day: {at_most: -1}", "budgets.yaml:1:26: "),
        ("\ntriggers:\n  crt: {}\n", "budgets.yaml:3:3: no trigger 'crt' (did you mean 'cart'?)"),
        ("[1]", "budgets.yaml:1:1: "),
        ("a: {b", "budgets.yaml:1:"),
    ],
)
def test_a_wrong_budget_is_refused_with_its_place(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "budgets.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionErrors) as refused:
        load_budgets(path, ["cart", "look"])
    assert str(refused.value).startswith(error)


def test_the_markdown_says_first_what_is_over_budget() -> None:
    impact = measure(FREE, HELD, EVENTS, over=1)
    checked = check(Budgets.model_validate({"newly_suppressed": {"share": "10%"}}), impact)
    text = impact_markdown(compare(FREE, HELD), impact, checked)
    assert text.index("Over budget") < text.index("| trigger |")
    assert "- newly_suppressed.share: 40.0% of 10.0% allowed" in text
    assert '`spacing`: `"0s"` → `"2h"`' in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) <= 2


def test_the_table_has_a_row_for_each_trigger_and_one_for_all() -> None:
    lines = impact_lines(measure(FREE, HELD, EVENTS, over=1), [])
    assert any(line.startswith("cart ") and "SPACING 1" in line for line in lines)
    assert any(line.startswith("in all") and "-40.0%" in line for line in lines)
