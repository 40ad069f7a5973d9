from typing import Any

from engine.explain.comparing import Difference, compare


def _row(activation: str, outcome: str = "ADMITTED", at: str = "t1") -> dict[str, Any]:
    return {"trigger": "t", "user": "u", "activation": activation, "at": at, "outcome": outcome}


def test_equal_rows_in_any_order_are_equal() -> None:
    found = compare([_row("a"), _row("b")], [_row("b"), _row("a")])
    assert (found.equal, found.different, found.repeated) == (2, 0, 0)


def test_another_outcome_of_an_activation_shows_both_rows() -> None:
    found = compare([_row("a", "SUPPRESSED")], [_row("a")])
    assert found.differences == (Difference(_row("a", "SUPPRESSED"), _row("a")),)


def test_a_row_of_one_side_is_a_difference() -> None:
    found = compare([_row("a")], [_row("b", at="t0")])
    assert found.differences == (
        Difference(None, _row("b", at="t0")),
        Difference(_row("a"), None),
    )
    assert (found.equal, found.different) == (0, 2)


def test_a_row_that_was_published_again_is_no_difference() -> None:
    found = compare([_row("a"), _row("a")], [_row("a")])
    assert (found.equal, found.different, found.repeated) == (1, 0, 1)


def test_two_equal_rows_need_two_records() -> None:
    found = compare([_row("a")], [_row("a"), _row("a")])
    assert (found.equal, found.different) == (1, 1)
