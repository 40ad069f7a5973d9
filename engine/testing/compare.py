"""What was expected against what came: a diff of outcomes, in order, exact."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from engine.testing.timeline import Got
from schemas.reasons import Outcome
from triggers.durations import format_duration
from triggers.testcases import SAID, TEST_USER, Expected

_PER_NOT_TEXT = "\x1f"


class Line(NamedTuple):
    """One line of a diff: ` ` as expected, `-` expected and missing, `+` came unexpected."""

    sign: Literal[" ", "-", "+"]
    at_ms: int
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {format_duration(self.at_ms):<8} {self.text}"


def compare(own: str, expected: Sequence[Expected], got: Sequence[Got]) -> list[Line]:
    """All outcomes of the trigger `own` and of those that `expected` names.

    The alignment keeps as many lines equal as possible (longest common subsequence).
    """
    named = {own, *(item.trigger for item in expected if item.trigger)}
    came = [item for item in got if item.trigger in named]
    rows, columns = len(expected), len(came)
    fits = [[matches(own, one, other) for other in came] for one in expected]
    kept = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in reversed(range(rows)):
        for column in reversed(range(columns)):
            best = max(kept[row + 1][column], kept[row][column + 1])
            kept[row][column] = (
                max(best, 1 + kept[row + 1][column + 1]) if fits[row][column] else best
            )
    texts = ("title", "body") if any(item.title or item.body for item in expected) else ()
    told = (*texts, "link") if any(item.link for item in expected) else texts
    lines: list[Line] = []
    row = column = 0
    while row < rows or column < columns:
        if row < rows and column < columns and fits[row][column]:
            lines.append(_of_got(" ", own, came[column], ()))
            row, column = row + 1, column + 1
        elif row < rows and (column == columns or kept[row + 1][column] >= kept[row][column + 1]):
            lines.append(_of_expected(own, expected[row]))
            row += 1
        else:
            lines.append(_of_got("+", own, came[column], told))
            column += 1
    return lines


def matches(own: str, expected: Expected, got: Got) -> bool:
    """What the author left out may be anything; a text that fails to render is never right."""
    wanted_per = None if expected.per is None else per_text(expected.per)
    return (
        got.error is None
        and expected.at_ms == got.at_ms
        and expected.outcome == got.outcome
        and (expected.trigger or own) == got.trigger
        and expected.user in (None, got.user)
        and _is_reason(expected, got)
        and wanted_per in (None, got.per)
        and all(getattr(expected, name) in (None, getattr(got, name)) for name in SAID)
        and expected.variant in (None, got.variant)
    )


def _is_reason(expected: Expected, got: Got) -> bool:
    """Who expects a message without a reason does not expect it to be aborted."""
    aborted = got.outcome == Outcome.ADMITTED and got.reason is not None
    return expected.reason == got.reason or (expected.reason is None and not aborted)


def per_text(value: str | int | float | bool) -> str:
    """A `per` value as `decide.per_value` writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{_PER_NOT_TEXT}{value}"


def _of_expected(own: str, item: Expected) -> Line:
    per = None if item.per is None else per_text(item.per)
    text = _text(item.outcome, item.reason, item.trigger or own, own, item.user, per)
    return Line("-", item.at_ms, text + _varied(item.variant) + _said(item, SAID))


def _of_got(sign: Literal[" ", "+"], own: str, item: Got, told: Iterable[str]) -> Line:
    text = _text(item.outcome, item.reason, item.trigger, own, item.user, item.per)
    text += _varied(item.variant)
    if item.error is not None:
        text += f"; the text fails: {item.error}"
    else:
        text += _said(item, told)
    return Line(sign, item.at_ms, text)


def _text(
    outcome: str, reason: str | None, trigger: str, own: str, user: str | None, per: str | None
) -> str:
    parts = [outcome if reason is None else f"{outcome} {reason}"]
    if trigger != own:
        parts.append(f"of {trigger}")
    if per:
        parts.append(f"per {per.removeprefix(_PER_NOT_TEXT)}")
    if user not in (None, TEST_USER):
        parts.append(f"user {user}")
    return ", ".join(parts)


def _varied(variant: str | None) -> str:
    return f", variant {variant}" if variant else ""


def _said(item: Expected | Got, names: Iterable[str]) -> str:
    found = ((name, getattr(item, name)) for name in names)
    return "".join(f', {name} "{text}"' for name, text in found if text)
