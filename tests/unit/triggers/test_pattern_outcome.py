"""`{outcome, trigger}`: what became of a message of ours."""

from typing import Any

import pytest

from schemas.reasons import Reason
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.answers import STAGE_EVENTS
from triggers.state import DAY_MS, TOUCHES_MAX, decode_state, encode_state
from triggers.workspace import DefinitionErrors


def user_of(stage: str, **fields: Any) -> User:
    reaction = {
        "id": "reaction",
        "state": "live",
        "when": {"outcome": stage, "trigger": "hello"},
        **fields,
    }
    return User(program_of(HELLO, reaction))


def sent(user: User, at: str = "0s") -> str:
    """An admitted message of the trigger `hello`; its delivery id."""
    user.event(at, "Opened")
    return [d for d in user.effects.deliveries if d.trigger.id == "hello"][-1].delivery_id


def of_reaction(user: User) -> list[str]:
    return [line for line in user.lines if " reaction " in line]


def test_an_outcome_record_fires_at_its_stage() -> None:
    for stage, reason in (("accepted", Reason.ACCEPTED), ("provider_error", Reason.PROVIDER_ERROR)):
        user = user_of(stage)
        delivery = sent(user)
        user.outcome("1m", reason)
        user.outcome("2m", reason, delivery=0)
        assert of_reaction(user) == [f"1m reaction {delivery}:{stage} ADMITTED"]


def test_another_stage_or_the_outcome_of_another_trigger_does_not() -> None:
    user = user_of("rejected")
    sent(user)
    user.outcome("1m", Reason.ACCEPTED)
    assert of_reaction(user) == []
    other = {**HELLO, "id": "other"}
    both = User(
        program_of(
            other,
            {**HELLO, "when": {"event": "Never"}},
            {
                "id": "reaction",
                "state": "live",
                "when": {"outcome": "accepted", "trigger": "hello"},
            },
        )
    )
    both.event("0s", "Opened")
    both.outcome("1m", Reason.ACCEPTED)
    assert of_reaction(both) == []


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage, names in STAGE_EVENTS.items() for name in names]
)
def test_a_client_event_with_our_delivery_id_proves_its_stage(stage: str, name: str) -> None:
    user = user_of(stage)
    delivery = sent(user)
    user.outcome("1m", Reason.ACCEPTED)
    user.event("1h", name, id="tap", delivery_id=delivery)
    assert of_reaction(user) == ["1h reaction tap ADMITTED"]


def test_the_first_reaction_of_a_delivery_counts() -> None:
    user = user_of("clicked")
    delivery = sent(user)
    user.outcome("1m", Reason.ACCEPTED)
    for hour in (1, 2, 3):
        user.event(f"{hour}h", "Push Clicked", delivery_id=delivery)
    assert len(of_reaction(user)) == 1


def test_a_reaction_may_reach_the_log_before_the_outcome() -> None:
    user = user_of("clicked")
    delivery = sent(user)
    user.event("1s", "Push Clicked", delivery_id=delivery)
    user.outcome("1m", Reason.ACCEPTED, delivery=0)
    user.event("1h", "Push Clicked", delivery_id=delivery)
    assert of_reaction(user) == ["1s reaction m1 ADMITTED"]


@pytest.mark.parametrize("said", ["ab" * 16, "x" * 32, "", 7, None, ["a"], "ab" * 20])
def test_an_id_that_is_not_ours_means_nothing(said: Any) -> None:
    user = user_of("clicked")
    sent(user)
    user.outcome("1m", Reason.ACCEPTED)
    user.event("1h", "Push Clicked", delivery_id=said)
    user.event("2h", "Push Clicked")
    assert of_reaction(user) == []


def test_a_message_that_was_not_shown_for_certain_cannot_be_clicked() -> None:
    user = user_of("clicked")
    delivery = sent(user)
    user.outcome("1m", Reason.REJECTED)
    user.event("1h", "Push Clicked", delivery_id=delivery)
    assert of_reaction(user) == []


def test_deliveries_are_known_for_30_days_and_then_forgotten() -> None:
    user = user_of("clicked")
    delivery = sent(user)
    user.outcome("1m", Reason.ACCEPTED)
    user.state = decode_state(encode_state(user.state))
    user.event("31d", "Push Clicked", delivery_id=delivery)
    assert of_reaction(user) == []
    user.fire("40d")
    assert user.state.touches == []


def test_the_most_recent_deliveries_are_kept() -> None:
    user = user_of("clicked")
    ids = []
    for hour in range(TOUCHES_MAX + 3):
        ids.append(sent(user, f"{hour}h"))
        user.outcome(f"{hour}h1m", Reason.ACCEPTED)
    assert len(user.state.touches) == TOUCHES_MAX
    assert user.effects.evicted["touches"] == 3
    user.event("30h", "Push Clicked", delivery_id=ids[0])
    user.event("31h", "Push Clicked", delivery_id=ids[-1])
    assert [line.split()[0] for line in of_reaction(user)] == ["1d7h"]


def test_accepted_and_not_opened_in_two_days_is_an_absence() -> None:
    opened = {
        "event": "Push Opened",
        "where": {"properties.delivery_id": "$start.properties.delivery_id"},
    }
    for opens, expected in (
        (True, "1d reaction {} CANCELLED"),
        (False, "2d1m reaction {} ADMITTED"),
    ):
        user = user_of("accepted", unless=opened, wait="2d")
        delivery = sent(user)
        user.outcome("1m", Reason.ACCEPTED)
        user.event("12h", "Push Opened", delivery_id="ab" * 16)
        if opens:
            user.event("1d", "Push Opened", delivery_id=delivery)
        user.fire("9d")
        assert of_reaction(user) == [expected.format(f"{delivery}:accepted")]


def test_an_outcome_whose_time_is_absurd_counts_as_appended() -> None:
    user = user_of("accepted")
    sent(user)
    admitted = user.effects.deliveries[0]
    assert admitted.decided_at_ms == ms("0s")
    user.outcome("1m", Reason.ACCEPTED)
    assert user.effects.decisions[-1].at_ms == ms("1m")


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            {"outcome": "clicked", "trigger": "helo"},
            "unknown trigger 'helo' (did you mean 'hello'?)",
        ),
        ({"outcome": "clicked", "trigger": "reaction"}, "never come to an end"),
        ({"outcome": "clickd", "trigger": "hello"}, "did you mean 'clicked'"),
        ({"outcome": "clicked"}, "`trigger` is missing"),
    ],
)
def test_a_faulty_definition_is_told_where(when: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        program_of(HELLO, {"id": "reaction", "when": when})
    assert said in str(caught.value)


def test_the_memory_of_deliveries_stays_small() -> None:
    user = user_of("clicked")
    for hour in range(40):
        sent(user, f"{hour}h")
        user.outcome(f"{hour}h1m", Reason.ACCEPTED)
    assert len(encode_state(user.state)) < 6000
    assert user.state.due - ms("40h") <= 31 * DAY_MS
