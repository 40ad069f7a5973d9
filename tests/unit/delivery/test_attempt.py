"""What happens next to a delivery."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.attempt import (
    BEHIND_SHORT_MS,
    BREAKER_OPEN,
    NOT_CONFIGURED,
    DeviceResult,
    Drop,
    Finish,
    Requeue,
    Rules,
    Send,
    after_sends,
    after_verdict,
    unsent,
)
from engine.delivery.senders import SendKind, SendResult
from engine.ports import GateAnswer, Verdict
from schemas.deliveries import Delivery, DeviceRef
from schemas.reasons import REFUNDED, Reason
from schemas.records import DeadToken

RULES = Rules(attempts_max=3, lease_ms=15_000)
LOG_RULES = Rules(attempts_max=3, lease_ms=15_000, log_clock=True)
NOW_MS = 1_000_000
EXPIRES_MS = NOW_MS + 600_000


def delivery(**changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery_id": "0" * 32,
        "user": "ann",
        "trigger": "cart",
        "revision": 1,
        "activation": "a",
        "shard": 0,
        "registry": 1,
        "decided_at_ms": NOW_MS - 100,
        "expires_at_ms": EXPIRES_MS,
        "appended_at_ms": NOW_MS - 200,
        "marketing": True,
        "devices": [DeviceRef("t", "android")],
    }
    return Delivery(**(fields | changes))


def answer(kind: SendKind, reason: str = "why", **changes: Any) -> DeviceResult:
    provider = changes.pop("provider", "fcm")
    return DeviceResult(changes.pop("token", "t"), provider, SendResult(kind, reason, **changes))


ACCEPTED = answer(SendKind.ACCEPTED)
UNREGISTERED = answer(SendKind.UNREGISTERED, "UNREGISTERED", token_invalid_since_ms=7)
REJECTED = answer(SendKind.REJECTED, "INVALID_ARGUMENT")
LATER = answer(SendKind.RETRY_LATER, "UNAVAILABLE")
AUTH = answer(SendKind.AUTH, "UNAUTHENTICATED")
LOST = answer(SendKind.UNKNOWN, "TIMEOUT")
MISSING = answer(SendKind.REJECTED, NOT_CONFIGURED, provider="")


def following(
    *results: DeviceResult, uncertain: bool = False, jitter: float = 0.0, **changes: Any
) -> Finish | Requeue:
    return after_sends(delivery(**changes), results, NOW_MS, uncertain, RULES, jitter)


def verdict(
    answer: GateAnswer,
    until_ms: int = 0,
    reason: Reason | None = None,
    *,
    uncertain: bool = False,
    rules: Rules = RULES,
    **changes: Any,
) -> Any:
    said = Verdict(answer, until_ms, reason)
    return after_verdict(delivery(**changes), said, NOW_MS, uncertain, rules)


def test_a_claim_is_sent() -> None:
    assert verdict(GateAnswer.SEND) == Send()


def test_a_store_that_is_behind_is_asked_again_soon_and_then_less_often() -> None:
    first = verdict(GateAnswer.BEHIND, uncertain=True, attempt=1)
    assert first == Requeue(RULES.tiers_ms[0], 1, uncertain=True)
    old = NOW_MS - BEHIND_SHORT_MS - 1
    assert verdict(GateAnswer.BEHIND, decided_at_ms=old) == Requeue(RULES.tiers_ms[1], 0)
    in_log_time = verdict(GateAnswer.BEHIND, decided_at_ms=old, rules=LOG_RULES)
    assert in_log_time == Requeue(RULES.tiers_ms[0], 0)


def test_what_is_gone_is_dropped_without_an_outcome() -> None:
    assert verdict(GateAnswer.GONE) == Drop()


@pytest.mark.parametrize(
    "said",
    [
        GateAnswer.CANCELLED,
        GateAnswer.NO_LONGER_TRUE,
        GateAnswer.CONSENT,
        GateAnswer.EXPIRED,
        GateAnswer.UNKNOWN,
    ],
)
def test_the_gate_ends_a_delivery_by_its_word(said: GateAnswer) -> None:
    assert verdict(said) == Finish(Reason(said.value), 0)


def test_what_somebody_else_is_sending_is_asked_about_when_the_lease_is_over() -> None:
    assert verdict(GateAnswer.WAIT, NOW_MS + 9_000) == Requeue(9_000, 0)


def test_a_refused_delivery_waits_while_it_can_still_be_sent_and_no_attempt_is_counted() -> None:
    refused = verdict(GateAnswer.REFUSED, EXPIRES_MS - 1, Reason.SPACING, attempt=2)
    assert refused == Requeue(EXPIRES_MS - 1 - NOW_MS, 2)


@pytest.mark.parametrize("reason", [Reason.COOLDOWN, Reason.SPACING, Reason.FREQUENCY_CAP])
def test_a_delivery_refused_until_after_its_expiry_ends_with_the_limits_reason(
    reason: Reason,
) -> None:
    assert verdict(GateAnswer.REFUSED, EXPIRES_MS, reason) == Finish(reason, 0)


def test_in_log_time_a_claim_still_held_after_one_lease_is_unknown() -> None:
    first = verdict(GateAnswer.WAIT, NOW_MS + 15_000, rules=LOG_RULES)
    assert first == Requeue(15_000, 0)
    again = verdict(GateAnswer.WAIT, NOW_MS + 15_000, rules=LOG_RULES, not_before_ms=1)
    assert again == Finish(Reason.UNKNOWN, 0)


def test_in_log_time_the_gate_is_asked_about_the_decisions_own_time() -> None:
    assert LOG_RULES.gate_now_ms(delivery(), NOW_MS) == NOW_MS - 100
    assert RULES.gate_now_ms(delivery(), NOW_MS) == NOW_MS


def test_one_device_that_got_it_is_enough_and_dead_tokens_are_told() -> None:
    ended = following(UNREGISTERED, ACCEPTED, LATER, LOST)
    assert ended == Finish(Reason.ACCEPTED, 1, "fcm", "", (DeadToken("t", 7),))


def test_all_devices_unregistered_ends_so_and_gives_the_claim_back() -> None:
    ended = following(UNREGISTERED, UNREGISTERED)
    assert isinstance(ended, Finish)
    assert ended.reason is Reason.UNREGISTERED
    assert ended.release
    assert ended.dead_tokens == (DeadToken("t", 7), DeadToken("t", 7))


def test_a_refused_payload_is_never_tried_again() -> None:
    ended = following(UNREGISTERED, REJECTED)
    assert isinstance(ended, Finish)
    assert (ended.reason, ended.code) == (Reason.REJECTED, "INVALID_ARGUMENT")


def test_a_platform_without_provider_is_a_provider_error_and_no_attempt() -> None:
    ended = following(MISSING)
    assert ended == Finish(Reason.PROVIDER_ERROR, 0, "", NOT_CONFIGURED, (), True)


@pytest.mark.parametrize("result", [LATER, AUTH])
def test_what_surely_did_not_arrive_is_given_back_and_tried_later(result: DeviceResult) -> None:
    assert following(result) == Requeue(10_000, 1, release=True)


def test_the_wait_grows_with_the_attempts() -> None:
    again = following(LATER, attempt=1)
    assert again == Requeue(60_000, 2, release=True)


def test_the_wait_is_a_shorter_one_when_the_longer_would_end_after_the_expiry() -> None:
    long_enough = following(LATER, attempt=1, expires_at_ms=NOW_MS + 60_001)
    assert long_enough == Requeue(60_000, 2, release=True)
    too_short = following(LATER, attempt=1, expires_at_ms=NOW_MS + 60_000)
    assert too_short == Requeue(10_000, 2, release=True)


def test_jitter_shortens_the_wait_by_a_quarter_at_most() -> None:
    again = following(LATER, jitter=1.0)
    assert isinstance(again, Requeue)
    assert again.wait_ms == 7_500


def test_a_provider_that_asks_for_more_time_gets_it() -> None:
    asked = answer(SendKind.RETRY_LATER, "QUOTA_EXCEEDED", retry_after_s=61.5)
    again = following(asked, jitter=1.0)
    assert isinstance(again, Requeue)
    assert again.wait_ms == 61_500


@pytest.mark.parametrize("result", [LATER, AUTH])
def test_when_attempts_are_used_up_it_ends_as_the_providers_error(result: DeviceResult) -> None:
    ended = following(result, attempt=2)
    assert isinstance(ended, Finish)
    assert (ended.reason, ended.attempts, ended.release) == (Reason.PROVIDER_ERROR, 3, True)
    assert ended.code == result.result.reason


def test_when_the_time_is_up_before_the_next_try_it_ends_expired() -> None:
    ended = following(LATER, expires_at_ms=NOW_MS + 10_000)
    assert isinstance(ended, Finish)
    assert (ended.reason, ended.code) == (Reason.EXPIRED, "UNAVAILABLE")


def test_what_a_breaker_held_back_was_no_attempt() -> None:
    held = answer(SendKind.RETRY_LATER, BREAKER_OPEN, retry_after_s=30.0)
    assert following(held, attempt=2) == Requeue(60_000, 2, release=True)


def test_a_marketing_push_that_may_have_arrived_is_never_sent_again() -> None:
    ended = following(LATER, LOST)
    assert ended == Finish(Reason.UNKNOWN, 1, "fcm", "TIMEOUT")


def test_a_transactional_push_that_may_have_arrived_is_sent_once_more() -> None:
    again = following(LOST, marketing=False)
    assert again == Requeue(10_000, 1, uncertain=True, release=True)
    ended = following(LOST, marketing=False, uncertain=True, attempt=1)
    assert ended == Finish(Reason.UNKNOWN, 2, "fcm", "TIMEOUT")


def test_a_transactional_push_that_may_have_arrived_is_not_repeated_after_its_expiry() -> None:
    ended = following(LOST, marketing=False, expires_at_ms=NOW_MS + 5_000)
    assert isinstance(ended, Finish)
    assert ended.reason is Reason.UNKNOWN


def test_texts_that_fail_end_it_and_give_the_claim_back() -> None:
    ended = unsent(delivery(), Reason.TEMPLATE_ERROR, "x" * 500, False)
    assert (ended.reason, len(ended.code), ended.release) == (Reason.TEMPLATE_ERROR, 200, True)


ANSWERS = [ACCEPTED, UNREGISTERED, REJECTED, LATER, AUTH, LOST, MISSING]


@given(
    results=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
    marketing=st.booleans(),
    uncertain=st.booleans(),
    attempt=st.integers(0, 5),
    left_ms=st.integers(-1, 2_000_000),
    jitter=st.floats(0, 1),
)
def test_nothing_that_may_have_arrived_is_refunded_or_repeated_for_marketing(
    results: list[DeviceResult],
    marketing: bool,
    uncertain: bool,
    attempt: int,
    left_ms: int,
    jitter: float,
) -> None:
    sent = delivery(marketing=marketing, attempt=attempt, expires_at_ms=NOW_MS + left_ms)
    after = after_sends(sent, results, NOW_MS, uncertain, RULES, jitter)
    may_have_arrived = uncertain or LOST in results
    if isinstance(after, Requeue):
        assert NOW_MS + after.wait_ms < sent.expires_at_ms
        assert after.attempt < RULES.attempts_max
        assert after.release
        assert not (marketing and LOST in results)
        assert after.uncertain == may_have_arrived
    else:
        assert after.release == (after.reason in REFUNDED)
        if may_have_arrived:
            assert after.reason in (Reason.ACCEPTED, Reason.UNKNOWN)


@given(
    said=st.sampled_from([a for a in GateAnswer if a is not GateAnswer.SEND]),
    until_ms=st.integers(NOW_MS, NOW_MS + 2_000_000),
)
def test_a_gate_never_refunds_what_an_earlier_round_may_have_delivered(
    said: GateAnswer, until_ms: int
) -> None:
    after = verdict(said, until_ms, Reason.COOLDOWN, uncertain=True)
    if isinstance(after, Finish):
        assert after.reason is Reason.UNKNOWN
    elif isinstance(after, Requeue):
        assert after.uncertain


def test_the_tier_is_the_shortest_that_is_long_enough() -> None:
    waits_ms = (0, 1_000, 1_001, 10_000, 10_001, 60_000, 60_001, 900_000, 10_000_000)
    assert [RULES.tier_of(wait_ms) for wait_ms in waits_ms] == [0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_a_delivery_that_is_refused_in_closed_hours_waits_for_their_end_or_ends_refunded() -> None:
    open_ms = EXPIRES_MS - 1
    assert verdict(GateAnswer.REFUSED, open_ms, Reason.QUIET_HOURS) == Requeue(open_ms - NOW_MS, 0)
    ended = verdict(GateAnswer.REFUSED, EXPIRES_MS, Reason.QUIET_HOURS)
    assert ended == Finish(Reason.QUIET_HOURS, 0)
    assert Reason.QUIET_HOURS in REFUNDED


def test_the_end_of_closed_hours_is_open_and_their_start_is_not() -> None:
    coming = delivery(closed=[100, 200, 300, 400])
    found = [coming.closed_until_ms(now) for now in (99, 100, 199, 200, 299, 300, 399, 400)]
    assert found == [0, 200, 200, 0, 0, 400, 400, 0]
    assert delivery().closed_until_ms(100) == 0
