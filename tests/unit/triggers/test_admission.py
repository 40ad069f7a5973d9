"""Admission: the order of checks, what an admitted message takes, what a failed one gives back."""

from typing import Any

import pytest

from schemas.reasons import REFUNDED, Reason
from tests.unit.triggers.user import CART, HELLO, T0, User, program_of
from triggers.compile import RegisteredTrigger, compile_program
from triggers.state import COOLDOWNS_MAX
from triggers.workspace import load_documents


def hello(**changes: Any) -> dict[str, Any]:
    return {**HELLO, **changes}


def opened(user: User, *times: str) -> list[str]:
    """The reasons (or ADMITTED) of an immediate trigger at those times."""
    before = len(user.lines)
    for at in times:
        user.event(at, "Opened")
    return [line.split()[-1] for line in user.lines[before:]]


# --- the order of checks ---


def test_each_check_answers_only_when_those_before_it_are_content() -> None:
    policy: dict[str, Any] = {"spacing": "1h", "caps": [{"max": 1, "per": "1d"}]}
    found = []
    for state, reachable, cooldown, spacing in (
        ("paused", False, "1h", "1h"),
        ("shadow", False, "1h", "1h"),
        ("live", False, "1h", "1h"),
        ("live", True, "1h", "1h"),
        ("live", True, "0s", "1h"),
        ("live", True, "0s", "0s"),
    ):
        policy["spacing"] = spacing
        user = User(program_of(hello(cooldown=cooldown), **policy))
        opened(user, "0s")
        user.program = program_of(hello(state=state, cooldown=cooldown), **policy)
        if not reachable:
            user.state.devices.clear()
        found += opened(user, "1m")
    assert found == ["PAUSED", "SHADOW", "NO_DEVICE", "COOLDOWN", "SPACING", "FREQUENCY_CAP"]


def test_candidates_of_one_moment_are_admitted_by_priority_then_id() -> None:
    user = User(
        program_of(
            hello(id="b", priority=10),
            hello(id="c", priority=90),
            hello(id="a", priority=10),
            spacing="1h",
        )
    )
    user.event("0s", "Opened")
    assert user.lines == ["0s c m0 ADMITTED", "0s a m0 LOWER_PRIORITY", "0s b m0 LOWER_PRIORITY"]


def test_timers_of_one_moment_are_admitted_by_priority_then_id() -> None:
    user = User(
        program_of(
            {**CART, "id": "b"},
            {**CART, "id": "a"},
            {"id": "quiet", "state": "live", "when": {"idle": "2h"}, "priority": 90},
            caps=[{"max": 2, "per": "1d"}],
        )
    )
    user.event(f"{-T0 % user.program.granule_ms}ms", "Added")
    user.fire("1d")
    assert [line.split(" ", 1)[1] for line in user.lines] == [
        f"quiet idle:{user.state.seen} ADMITTED",
        "a m0 LOWER_PRIORITY",
        "b m0 LOWER_PRIORITY",
    ]


def test_what_an_earlier_record_let_go_stands_against_a_later_one_of_the_same_moment() -> None:
    user = User(program_of(hello(priority=10), hello(id="best", priority=90, when={"event": "B"})))
    user.event("0s", "Opened")
    user.event("0s", "B")
    assert user.lines == ["0s hello m0 ADMITTED", "0s best m1 LOWER_PRIORITY"]


def test_of_records_of_one_moment_the_highest_priority_wins_within_a_settle_window() -> None:
    best = hello(id="best", priority=90, when={"event": "B"})
    user = User(program_of(hello(priority=10), best, settle="1ms"))
    user.event("0s", "Opened")
    user.event("0s", "B")
    user.fire("1h")
    assert user.lines == ["1ms best m1 ADMITTED", "1ms hello m0 LOWER_PRIORITY"]


# --- cooldown ---


def test_a_cooldown_blocks_until_the_period_has_passed_and_not_at_it() -> None:
    user = User(program_of(hello(cooldown="1h")))
    assert opened(user, "0s", "59m59s999ms", "1h") == ["ADMITTED", "COOLDOWN", "ADMITTED"]


def test_cooldown_runs_from_admission_and_a_refused_candidate_takes_none() -> None:
    user = User(program_of(hello(cooldown="1h")))
    assert opened(user, "0s", "30m", "1h", "1h30m", "2h") == [
        "ADMITTED",
        "COOLDOWN",
        "ADMITTED",
        "COOLDOWN",
        "ADMITTED",
    ]


def test_cooldown_gates_admission_and_never_the_start() -> None:
    user = User(program_of({**CART, "cooldown": "3h"}))
    user.event("0s", "Added")
    user.event("3h", "Added")
    user.fire("10d")
    assert user.lines == ["2h cart m0 ADMITTED", "5h cart m1 ADMITTED"]


def test_a_cooldown_per_value_leaves_other_values_alone() -> None:
    user = User(program_of(hello(per="properties.item", cooldown={"per": "1d", "user": "1h"})))
    for at, item in (("0s", 1), ("30m", 2), ("1h", 2), ("2h", 1), ("24h", 1)):
        user.event(at, "Opened", item=item)
    assert [line.split()[-1] for line in user.lines] == [
        "ADMITTED",
        "COOLDOWN",
        "ADMITTED",
        "COOLDOWN",
        "ADMITTED",
    ]


def test_another_trigger_has_a_cooldown_of_its_own() -> None:
    other = hello(id="other", when={"event": "Viewed"})
    user = User(program_of(hello(), other, cooldown="1h"))
    for at, name in (("0s", "Opened"), ("1s", "Viewed"), ("30m", "Opened"), ("31m", "Viewed")):
        user.event(at, name)
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED"] * 2 + ["COOLDOWN"] * 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "COOLDOWN"),
        ({"cooldown": "0s"}, "ADMITTED"),
        ({"class": "transactional"}, "ADMITTED"),
        ({"class": "transactional", "cooldown": "1h"}, "COOLDOWN"),
        ({"per": "properties.item", "cooldown": {"per": "1s"}}, "ADMITTED"),
    ],
)
def test_the_policy_s_cooldown_is_for_marketing_and_a_trigger_s_own_always_holds(
    changes: dict[str, Any], expected: str
) -> None:
    user = User(program_of(hello(**changes), cooldown="1h"))
    user.event("0s", "Opened", item=1)
    user.event("30m", "Opened", item=1)
    assert user.lines[1].endswith(expected)


def test_overflow_of_cooldowns_errs_towards_silence() -> None:
    user = User(program_of(hello(per="properties.item", cooldown={"per": "2d"})))
    for number in range(COOLDOWNS_MAX + 1):
        user.event(f"{number}m", "Opened", item=number)
    assert user.effects.evicted["cooldowns"] == 1
    assert len(user.state.cooled) == COOLDOWNS_MAX
    user.event("2h", "Opened", item=0)
    user.event("2h", "Opened", item="never seen")
    assert [line.split()[-1] for line in user.lines[-2:]] == ["COOLDOWN", "COOLDOWN"]
    user.event("49h", "Opened", item=0)
    assert user.lines[-1].endswith("ADMITTED")


# --- spacing and caps ---


def test_spacing_counts_from_any_marketing_message() -> None:
    other = {**HELLO, "id": "other", "when": {"event": "Viewed"}}
    user = User(program_of(hello(), other, spacing="2h"))
    user.event("0s", "Opened")
    user.event("1h59m", "Viewed")
    user.event("2h", "Viewed")
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED", "SPACING", "ADMITTED"]


def test_a_cap_counts_admitted_messages_in_a_rolling_window() -> None:
    user = User(program_of(hello(), caps=[{"max": 2, "per": "1d"}]))
    assert opened(user, "0s", "10h", "23h59m", "24h", "33h", "34h") == [
        "ADMITTED",
        "ADMITTED",
        "FREQUENCY_CAP",
        "ADMITTED",
        "FREQUENCY_CAP",
        "ADMITTED",
    ]


def test_every_cap_of_the_policy_holds() -> None:
    user = User(program_of(hello(), caps=[{"max": 1, "per": "1h"}, {"max": 2, "per": "1d"}]))
    assert opened(user, "0s", "30m", "1h", "2h") == [
        "ADMITTED",
        "FREQUENCY_CAP",
        "ADMITTED",
        "FREQUENCY_CAP",
    ]


def test_a_transactional_message_neither_obeys_nor_uses_spacing_and_caps() -> None:
    code = {**HELLO, "id": "code", "class": "transactional", "when": {"event": "Code"}}
    user = User(program_of(hello(), code, spacing="1h", caps=[{"max": 1, "per": "1d"}]))
    user.event("0s", "Opened")
    user.event("1m", "Code")
    user.event("2m", "Code")
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED"] * 3
    fresh = User(user.program)
    fresh.event("0s", "Code")
    fresh.event("1m", "Opened")
    assert [line.split()[-1] for line in fresh.lines] == ["ADMITTED"] * 2


# --- outcomes ---


@pytest.mark.parametrize(
    "reason", [Reason.ACCEPTED, Reason.UNKNOWN, *sorted(REFUNDED)], ids=lambda r: r.value
)
@pytest.mark.parametrize(
    "policy",
    [{"spacing": "1d"}, {"cooldown": "1d"}, {"caps": [{"max": 1, "per": "1d"}]}],
    ids=lambda p: next(iter(p)),
)
def test_only_a_delivery_that_failed_for_certain_gives_back_what_it_took(
    reason: Reason, policy: dict[str, Any]
) -> None:
    user = User(program_of(hello(), **policy))
    opened(user, "0s")
    user.outcome("1m", reason)
    expected = "ADMITTED" if reason in REFUNDED else user_reason(policy)
    assert opened(user, "2m") == [expected]


def user_reason(policy: dict[str, Any]) -> str:
    return {"spacing": "SPACING", "cooldown": "COOLDOWN", "caps": "FREQUENCY_CAP"}[
        next(iter(policy))
    ]


def test_the_first_outcome_of_a_delivery_counts() -> None:
    user = User(program_of(hello(), cooldown="1d"))
    opened(user, "0s")
    assert user.outcome("1m", Reason.ACCEPTED)
    assert not user.outcome("2m", Reason.REJECTED)
    assert opened(user, "3m") == ["COOLDOWN"]
    assert user.effects.closed == [user.effects.deliveries[0].delivery_id]


def test_an_outcome_more_than_a_day_after_expiry_does_not_count_whether_pruned_or_not() -> None:
    user = User(program_of(hello(expires="1h"), cooldown="10d"))
    opened(user, "0s")
    user.outcome("25h", Reason.REJECTED)
    assert opened(user, "26h") == ["COOLDOWN"]


def test_a_cap_stays_exact_when_a_later_message_of_another_policy_is_given_back() -> None:
    other = {**HELLO, "id": "other", "policy": "free", "when": {"event": "Viewed"}}
    policies = {"default": {"caps": [{"max": 1, "per": "1d"}]}, "free": {}}
    loaded = load_documents([HELLO, other], policies)
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in loaded.triggers.values()]
    user = User(compile_program(1, registered, loaded.policies))
    user.event("0s", "Opened")
    for minute in range(1, 6):
        user.event(f"{minute}m", "Viewed")
    for delivery in range(1, 6):
        user.outcome("2h", Reason.REJECTED, delivery=delivery)
    user.event("3h", "Opened")
    assert user.lines[-1] == "3h hello m6 FREQUENCY_CAP"


def test_a_transactional_message_gives_back_nothing_it_did_not_take() -> None:
    code = {**HELLO, "id": "code", "class": "transactional"}
    user = User(program_of(HELLO, code, spacing="1h"))
    user.event("0s", "Opened")
    assert [admitted.trigger.id for admitted in user.effects.deliveries] == ["code", "hello"]
    user.outcome("1m", Reason.REJECTED, delivery=0)
    user.event("2m", "Opened")
    assert [line.split(" ", 1)[1] for line in user.lines[2:]] == [
        "code m1 ADMITTED",
        "hello m1 SPACING",
    ]


def test_the_ring_of_sends_is_bounded_once_outcomes_are_known() -> None:
    user = User(program_of(hello(), caps=[{"max": 3, "per": "1m"}]))
    for number in range(50):
        user.event(f"{number}m", "Opened")
        user.outcome(f"{number}m", Reason.ACCEPTED)
    assert len(user.state.sends) <= 4


def test_a_user_without_a_device_gets_no_device_and_nothing_is_taken() -> None:
    user = User(program_of(hello(), cooldown="1d"), reachable=False)
    assert opened(user, "0s") == ["NO_DEVICE"]
    user.event("1h", "Opened", device="a")
    assert user.lines[-1].endswith("ADMITTED")
