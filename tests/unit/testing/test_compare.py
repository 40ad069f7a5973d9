"""The diff keeps as many lines equal as it can."""

from engine.testing.compare import compare
from engine.testing.timeline import Got
from triggers.testcases import Expected


def expected(*pairs: tuple[str, str]) -> list[Expected]:
    return [Expected.model_validate({"at": at, "outcome": outcome}) for at, outcome in pairs]


def got(*pairs: tuple[int, str]) -> list[Got]:
    return [Got(at_ms, "a", "user", outcome, None, None) for at_ms, outcome in pairs]


def test_lines_that_fit_stay_whatever_is_missing_or_too_much_between_them() -> None:
    wanted = expected(("1s", "ADMITTED"), ("2s", "ADMITTED"), ("3s", "CANCELLED"))
    came = got((1000, "ADMITTED"), (1500, "EXPIRED"), (3000, "CANCELLED"), (4000, "ADMITTED"))
    lines = [(line.sign, line.at_ms) for line in compare("a", wanted, came)]
    assert lines == [(" ", 1000), ("-", 2000), ("+", 1500), (" ", 3000), ("+", 4000)]


def test_the_order_of_outcomes_of_one_moment_matters() -> None:
    wanted = expected(("1s", "ADMITTED"), ("1s", "CANCELLED"))
    came = got((1000, "CANCELLED"), (1000, "ADMITTED"))
    assert [line.sign for line in compare("a", wanted, came)].count(" ") == 1


def test_other_triggers_count_only_when_they_are_expected() -> None:
    came = [Got(1000, "b", "user", "ADMITTED", None, None)]
    assert compare("a", [], came) == []
    named = [Expected.model_validate({"at": "2s", "outcome": "ADMITTED", "trigger": "b"})]
    assert [line.sign for line in compare("a", named, came)] == ["-", "+"]
