from typing import Any

import pytest

from triggers.definition import Policy
from triggers.overrides import OverrideError, override_policies

CAPS = [{"max": 1, "per": "7d"}]


def changed(*changes: str, grace: str | None = None) -> dict[str, Any]:
    return override_policies({}, changes, grace)["default"].to_document()


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("policy.default.spacing=0s", "spacing", "0s"),
        ("policy.default.zone=Asia/Almaty", "zone", "Asia/Almaty"),
        ("policy.default.cooldown=36h", "cooldown", "1d12h"),
        ("policy.default.grace=7s", "grace", "7s"),
        ("policy.default.caps=[{max: 1, per: 7d}]", "caps", CAPS),
        ("policy.default.caps=[]", "caps", []),
    ],
)
def test_a_value_is_written_as_in_the_policy_file(change: str, field: str, value: Any) -> None:
    assert changed(change)[field] == value


def test_every_value_of_a_policy_can_be_set_to_what_it_is() -> None:
    for field, value in Policy().to_document().items():
        if not isinstance(value, dict):
            assert changed(f"policy.default.{field}={value}")[field] == value
            continue
        for name, inner in value.items():
            assert changed(f"policy.default.{field}.{name}={inner}")[field] == value


def test_a_field_below_another_keeps_its_neighbours() -> None:
    text = changed("policy.default.text.title_max=30")["text"]
    assert text == {**Policy().to_document()["text"], "title_max": 30}


def test_the_last_of_two_changes_holds() -> None:
    assert changed("policy.default.spacing=1h", "policy.default.spacing=2h")["spacing"] == "2h"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("policy.default.spacin=0s", "unknown field 'spacin' (did you mean 'spacing'?)"),
        ("policy.default.spacing=soon", "policy.default.spacing: "),
        ("policy.default.spacing.x=1", "'spacing' has nothing below it"),
        ("policy.other.spacing=0s", "there is no policy 'other' (there are default)"),
        ("policy.default=0s", "is not policy.<name>.<field>=<value>"),
        ("policy.default..x=0s", "is not policy.<name>.<field>=<value>"),
        ("policy.default.caps=[{max: 1", "caps=[{max: 1': "),
        ("policy.default.caps=&a [1]", "caps=&a [1]': "),
        ("policy.default.spacing=", "spacing=': "),
        ("policy.default.spacing=1h\n---\n2h", "spacing=1h"),
    ],
)
def test_a_change_that_means_nothing_is_refused(change: str, message: str) -> None:
    with pytest.raises(OverrideError) as refused:
        changed(change)
    assert message in str(refused.value)
