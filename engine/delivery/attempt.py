"""What happens next to a delivery: pure decisions from the gate's verdict and providers' answers.

- `after_verdict`: the gate has answered a claim.
- `after_sends`: every device of a claimed delivery has its answer.

Both give a `Next`: `Send`, `Finish` with an outcome, `Requeue` for later, or `Drop`. The rules are
design.md T9: what surely did not arrive is given back and may be tried again while it is still
worth sending; what may have arrived is never repeated for marketing, and never given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.delivery.senders import SendKind, SendResult
from engine.ports import GateAnswer, Verdict
from schemas.deliveries import Delivery
from schemas.reasons import Reason
from schemas.records import DeadToken
from schemas.topics import BACK_OFF_FROM, RETRY_TIERS_MS

#: `SendResult.reason` for a device whose platform has no provider here.
NOT_CONFIGURED = "NOT_CONFIGURED"
#: The same for one whose breaker lets nothing through: no request was made.
BREAKER_OPEN = "BREAKER_OPEN"
#: How much shorter than its tier a back-off may be, so that failures do not return together.
JITTER = 0.25
#: An outcome's code is a word or a line, not a page.
CODE_MAX = 200


@dataclass(frozen=True, slots=True)
class Rules:
    """`tiers_ms`: the waits of the re-queue, rising. `lease_ms`: how long a claim is held.

    With `log_clock` the gate's time is the decision's own: docs/decisions/0004-gate-in-log-time.md.
    """

    attempts_max: int
    lease_ms: int
    tiers_ms: tuple[int, ...] = RETRY_TIERS_MS
    log_clock: bool = False

    def gate_now_ms(self, delivery: Delivery, now_ms: int) -> int:
        """The time in which cancels, expiry and limits of this delivery are judged."""
        return delivery.decided_at_ms if self.log_clock else now_ms

    def tier_of(self, wait_ms: int) -> int:
        """Index of the shortest tier that is at least as long, else of the longest."""
        for index, tier_ms in enumerate(self.tiers_ms):
            if wait_ms <= tier_ms:
                return index
        return len(self.tiers_ms) - 1


class Send(NamedTuple):
    """Claimed: render it and ask the provider."""


class Drop(NamedTuple):
    """Nothing to do and nothing to say."""


class Finish(NamedTuple):
    """It ends so. `release`: give the claim back, it surely did not arrive.

    `attempts` is how many requests were made for it, over all its rounds; `claimed_at_ms` when the
    gate let the last one go, 0 for an end without a claim.
    """

    reason: Reason
    attempts: int
    provider: str = ""
    code: str = ""
    dead_tokens: tuple[DeadToken, ...] = ()
    release: bool = False
    claimed_at_ms: int = 0


class Requeue(NamedTuple):
    """Ask again after `wait_ms`. `uncertain`: an earlier request may have arrived."""

    wait_ms: int
    attempt: int
    uncertain: bool = False
    release: bool = False


Next = Send | Drop | Finish | Requeue


class DeviceResult(NamedTuple):
    """A device's answer. `provider` is empty where there is none for its platform."""

    token: str
    provider: str
    result: SendResult


#: The trigger was registered by a newer release than this process.
UNREADABLE = DeviceResult("", "", SendResult(SendKind.RETRY_LATER, "UNREADABLE_DEFINITION"))

#: How old a delivery is before one that waits for a store that is behind asks less often.
BEHIND_SHORT_MS = 30_000

_ENDS = {
    GateAnswer.UNKNOWN: Reason.UNKNOWN,
    GateAnswer.CONSENT: Reason.CONSENT,
    GateAnswer.CANCELLED: Reason.CANCELLED,
    GateAnswer.NO_LONGER_TRUE: Reason.NO_LONGER_TRUE,
    GateAnswer.EXPIRED: Reason.EXPIRED,
}


def after_verdict(
    delivery: Delivery, verdict: Verdict, now_ms: int, uncertain: bool, rules: Rules
) -> Next:
    """What the gate's answer to a claim made at `now_ms` (of the gate's time) means."""
    if verdict.answer is GateAnswer.SEND:
        return Send()
    if verdict.answer is GateAnswer.GONE:
        return Drop()
    if verdict.answer is GateAnswer.BEHIND:
        # Catching up takes moments, or minutes: then it is not asked every second.
        patient = not rules.log_clock and now_ms - delivery.decided_at_ms > BEHIND_SHORT_MS
        tier = 1 if patient and len(rules.tiers_ms) > 1 else 0
        return Requeue(rules.tiers_ms[tier], delivery.attempt, uncertain)
    if verdict.answer is GateAnswer.WAIT:
        return _wait(delivery, verdict, now_ms, uncertain, rules)
    if verdict.answer is GateAnswer.REFUSED:
        if verdict.until_ms < delivery.expires_at_ms:
            return Requeue(verdict.until_ms - now_ms, delivery.attempt, uncertain)
        reason = verdict.reason or Reason.FREQUENCY_CAP
        return _finish(reason, delivery.attempt, uncertain)
    return _finish(_ENDS[verdict.answer], delivery.attempt, uncertain)


def _wait(delivery: Delivery, verdict: Verdict, now_ms: int, uncertain: bool, rules: Rules) -> Next:
    if rules.log_clock and delivery.not_before_ms:
        # The gate's time of a delivery stands still, so its lease would never end: but this one has
        # waited one out by the clock already.
        return _finish(Reason.UNKNOWN, delivery.attempt, uncertain)
    return Requeue(max(verdict.until_ms - now_ms, 0), delivery.attempt, uncertain)


def after_sends(
    delivery: Delivery,
    results: Sequence[DeviceResult],
    now_ms: int,
    uncertain: bool,
    rules: Rules,
    jitter: float,
) -> Finish | Requeue:
    """What the answers of all devices mean for the delivery.

    `now_ms` is the gate's time, `jitter` a random number from 0 to 1. One device that got it is
    enough. `uncertain`: a request of an earlier round may have arrived.
    """
    asked = any(found.result.reason != BREAKER_OPEN for found in results)
    attempts = delivery.attempt + (1 if asked else 0)
    by_kind: dict[SendKind, DeviceResult] = {}
    dead = []
    for found in results:
        by_kind.setdefault(found.result.kind, found)
        if found.result.kind is SendKind.UNREGISTERED:
            dead.append(DeadToken(found.token, found.result.token_invalid_since_ms))
    accepted = by_kind.get(SendKind.ACCEPTED)
    if accepted is not None:
        return Finish(Reason.ACCEPTED, attempts, accepted.provider, "", tuple(dead))
    left_ms = delivery.expires_at_ms - now_ms
    wait_ms = _back_off_ms(delivery.attempt, left_ms, results, rules, jitter)
    is_last = attempts >= rules.attempts_max
    again = wait_ms < left_ms and not is_last
    lost = by_kind.get(SendKind.UNKNOWN)
    if lost is not None:
        if again and not delivery.marketing and not uncertain:
            return Requeue(wait_ms, attempts, uncertain=True, release=True)
        return _ended(Reason.UNKNOWN, attempts, lost, dead, uncertain)
    later = by_kind.get(SendKind.RETRY_LATER) or by_kind.get(SendKind.AUTH)
    if later is not None:
        if again:
            return Requeue(wait_ms, attempts, uncertain, release=True)
        reason = Reason.PROVIDER_ERROR if is_last else Reason.EXPIRED
        return _ended(reason, attempts, later, dead, uncertain)
    refused = by_kind.get(SendKind.REJECTED)
    if refused is not None and refused.provider:
        return _ended(Reason.REJECTED, attempts, refused, dead, uncertain)
    unregistered = by_kind.get(SendKind.UNREGISTERED)
    if unregistered is not None:
        return _ended(Reason.UNREGISTERED, attempts, unregistered, dead, uncertain)
    code = NOT_CONFIGURED if results else "NO_DEVICE"
    return _finish(Reason.PROVIDER_ERROR, delivery.attempt, uncertain, code=code, release=True)


def unsent(delivery: Delivery, reason: Reason, code: str, uncertain: bool) -> Finish:
    """A claimed delivery that cannot be sent: its texts fail, or its time is over meanwhile."""
    return _finish(reason, delivery.attempt, uncertain, code=code[:CODE_MAX], release=True)


def ghost_of(delivery: Delivery) -> Finish:
    """A claimed and rendered delivery of a control group: it ends where it would be sent."""
    return Finish(Reason(delivery.ghost), delivery.attempt)


def _back_off_ms(
    attempt: int, left_ms: int, results: Sequence[DeviceResult], rules: Rules, jitter: float
) -> int:
    """As long as the attempt's tier, or a shorter one that leaves time to send; a little less at
    random, and at least as long as a provider asks."""
    index = min(attempt + BACK_OFF_FROM, len(rules.tiers_ms) - 1)
    while index > BACK_OFF_FROM and rules.tiers_ms[index] >= left_ms:
        index -= 1
    tier_ms = rules.tiers_ms[index]
    asked_s = max((found.result.retry_after_s or 0.0 for found in results), default=0.0)
    return max(int(tier_ms * (1.0 - JITTER * jitter)), int(asked_s * 1000))


def _ended(
    reason: Reason, attempts: int, by: DeviceResult, dead: Sequence[DeadToken], uncertain: bool
) -> Finish:
    release = reason is not Reason.UNKNOWN
    return _finish(reason, attempts, uncertain, by.provider, by.result.reason, tuple(dead), release)


def _finish(
    reason: Reason,
    attempts: int,
    uncertain: bool,
    provider: str = "",
    code: str = "",
    dead_tokens: tuple[DeadToken, ...] = (),
    release: bool = False,
) -> Finish:
    """An end that is not ACCEPTED: after a request that may have arrived it can only be UNKNOWN."""
    if uncertain:
        return Finish(Reason.UNKNOWN, attempts, provider, code or reason, dead_tokens)
    return Finish(reason, attempts, provider, code, dead_tokens, release)
