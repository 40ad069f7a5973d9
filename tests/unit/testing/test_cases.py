import pytest

from engine.testing.cases import selector
from tests.unit.testing.playing import cases


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("cart", True),
        ("CART", True),
        ("favourite", False),
        ("order in time", True),
        ("cart and order", True),
        ("cart and late", False),
        ("late or order", True),
        ("not late", True),
        ("cart and not order", False),
        ("late and x or cart", True),
    ],
)
def test_an_expression_picks_titles(expression: str, fits: bool) -> None:
    assert selector(expression)("abandoned-cart › an order in time cancels") is fits


@pytest.mark.parametrize("expression", ["", "and", "cart and", "not", "a or not"])
def test_an_expression_without_a_text_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="joined by and, or, not"):
        selector(expression)


def test_a_case_knows_the_line_it_is_written_in() -> None:
    text = "- {name: a, events: [], expect: []}\n- {name: b, events: [], expect: []}"
    assert [(case.title, case.line) for case in cases(text)] == [("cart › a", 8), ("cart › b", 9)]
