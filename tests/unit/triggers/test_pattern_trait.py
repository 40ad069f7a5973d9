"""`{trait, from, to}`: a trait of the user changed."""

from typing import Any

import pytest

from schemas.events import Event
from schemas.reasons import Unevaluated
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.workspace import DefinitionErrors


def watching(**when: Any) -> User:
    return User(program_of({**HELLO, "when": {"trait": "plan", **when}}))


def test_a_change_fires_at_the_event_that_tells_it() -> None:
    user = watching()
    user.identify("0s", plan="free")
    user.identify("1h", plan="pro")
    user.identify("2h", plan="pro")
    assert user.lines == ["1h hello m1 ADMITTED"]


def test_the_first_value_ever_is_no_change() -> None:
    for when in ({}, {"to": "pro"}, {"from": "free"}):
        user = watching(**when)
        user.identify("0s", plan="pro")
        assert user.lines == []


@pytest.mark.parametrize(
    ("when", "values", "fires"),
    [
        ({"from": "free", "to": "pro"}, ("free", "pro"), True),
        ({"from": "free", "to": "pro"}, ("team", "pro"), False),
        ({"from": "free", "to": "pro"}, ("free", "team"), False),
        ({"to": "pro"}, ("team", "pro"), True),
        ({"from": "team"}, ("team", "free"), True),
        ({"to": 1}, (2, 1.0), True),
        ({"to": 1}, (2, True), False),
        ({"to": 1}, (2, "1"), False),
        ({"to": True}, (1, True), True),
        ({}, ([1], [2]), True),
        ({}, ({"a": 1}, {"a": 1}), False),
    ],
)
def test_from_and_to_are_compared_without_coercion(when: Any, values: Any, fires: bool) -> None:
    user = watching(**when)
    for hour, value in enumerate(values):
        user.identify(f"{hour}h", plan=value)
    assert bool(user.lines) is fires


def test_a_null_is_a_change_to_nothing_and_the_next_value_is_a_first_one() -> None:
    user = watching()
    user.identify("0s", plan="pro")
    user.identify("1h", plan=None)
    user.identify("2h", plan="free")
    assert user.lines == ["1h hello m1 ADMITTED"]
    gone = watching(to="pro")
    gone.identify("0s", plan="free")
    gone.identify("1h", plan=None)
    assert gone.lines == []


def test_traits_in_the_context_of_another_event_tell_the_change_too() -> None:
    user = watching(to="pro")
    user.identify("0s", plan="free")
    context = {"traits": {"plan": "pro"}}
    user.apply("1h", Event(type="track", message_id="t", event="Seen", context=context))
    user.identify("2h", plan="pro")
    assert user.lines == ["1h hello t ADMITTED"]


def test_the_traits_of_a_group_are_not_the_users() -> None:
    user = watching()
    user.identify("0s", plan="free")
    user.apply("1h", Event(type="group", message_id="g", user_id="u", traits={"plan": "pro"}))
    assert user.lines == []
    assert user.state.traits == {"plan": "free"}


def test_a_trait_may_lie_deeper() -> None:
    user = watching(trait="home.city")
    user.identify("0s", home={"city": "Almaty"})
    user.identify("1h", home="Astana")
    user.identify("2h", home={"city": "Astana"})
    assert user.lines == ["2h hello m2 ADMITTED"]


def test_a_change_told_twice_fires_once() -> None:
    user = watching(to="pro")
    user.identify("0s", plan="free")
    user.identify("1h", plan="pro", id="same")
    user.identify("2h", plan="free")
    user.identify("3h", e="1h", plan="pro", id="same")
    assert user.lines == ["1h hello same ADMITTED"]


def test_a_change_told_more_than_24_hours_late_is_learnt_but_starts_nothing() -> None:
    user = watching(to="pro")
    user.identify("0s", plan="free")
    user.identify("26h", e="1h", plan="pro")
    assert user.lines == []
    assert user.effects.unevaluated == {("hello", Unevaluated.LATE_EVENT): 1}
    assert user.state.traits == {"plan": "pro"}


def test_a_change_with_unless_and_wait_is_an_absence() -> None:
    document = {
        **HELLO,
        "when": {"trait": "plan", "to": "trial"},
        "unless": {"event": "Paid"},
        "wait": "3d",
    }
    for pays, expected in ((True, "CANCELLED"), (False, "ADMITTED")):
        user = User(program_of(document))
        user.identify("0s", plan="free")
        user.identify("1h", plan="trial")
        if pays:
            user.event("1d", "Paid")
        user.fire("9d")
        assert [line.split()[-1] for line in user.lines] == [expected]


def test_a_state_keeps_the_declared_trait_only() -> None:
    user = watching()
    user.identify("0s", plan="free", email="a@shop.example")
    assert user.state.traits == {"plan": "free"}
    assert user.state.patterns == {}
    assert user.state.due == 0 or user.state.due > ms("0s")


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"trait": "traits.plan"}, "below traits"),
        ({"trait": "a.*"}, "below traits"),
        ({"trait": 3}, "text"),
        ({"trait": "plan", "from": "a", "to": "a"}, "no change"),
        ({"trait": "plan", "from": ["a"]}, "one text, number"),
        ({"trait": "plan", "from": None}, "empty"),
        ({"trait": "plan", "form": "a"}, "did you mean 'from'"),
    ],
)
def test_a_faulty_definition_is_told_where(when: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        program_of({**HELLO, "when": when})
    assert said in str(caught.value)
    assert "when" in str(caught.value)
