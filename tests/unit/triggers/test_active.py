"""`active`: the days on which a trigger starts and admits."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.reasons import Unevaluated
from tests.unit.triggers.user import CART, HELLO, User, program_of
from triggers.definition import TriggerDefinition


def active(document: dict[str, Any], **policy: Any) -> User:
    """T0 is 2025-01-06, 00:00 UTC."""
    return User(program_of(document, **policy))


def test_a_trigger_starts_from_the_first_day_to_the_end_of_the_last_one() -> None:
    days = {"from": "2025-01-07", "until": "2025-01-08"}
    user = active({**HELLO, "active": days})
    for at in ("23h59m59s", "24h", "71h59m59s", "72h"):
        user.event(at, "Opened")
    assert user.lines == ["1d hello m1 ADMITTED", "2d23h59m59s hello m2 ADMITTED"]


def test_the_days_are_those_of_the_policys_zone() -> None:
    user = active({**HELLO, "active": {"from": "2025-01-07"}}, zone="Asia/Almaty")
    user.event("18h59m", "Opened")
    user.event("19h", "Opened")
    assert user.lines == ["19h hello m1 ADMITTED"]


def test_an_event_counts_on_the_day_it_happened() -> None:
    user = active({**HELLO, "active": {"until": "2025-01-06"}})
    user.event("23h50m", "Opened", e="23h")
    assert user.lines == ["23h50m hello m0 ADMITTED"]
    user.event("25h", "Opened", e="23h55m")
    assert user.lines[1:] == ["1d1h hello m1 PAUSED"]


def test_what_happened_outside_the_days_is_counted_as_that() -> None:
    user = active({**HELLO, "active": {"from": "2025-01-07"}})
    user.event("1h", "Opened")
    user.event("25h", "Opened")
    assert user.effects.unevaluated == {("hello", Unevaluated.NOT_ACTIVE): 1}


def test_an_instance_that_is_due_after_the_last_day_ends_as_paused() -> None:
    user = active({**CART, "active": {"until": "2025-01-06"}})
    user.event("23h", "Added", id="a")
    user.fire("2d")
    assert user.lines == ["1d1h cart a PAUSED"]


def test_a_silence_that_is_due_outside_the_days_starts_nothing() -> None:
    idle = {"id": "silent", "state": "live", "when": {"idle": "2d"}}
    user = active({**idle, "active": {"until": "2025-01-06"}})
    user.event("0s", "Opened")
    user.fire("10d")
    assert user.lines == []
    assert user.state.due == 0


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ({}, "`active` has `from`, `until` or both"),
        ({"from": "2025-02-01", "until": "2025-01-01"}, "`until` is before `from`"),
        ({"from": "2025-02-30"}, "a date is year, month and day"),
        ({"until": "20250101"}, "a date is year, month and day"),
        ({"until": 2025}, "a date is year, month and day"),
    ],
)
def test_wrong_days_are_refused(days: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TriggerDefinition.model_validate({**HELLO, "active": days})
