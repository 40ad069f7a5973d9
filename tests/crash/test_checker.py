"""The checker itself: a right run passes, and each kind of wrong is found by the check made for it.

A small log is written by hand and decided by the pure run; the evidence then has one thing changed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.stream.outbox import Entry, OutMessage, pack_entry
from tests.crash.checker import check
from tests.crash.evidence import Claimed, Ended, Evidence, Push
from tests.crash.findings import Allowance, Findings
from tests.crash.limits import limits_hold_where_it_was_decided
from tests.crash.model import Key, Merged
from tests.crash.samples import T0, USER, evidence_of, log_of_one_moment, published, usual_evidence
from tests.crash.triggers import (
    LEFT_ID,
    NEWS_ID,
    OFFER_ID,
    STOPPED_ID,
    THANKS_ID,
)

pytestmark = pytest.mark.crash


def _delivery(evidence: Evidence, trigger: str) -> str:
    return next(name for name, row in evidence.admitted().items() if row["trigger"] == trigger)


async def test_a_right_run_passes_and_is_counted(tmp_path: Any) -> None:
    found = check(await usual_evidence(tmp_path), Allowance())
    assert (found.events, found.expected, found.cancelled, found.admitted) == (9, 6, 1, 3)
    assert (found.accepted, found.twice, found.unknown, found.dead_letters) == (3, 0, 0, 1)


Change = Callable[[Evidence], None]


def _forget_a_decision(evidence: Evidence) -> None:
    del evidence.decided.rows[Key(STOPPED_ID, USER, "m1")]


def _invent_a_decision(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(THANKS_ID, USER, "m7")][0]
    evidence.decided.rows[Key(THANKS_ID, USER, "m9")] = [{**row, "activation": "m9"}]


def _decide_twice(evidence: Evidence) -> None:
    rows = evidence.decided.rows[Key(THANKS_ID, USER, "m7")]
    rows.append({**rows[0], "at": "2030-01-01T00:00:00.000Z"})


def _fire_what_was_cancelled(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(LEFT_ID, USER, "m2")][0]
    row["outcome"], row["reason"] = "SUPPRESSED", "SPACING"


def _move_a_decision(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(STOPPED_ID, USER, "m1")][0]
    row["at"] = "2027-01-15T08:00:09.000Z"


def _suppress_without_reason(evidence: Evidence) -> None:
    del evidence.decided.rows[Key(OFFER_ID, USER, "m3")]


def _change_a_stored_field(evidence: Evidence) -> None:
    live = {n: dict(content) for n, content in evidence.live.items()}
    live[0]["watermark_ms"] += 1
    evidence.live, evidence.digests = live, {**evidence.digests, 0: "another"}


def _lose_a_delivery(evidence: Evidence) -> None:
    del evidence.deliveries[_delivery(evidence, STOPPED_ID)]


def _publish_what_was_not_admitted(evidence: Evidence) -> None:
    evidence.deliveries["f" * 32] = [{"delivery_id": "f" * 32, "user": USER}]


def _lose_an_outcome(evidence: Evidence) -> None:
    del evidence.outcomes[_delivery(evidence, THANKS_ID)]


def _refund_what_was_taken(evidence: Evidence) -> None:
    name = _delivery(evidence, THANKS_ID)
    evidence.outcomes[name] = [Ended("EXPIRED", T0, USER)]


def _end_unknown(evidence: Evidence) -> None:
    evidence.outcomes[_delivery(evidence, THANKS_ID)] = [Ended("UNKNOWN", T0, USER)]


def _accept_twice(evidence: Evidence) -> None:
    name = _delivery(evidence, THANKS_ID)
    evidence.accepted[name].append(Push(T0 + 60_000, name, "apns"))


def _send_out_of_the_blue(evidence: Evidence) -> None:
    evidence.accepted["f" * 32] = [Push(T0, "f" * 32, "fcm")]


def _claim_too_early(evidence: Evidence) -> None:
    evidence.claims[USER] = [Claimed(T0, "a", OFFER_ID), Claimed(T0 + 1_999, "b", LEFT_ID)]


def _claim_within_the_cooldown(evidence: Evidence) -> None:
    evidence.claims[USER] = [Claimed(T0, "a", OFFER_ID), Claimed(T0 + 4_999, "b", OFFER_ID)]


def _claim_over_the_cap(evidence: Evidence) -> None:
    triggers = (OFFER_ID, LEFT_ID, NEWS_ID, OFFER_ID)
    evidence.claims[USER] = [
        Claimed(T0 + 2_600 * n, str(n), trigger) for n, trigger in enumerate(triggers)
    ]


def _refuse_for_nothing(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(OFFER_ID, USER, "m3")][0]
    row.update(outcome="SUPPRESSED", reason="FREQUENCY_CAP", delivery_id=None)


def _lose_a_dead_letter(evidence: Evidence) -> None:
    evidence.written = replace(evidence.written, dead_letters={0: []})


def _invent_a_dead_letter(evidence: Evidence) -> None:
    letters = [*evidence.written.dead_letters[0]]
    letters.append(published(1, {"partition": 0, "offset": 2, "reason": "X"}))
    evidence.written = replace(evidence.written, dead_letters={0: letters})


def _leave_something_unpublished(evidence: Evidence) -> None:
    entry = Entry("lost", [OutMessage("decisions", 0, None, b"")])
    evidence.dumps = {0: {"rings": {}, "outbox": {7: pack_entry(entry)}}}


def _publish_two_contents_under_one_mark(evidence: Evidence) -> None:
    evidence.decided.clashes.append("mark")


def _publish_again_under_another_mark(evidence: Evidence) -> None:
    evidence.decided.again = 1


def _speak_to_the_guest_and_the_user(evidence: Evidence, at_ms: int) -> str:
    """A guest who became a part of the user at T0 + 350 was told something at `at_ms`."""
    (row,) = evidence.decided.rows[Key(OFFER_ID, USER, "m3")]
    name, at = "e" * 32, f"2027-01-15T08:00:00.{at_ms}Z"
    said = {**row, "user": "guest", "activation": "g", "delivery_id": name, "at": at}
    evidence.decided.rows[Key(OFFER_ID, "guest", "g")] = [said]
    evidence.outcomes[name] = [Ended("ACCEPTED", T0 + at_ms, "guest")]
    evidence.meaning.kin |= {"guest", USER}
    evidence.meaning.merged[USER] = [Merged("guest", USER, T0 + 250, (0, 3))]
    return name


def _say_too_much_to_one_person(evidence: Evidence) -> None:
    _speak_to_the_guest_and_the_user(evidence, 240)


def _send_too_much_to_one_person(evidence: Evidence) -> None:
    name = _speak_to_the_guest_and_the_user(evidence, 240)
    evidence.accepted[name] = [Push(T0 + 450, name, "apns")]


def _send_to_the_guest_afterwards(evidence: Evidence) -> None:
    name = _speak_to_the_guest_and_the_user(evidence, 240)
    evidence.accepted[name] = [Push(T0 + 60_000, name, "apns")]


def _say_the_same_to_both_profiles(evidence: Evidence) -> None:
    _speak_to_the_guest_and_the_user(evidence, 240)
    (said,) = evidence.decided.rows.pop(Key(OFFER_ID, "guest", "g"))
    evidence.decided.rows[Key(OFFER_ID, "guest", "m3")] = [said]


WRONGS: list[tuple[Change, str]] = [
    (_forget_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_invent_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_decide_twice, "every_activation_is_decided_once_and_rightly"),
    (_move_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_fire_what_was_cancelled, "no_absence_is_false"),
    (_suppress_without_reason, "limits_hold_where_it_was_decided"),
    (_refuse_for_nothing, "limits_hold_where_it_was_decided"),
    (_move_a_decision, "decisions_are_those_of_a_run_without_faults"),
    (_publish_two_contents_under_one_mark, "decisions_are_those_of_a_run_without_faults"),
    (_publish_again_under_another_mark, "decisions_are_those_of_a_run_without_faults"),
    (_change_a_stored_field, "stored_fields_are_those_of_a_run_without_faults"),
    (_lose_a_delivery, "deliveries_are_what_was_admitted"),
    (_publish_what_was_not_admitted, "deliveries_are_what_was_admitted"),
    (_lose_an_outcome, "every_delivery_ends_once"),
    (_refund_what_was_taken, "every_delivery_ends_once"),
    (_end_unknown, "every_delivery_ends_once"),
    (_accept_twice, "nothing_is_sent_twice"),
    (_send_out_of_the_blue, "nothing_is_sent_twice"),
    (_claim_too_early, "limits_hold_where_it_was_sent"),
    (_claim_within_the_cooldown, "limits_hold_where_it_was_sent"),
    (_claim_over_the_cap, "limits_hold_where_it_was_sent"),
    (_say_too_much_to_one_person, "limits_hold_where_it_was_decided"),
    (_send_too_much_to_one_person, "limits_hold_where_it_was_sent"),
    (_send_to_the_guest_afterwards, "limits_hold_where_it_was_sent"),
    (_say_the_same_to_both_profiles, "every_activation_is_decided_once_and_rightly"),
    (_lose_a_dead_letter, "bad_records_are_dead_letters_and_nothing_else_is"),
    (_invent_a_dead_letter, "bad_records_are_dead_letters_and_nothing_else_is"),
    (_leave_something_unpublished, "everything_committed_was_published"),
]


@pytest.mark.parametrize(("change", "check_name"), WRONGS)
async def test_what_is_wrong_is_found_by_its_check(
    tmp_path: Any, change: Change, check_name: str
) -> None:
    evidence = await usual_evidence(tmp_path)
    change(evidence)
    with pytest.raises(AssertionError, match=f"(?m)^{check_name}: [0-9]+ problems"):
        check(evidence, Allowance())


async def test_who_loses_to_the_winner_of_the_same_moment_is_rightly_refused(
    tmp_path: Any,
) -> None:
    evidence = await evidence_of(log_of_one_moment(), tmp_path)
    (won,) = evidence.decided.rows[Key(LEFT_ID, USER, "m1")]
    (lost,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    assert (won["outcome"], lost["reason"]) == ("ADMITTED", "LOWER_PRIORITY")
    assert (lost["at"], lost["by"]) == (won["at"], won["delivery_id"])
    check(evidence, Allowance())


async def test_who_loses_without_a_winner_of_the_same_moment_is_wrongly_refused(
    tmp_path: Any,
) -> None:
    evidence = await evidence_of(log_of_one_moment(), tmp_path)
    (won,) = evidence.decided.rows[Key(LEFT_ID, USER, "m1")]
    won.update(outcome="SUPPRESSED", reason="SPACING")
    (earlier,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    with pytest.raises(AssertionError, match=f"lost to {earlier['by']}, at that moment won"):
        check(evidence, Allowance())


async def test_who_loses_names_the_winner_unless_its_outcome_may_be_known(tmp_path: Any) -> None:
    evidence = await evidence_of(log_of_one_moment(), tmp_path)
    (lost,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    winner, lost["by"] = lost["by"], None
    assert list(limits_hold_where_it_was_decided(evidence, Allowance(), Findings())) == []
    del evidence.outcomes[winner]
    ((fault, user),) = limits_hold_where_it_was_decided(evidence, Allowance(), Findings())
    assert (user, "lost to None, at that moment won" in fault) == (USER, True)


@pytest.mark.parametrize("reason", ["SPACING", "FREQUENCY_CAP"])
async def test_the_winner_of_the_same_moment_is_no_reason_but_to_lose_to_it(
    tmp_path: Any, reason: str
) -> None:
    evidence = await evidence_of(log_of_one_moment(), tmp_path)
    evidence.decided.rows[Key(OFFER_ID, USER, "m2")][0]["reason"] = reason
    with pytest.raises(AssertionError, match=f"was refused for {reason}, which nothing explains"):
        check(evidence, Allowance())


async def test_of_candidates_of_one_moment_no_two_are_admitted(tmp_path: Any) -> None:
    evidence = await evidence_of(log_of_one_moment(), tmp_path)
    (lost,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    lost.update(outcome="ADMITTED", reason=None, delivery_id="f" * 32)
    evidence.outcomes["f" * 32] = [Ended("ACCEPTED", T0, USER)]
    with pytest.raises(AssertionError, match="spacing 0 ms"):
        check(evidence, Allowance())


async def test_no_rollback_excuses_a_limit_that_was_exceeded(tmp_path: Any) -> None:
    evidence = await usual_evidence(tmp_path)
    name = _delivery(evidence, OFFER_ID)
    (push,) = evidence.accepted[name]
    evidence.accepted[name].append(Push(push.at_ms + 900, name, "apns"))
    with pytest.raises(AssertionError, match=r"limits_hold_where_it_was_sent: \d+ problems"):
        check(evidence, Allowance(rolled_back=True, twice_max=1))


async def test_no_lost_claim_excuses_a_second_push_after_the_outcome(tmp_path: Any) -> None:
    evidence = await usual_evidence(tmp_path)
    name = _delivery(evidence, THANKS_ID)
    (ended,) = evidence.outcomes[name]
    evidence.accepted[name].append(Push(ended.appended_ms + 1, name, "apns"))
    with pytest.raises(AssertionError, match="accepted again when its outcome was known"):
        check(evidence, Allowance(twice_max=9))
