"""`still`: what has to hold right before sending, too."""

from typing import Any

import pytest

from schemas.reasons import Reason, Unevaluated
from tests.unit.triggers.test_audience import identify
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.effects import Recall
from triggers.workspace import DefinitionErrors, load_documents

FREE = {**HELLO, "still": {"traits.plan": "free"}}


def admitted(document: dict[str, Any] = FREE, **properties: Any) -> User:
    """A user on the free plan with one delivery on its way."""
    user = User(program_of(document))
    identify(user, "0s", plan="free")
    user.event("1s", "Opened", **properties)
    assert user.lines == ["1s hello m1 ADMITTED"]
    return user


def recalls(user: User) -> list[tuple[int, Reason]]:
    return [(at, reason) for _, at, reason in user.effects.cancelled]


def test_what_is_not_true_at_admission_is_refused() -> None:
    user = User(program_of(FREE))
    identify(user, "0s", plan="pro")
    user.event("1s", "Opened")
    assert user.lines == ["1s hello m1 NO_LONGER_TRUE"]


def test_a_wait_asks_again_when_it_is_over() -> None:
    user = User(program_of({**CART, "still": {"traits.plan": "free"}}))
    identify(user, "0s", plan="free")
    user.event("1s", "Added", id="a")
    identify(user, "1h", plan="pro")
    user.fire("3h")
    assert user.lines == ["2h1s cart a NO_LONGER_TRUE"]


def test_a_change_of_traits_calls_a_pending_delivery_back_once() -> None:
    user = admitted()
    identify(user, "2s", plan="free", city="Almaty")
    assert recalls(user) == []
    identify(user, "3s", plan="pro")
    identify(user, "4s", plan="enterprise")
    delivery = user.effects.deliveries[0].delivery_id
    assert user.effects.cancelled == [Recall(delivery, ms("3s"), Reason.NO_LONGER_TRUE)]


def test_a_delivery_that_was_called_back_stays_so() -> None:
    user = admitted()
    identify(user, "3s", plan="pro")
    identify(user, "4s", plan="free")
    assert recalls(user) == [(ms("3s"), Reason.NO_LONGER_TRUE)]


def test_a_delivery_whose_outcome_is_known_is_not_called_back() -> None:
    user = admitted()
    user.outcome("2s", Reason.ACCEPTED)
    identify(user, "3s", plan="pro")
    assert recalls(user) == []


def test_what_was_called_back_gives_back_what_it_took() -> None:
    user = admitted({**FREE, "cooldown": "1d"})
    identify(user, "3s", plan="pro")
    user.outcome("4s", Reason.NO_LONGER_TRUE)
    identify(user, "5s", plan="free")
    user.event("6s", "Opened", id="again")
    assert user.lines[-1] == "6s hello again ADMITTED"


def test_what_could_not_be_evaluated_any_more_calls_back_and_is_counted() -> None:
    user = admitted(
        {**HELLO, "still": {"any": [{"traits.plan": "free"}, {"traits.age": {"gt": 3}}]}}
    )
    identify(user, "2s", plan="pro", age="old")
    assert recalls(user) == [(ms("2s"), Reason.NO_LONGER_TRUE)]
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


@pytest.mark.parametrize("root", ["$event", "$start"])
def test_still_may_compare_with_the_event(root: str) -> None:
    user = admitted({**HELLO, "still": {"traits.plan": f"{root}.properties.plan"}}, plan="free")
    identify(user, "2s", plan="pro")
    assert recalls(user) == [(ms("2s"), Reason.NO_LONGER_TRUE)]


def test_still_may_compare_with_both_ends_of_a_sequence() -> None:
    steps = [{"event": "Viewed"}, {"event": "Opened"}]
    still = {"traits.low": "$start.properties.x", "traits.high": "$event.properties.x"}
    document = {**HELLO, "when": {"sequence": steps, "within": "1h"}, "still": still}
    user = User(program_of(document))
    identify(user, "0s", low=1, high=2)
    user.event("1s", "Viewed", id="v", x=1)
    user.event("2s", "Opened", x=2)
    assert user.lines == ["2s hello v ADMITTED"]
    identify(user, "3s", high=3)
    assert recalls(user) == [(ms("3s"), Reason.NO_LONGER_TRUE)]


def test_only_the_triggers_that_ask_are_called_back() -> None:
    user = User(program_of(FREE, {**HELLO, "id": "other"}))
    identify(user, "0s", plan="free")
    user.event("1s", "Opened")
    identify(user, "2s", plan="pro")
    assert len(recalls(user)) == 1


@pytest.mark.parametrize(
    ("still", "said"),
    [
        (
            {"item.in_stock": True},
            "`item.in_stock` comes with the catalogue: not available in this",
        ),
        ({"segment": "loyal"}, "`still` asks about traits, such as traits.plan: 'segment' is not"),
        ({"idle": "1d"}, "`still` asks about traits"),
        ({"traits.x": "$begin.properties.x"}, "unknown reference '$begin'"),
    ],
)
def test_a_wrong_still_is_refused_where_it_is_wrong(still: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as refused:
        load_documents([{**HELLO, "still": still}])
    assert said in str(refused.value)
