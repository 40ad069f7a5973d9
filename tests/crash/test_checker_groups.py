"""The checker on control groups, hours and the caps of a category and a day: right and wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.checker import check
from tests.crash.evidence import Claimed, Ended, Evidence, Push
from tests.crash.findings import Allowance, log_ms
from tests.crash.model import Key
from tests.crash.samples import (
    CONTROLLED,
    GHOST,
    OPENS_MS,
    T0,
    USER,
    evidence_of,
    log_of_groups,
    usual_evidence,
)
from tests.crash.triggers import (
    LATER_ID,
    LEFT_ID,
    NEWS_ID,
)

pytestmark = pytest.mark.crash

Change = Callable[[Evidence], None]


def _row(evidence: Evidence, trigger: str, user: str, activation: str) -> dict[str, Any]:
    (row,) = evidence.decided.rows[Key(trigger, user, activation)]
    return row


async def test_groups_and_hours_are_known_and_counted(tmp_path: Any) -> None:
    evidence = await evidence_of(log_of_groups(), tmp_path)
    found = check(evidence, Allowance())
    assert (found.held, found.released) == (6, 3)
    assert found.ghosts == {"CONTROL": 1, "GLOBAL_CONTROL": 2}
    assert _row(evidence, LATER_ID, USER, "c0")["outcome"] == "EXPIRED"
    assert log_ms(_row(evidence, LATER_ID, USER, "d0")["at"]) == OPENS_MS


def _send_a_ghost(evidence: Evidence) -> None:
    name = _row(evidence, NEWS_ID, GHOST, "b1")["delivery_id"]
    evidence.accepted[name] = [Push(T0 + 1_200, name, "apns")]


def _hand_on_a_ghost_as_a_message(evidence: Evidence) -> None:
    del evidence.deliveries[_row(evidence, NEWS_ID, GHOST, "b1")["delivery_id"]][0]["ghost"]


def _end_a_ghost_as_another(evidence: Evidence) -> None:
    name = _row(evidence, NEWS_ID, CONTROLLED, "b2")["delivery_id"]
    evidence.outcomes[name] = [Ended("GLOBAL_CONTROL", T0, CONTROLLED)]


def _admit_a_ghost(evidence: Evidence) -> None:
    _row(evidence, LATER_ID, GHOST, "d1").update(outcome="ADMITTED", reason=None)


def _withhold_from_somebody(evidence: Evidence) -> None:
    row = _row(evidence, LATER_ID, USER, "d0")
    row.update(outcome="SUPPRESSED", reason="GLOBAL_CONTROL")


def _mix_up_the_arms(evidence: Evidence) -> None:
    row = _row(evidence, NEWS_ID, USER, "b0")
    row["variant"] = {"a": "b", "b": "a"}[row["variant"]]


def _open_too_early(evidence: Evidence) -> None:
    row = _row(evidence, LATER_ID, USER, "c0")
    row.update(outcome="ADMITTED", reason=None)


def _hold_too_long(evidence: Evidence) -> None:
    _row(evidence, LATER_ID, USER, "d0")["at"] = "2027-01-15T08:01:02.000Z"


def _expire_what_may_be_sent(evidence: Evidence) -> None:
    _row(evidence, LATER_ID, USER, "d0")["outcome"] = "EXPIRED"


def _close_the_window_too_early(evidence: Evidence) -> None:
    _row(evidence, NEWS_ID, USER, "b0")["at"] = "2027-01-15T08:00:00.100Z"


GROUP_WRONGS: list[tuple[Change, str]] = [
    (_send_a_ghost, "ghosts_are_never_sent"),
    (_send_a_ghost, "nothing_is_sent_twice"),
    (_hand_on_a_ghost_as_a_message, "ghosts_are_never_sent"),
    (_end_a_ghost_as_another, "ghosts_are_never_sent"),
    (_admit_a_ghost, "ghosts_are_whom_the_hash_says"),
    (_withhold_from_somebody, "ghosts_are_whom_the_hash_says"),
    (_mix_up_the_arms, "ghosts_are_whom_the_hash_says"),
    (_open_too_early, "every_activation_is_decided_once_and_rightly"),
    (_hold_too_long, "every_activation_is_decided_once_and_rightly"),
    (_expire_what_may_be_sent, "every_activation_is_decided_once_and_rightly"),
    (_close_the_window_too_early, "every_activation_is_decided_once_and_rightly"),
]


@pytest.mark.parametrize(("change", "check_name"), GROUP_WRONGS)
async def test_what_is_wrong_with_groups_and_hours_is_found_by_its_check(
    tmp_path: Any, change: Change, check_name: str
) -> None:
    evidence = await evidence_of(log_of_groups(), tmp_path)
    change(evidence)
    with pytest.raises(AssertionError, match=f"(?m)^{check_name}: [0-9]+ problems"):
        check(evidence, Allowance())


def _claim_news(*times: int) -> list[Claimed]:
    return [Claimed(T0 + at, str(at), NEWS_ID) for at in times]


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        (_claim_news(0, 6_000), "2 in 8000 ms"),
        ([Claimed(T0 + 8_000 * n, str(n), LEFT_ID) for n in range(5)], "5 on a day"),
        ([Claimed(T0, "a", NEWS_ID, own=True), *_claim_news(4_999)], "cooldown 4999 ms"),
    ],
)
async def test_caps_of_a_category_and_of_a_day_and_a_ghosts_cooldown_hold(
    tmp_path: Any, claims: list[Claimed], fault: str
) -> None:
    evidence = await usual_evidence(tmp_path)
    evidence.claims[USER] = claims
    with pytest.raises(AssertionError, match=f"claims of {USER}: {fault}"):
        check(evidence, Allowance())


async def test_a_ghost_of_its_trigger_takes_nothing_else(tmp_path: Any) -> None:
    evidence = await usual_evidence(tmp_path)
    evidence.claims[USER] = [
        Claimed(T0, "a", NEWS_ID, own=True),
        Claimed(T0 + 1, "b", LEFT_ID),
        *_claim_news(5_000),
    ]
    check(evidence, Allowance())
