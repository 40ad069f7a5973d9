"""Mistakes that newcomers make: one message each, that names the place and what would be right."""

import pytest

from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors

TRIGGER = "id: t\nwhen: {event: Opened}\nmessage: {push: {title: a, body: b}}\n"
TIMES = 'needs two times of the day, in quotes and brackets: ["22:00", "09:00"]'
SEND_AT = '`send_at` is now, usual_hour or {between: ["12:00", "20:00"]}, not '
SHARE = "a share is text in percent with two decimals at most, such as 5% or 0.5%"
CAP = "a cap has `per` (such as 7d) or `calendar` (such as day)"


def said(files: dict[str, str]) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        load_workspace({"triggers/t.yaml": TRIGGER, **files})
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("send_at: 5", 10, f"{SEND_AT}'5'"),
        ("send_at: usual", 10, f"{SEND_AT}'usual' (did you mean 'usual_hour'?)"),
        ("send_at: '12:00'", 10, f"{SEND_AT}'12:00'"),
        ("send_at: {between: 12}", 20, f"this {TIMES}"),
        ("send_at: {between: ['12:00']}", 20, f"this {TIMES}"),
        (
            "send_at: {between: ['12:00', '25:00']}",
            30,
            "'25:00' is not a time of the day, such as \"09:30\"",
        ),
        ("hold: {for: quiet_hours}", 13, "`for` must be a list: put what it holds in [ ]"),
        ("cooldown: 1", 11, "a duration is text with a unit, such as 90s, 2h or 7d"),
        (
            "experiment: {control: 10%, variants: [a, b]}",
            38,
            "`variants` must be a mapping from names to values: {name: ...}",
        ),
        ("experiment: {control: 10%, variants: {a: 90}}", 42, SHARE),
        (
            "experiment: {control: 10%, variants: {a: 45%}}",
            13,
            "`control` and the weights of `variants` sum to 100%, not 55%",
        ),
    ],
)
def test_a_mistake_in_a_trigger_gives_one_message(line: str, column: int, message: str) -> None:
    found = said({"triggers/t.yaml": f"{TRIGGER}{line}\n"})
    assert found == [f"triggers/t.yaml:4:{column}: {message}"]


@pytest.mark.parametrize(
    ("policy", "column", "message"),
    [
        ("{quiet: '22:00'}", 18, f"`quiet` {TIMES}, or a list of such pairs"),
        ("{quiet: 22:00-09:00}", 18, f"`quiet` {TIMES}, or a list of such pairs"),
        ("{quiet: {from: '22:00'}}", 18, f"`quiet` {TIMES}, or a list of such pairs"),
        ("{quiet: ['22:00']}", 19, f"this {TIMES}"),
        ("{quiet: [22, 9]}", 19, f"this {TIMES}"),
        (
            "{caps: [{max: 3, per: 7d, calendar: day}]}",
            18,
            f"{CAP}, not both: for both write two caps",
        ),
        ("{caps: [{max: 3}]}", 18, f"{CAP}: this one has neither"),
        ("{caps: {max: 3, per: 7d}}", 17, "`caps` must be a list: put what it holds in [ ]"),
        ("{spacing: 2}", 20, "a duration is text with a unit, such as 90s, 2h or 7d"),
    ],
)
def test_a_mistake_in_a_policy_gives_one_message(policy: str, column: int, message: str) -> None:
    assert said({"policy.yaml": f"default: {policy}\n"}) == [f"policy.yaml:1:{column}: {message}"]


def test_fields_of_a_policy_without_its_name_are_told_where_they_belong() -> None:
    assert said({"policy.yaml": "spacing: 2h\ncaps: [{max: 3, per: 7d}]\n"}) == [
        "policy.yaml:1:1: `spacing` stands below the name of a policy: `default: {spacing: ...}`",
        "policy.yaml:2:1: `caps` stands below the name of a policy: `default: {caps: ...}`",
    ]
