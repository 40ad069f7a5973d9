"""The circuit breaker of a provider."""

from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.breaker import Admission, Answer, Breaker, State


def opened() -> Breaker:
    breaker = Breaker(faults_max=3)
    for _ in range(3):
        breaker.answered(breaker.admits(0.0), Answer.FAULT, 0.0)
    return breaker


def test_it_opens_after_faults_in_a_row_and_lets_nothing_through() -> None:
    breaker = opened()
    assert breaker.state is State.OPEN
    assert breaker.admits(0.5) is Admission.NO
    assert breaker.blocked_s(0.25) == 0.75


def test_faults_between_good_answers_do_not_open_it() -> None:
    breaker = Breaker(faults_max=3)
    for answer in [Answer.FAULT, Answer.FAULT, Answer.GOOD] * 5:
        breaker.answered(breaker.admits(0.0), answer, 0.0)
    assert breaker.state is State.CLOSED


def test_an_unclear_answer_neither_opens_it_nor_forgets_faults() -> None:
    breaker = Breaker(faults_max=2)
    for answer in (Answer.FAULT, Answer.UNCLEAR, Answer.UNCLEAR):
        breaker.answered(Admission.YES, answer, 0.0)
    assert breaker.admits(0.0) is Admission.YES
    breaker.answered(Admission.YES, Answer.FAULT, 0.0)
    assert breaker.state is State.OPEN


def test_half_open_one_message_tries_and_the_others_wait_for_it() -> None:
    breaker = opened()
    assert breaker.admits(1.0) is Admission.PROBE
    assert breaker.admits(1.0) is Admission.NO
    assert breaker.blocked_s(1.0) > 0


def test_a_good_probe_closes_it() -> None:
    breaker = opened()
    breaker.answered(breaker.admits(1.0), Answer.GOOD, 1.1)
    assert breaker.state is State.CLOSED
    assert breaker.admits(1.1) is Admission.YES


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_minute() -> None:
    breaker, now_s, pauses = opened(), 0.0, []
    for _ in range(9):
        pauses.append(breaker.blocked_s(now_s))
        now_s += pauses[-1]
        breaker.answered(breaker.admits(now_s), Answer.UNCLEAR, now_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_faults_of_requests_from_before_do_not_count_against_the_probe() -> None:
    breaker = opened()
    assert breaker.admits(1.0) is Admission.PROBE
    breaker.answered(Admission.YES, Answer.FAULT, 1.1)
    assert breaker.state is State.HALF_OPEN


def test_a_good_answer_that_comes_late_closes_it() -> None:
    breaker = opened()
    breaker.answered(Admission.YES, Answer.GOOD, 0.1)
    assert breaker.state is State.CLOSED


@given(st.lists(st.tuples(st.sampled_from(Answer), st.floats(0, 5)), max_size=80))
def test_it_never_stays_shut_longer_than_its_longest_pause(
    steps: list[tuple[Answer, float]],
) -> None:
    breaker, now_s = Breaker(), 0.0
    for answer, step_s in steps:
        now_s += step_s
        admission = breaker.admits(now_s)
        if admission is not Admission.NO:
            breaker.answered(admission, answer, now_s)
        assert breaker.blocked_s(now_s) <= 60.0
    assert breaker.admits(now_s + 60.0) is not Admission.NO
