"""Audiences: whom a trigger is for, asked at every admission."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.events import Event
from schemas.reasons import Unevaluated
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.workspace import DefinitionErrors, load_documents


def asked(audience: Mapping[str, Any], *, files: Mapping[str, Any] | None = None) -> User:
    """A user of an immediate trigger with this audience."""
    return User(program_of({**HELLO, "audience": audience}, files=files))


def identify(user: User, at: str, **traits: Any) -> None:
    moment = datetime.fromtimestamp(ms(at) / 1000, UTC)
    user.count += 1
    event = Event("identify", f"i{user.count}", None, user.name, timestamp=moment, traits=traits)
    user.apply(at, event)


def answers(user: User) -> list[str]:
    """How each opening ended."""
    return [line.split()[-1] for line in user.lines]


def opened(user: User, at: str) -> str:
    user.event(at, "Opened")
    return answers(user)[-1]


# traits


@pytest.mark.parametrize(
    ("condition", "city", "answer"),
    [
        ("Almaty", "Almaty", "ADMITTED"),
        ("Almaty", "Astana", "AUDIENCE"),
        ({"in": ["Almaty", "Astana"]}, "Astana", "ADMITTED"),
        ({"ne": "Almaty"}, "Astana", "ADMITTED"),
        ({"prefix": "Al"}, "Almaty", "ADMITTED"),
        ({"exists": False}, "Almaty", "AUDIENCE"),
        ({"between": [1, 5]}, 3, "ADMITTED"),
        ({"contains": "vip"}, ["new", "vip"], "ADMITTED"),
    ],
)
def test_an_audience_filters_by_traits(condition: Any, city: Any, answer: str) -> None:
    user = asked({"traits.city": condition})
    identify(user, "0s", city=city)
    assert opened(user, "1s") == answer


def test_a_trait_that_is_not_known_answers_false_even_under_ne() -> None:
    user = asked({"traits.city": {"ne": "Almaty"}})
    assert opened(user, "0s") == "AUDIENCE"
    assert not user.effects.unevaluated


def test_a_path_with_a_star_reaches_into_a_list_of_a_trait() -> None:
    user = asked({"traits.children.*.age": {"lt": 3}})
    identify(user, "0s", children=[{"age": 9}])
    assert opened(user, "1s") == "AUDIENCE"
    identify(user, "2s", children=[{"age": 9}, {"age": 2}])
    assert opened(user, "3s") == "ADMITTED"


def test_what_could_not_be_evaluated_refuses_and_is_counted() -> None:
    user = asked({"traits.age": {"gte": 18}})
    identify(user, "0s", age="34")
    assert opened(user, "1s") == "AUDIENCE"
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}
    denied = asked({"not": {"traits.age": {"gte": 18}}})
    identify(denied, "0s", age="34")
    assert opened(denied, "1s") == "AUDIENCE"


def test_the_audience_is_asked_at_admission_and_not_at_the_start() -> None:
    user = User(program_of({**CART, "audience": {"traits.plan": "free"}}))
    identify(user, "0s", plan="free")
    user.event("1s", "Added", id="a")
    identify(user, "1h", plan="pro")
    user.fire("3h")
    assert user.lines == ["2h1s cart a AUDIENCE"]


def test_the_audience_is_asked_right_after_state_and_rollout() -> None:
    nobody = {"traits.city": "nowhere"}
    for more, reason in (
        ({"state": "paused"}, "PAUSED"),
        ({"state": "shadow"}, "SHADOW"),
        ({"rollout": "0%"}, "NOT_ROLLED_OUT"),
        ({}, "AUDIENCE"),
    ):
        user = User(program_of({**HELLO, "audience": nobody, **more}), reachable=False)
        assert opened(user, "0s") == reason


# did


def test_did_counts_events_in_a_half_open_window() -> None:
    user = asked({"did": {"event": "Ordered", "within": "1h"}})
    assert opened(user, "0s") == "AUDIENCE"
    user.event("10m", "Ordered")
    assert opened(user, "20m") == "ADMITTED"
    assert opened(user, "69m59s999ms") == "ADMITTED"
    assert opened(user, "70m") == "AUDIENCE"


def test_did_may_ask_for_no_event_at_all() -> None:
    user = asked({"did": {"event": "Ordered", "within": "30d", "count": {"eq": 0}}})
    assert opened(user, "0s") == "ADMITTED"
    user.event("1m", "Ordered")
    assert opened(user, "2m") == "AUDIENCE"
    assert opened(user, "31d") == "ADMITTED"


def test_did_compares_the_event_with_its_where() -> None:
    where = {"properties.price": {"gte": 20}}
    user = asked({"did": {"event": "Ordered", "where": where, "count": {"gte": 2}}})
    for price in (5, 20, 30):
        user.event("0s", "Ordered", price=price)
        answer = opened(user, "1s")
    assert answer == "ADMITTED"
    assert answers(user) == ["AUDIENCE", "AUDIENCE", "ADMITTED"]


def test_a_list_of_did_asks_for_all_of_them() -> None:
    user = asked({"did": [{"event": "Viewed"}, {"event": "Ordered"}]})
    user.event("0s", "Viewed")
    assert opened(user, "1s") == "AUDIENCE"
    user.event("2s", "Ordered")
    assert opened(user, "3s") == "ADMITTED"


def test_a_trigger_on_the_same_event_sees_it_counted() -> None:
    user = asked({"did": {"event": "Opened", "count": {"eq": 2}}})
    assert [opened(user, at) for at in ("0s", "1s", "2s")] == ["AUDIENCE", "ADMITTED", "AUDIENCE"]


def test_a_message_sent_twice_counts_once() -> None:
    user = asked({"did": {"event": "Ordered", "count": {"gte": 2}}})
    user.event("0s", "Ordered", id="one")
    user.event("1m", "Ordered", id="one", timeless=True)
    assert opened(user, "2m") == "AUDIENCE"
    user.event("3m", "Ordered", id="two")
    assert opened(user, "4m") == "ADMITTED"


def test_an_event_that_could_not_be_evaluated_is_counted_for_the_triggers_that_ask() -> None:
    where = {"properties.price": {"gte": 20}}
    user = asked({"did": {"event": "Ordered", "where": where}})
    user.event("0s", "Ordered", price="34")
    assert user.effects.unevaluated == {("hello", Unevaluated.COULD_NOT_EVALUATE): 1}


# has, idle, groups of conditions

CART_FILE = {"relations": {"cart": {"add": "Added", "remove": "Removed", "item": "properties.sku"}}}


def test_has_counts_the_items_of_a_relation() -> None:
    user = asked({"has": {"cart": {"gte": 2}}}, files=CART_FILE)
    user.event("0s", "Added", sku="a")
    assert opened(user, "1s") == "AUDIENCE"
    user.event("2s", "Added", sku="b")
    assert opened(user, "3s") == "ADMITTED"
    user.event("4s", "Removed", sku="a")
    assert opened(user, "5s") == "AUDIENCE"


def test_idle_asks_how_long_there_was_no_activity() -> None:
    user = User(program_of({**CART, "wait": "10d", "audience": {"idle": "7d"}}))
    user.event("0s", "Added", id="a")
    user.fire("11d")
    assert [line.split()[-1] for line in user.lines] == ["ADMITTED"]
    active = User(user.program)
    active.event("0s", "Added", id="a")
    active.event("5d", "Viewed")
    active.fire("11d")
    assert [line.split()[-1] for line in active.lines] == ["AUDIENCE"]


def test_all_any_and_not_go_around_every_condition() -> None:
    user = asked(
        {
            "any": [{"traits.plan": "pro"}, {"did": {"event": "Ordered"}}],
            "not": {"has": {"cart": {"gte": 1}}},
        },
        files=CART_FILE,
    )
    assert opened(user, "0s") == "AUDIENCE"
    user.event("1s", "Ordered")
    assert opened(user, "2s") == "ADMITTED"
    user.event("3s", "Added", sku="a")
    assert opened(user, "4s") == "AUDIENCE"


def test_each_clause_reports_its_own_result() -> None:
    user = asked(
        {
            "traits.city": {"in": ["Almaty"]},
            "did": {"event": "Ordered", "within": "30d", "count": {"eq": 0}},
            "has": {"cart": {"gte": 1}},
        },
        files=CART_FILE,
    )
    identify(user, "0s", city="Astana")
    user.event("1s", "Ordered")
    user.event("2s", "Added", sku="a")
    audience = user.program.triggers["hello"].audience
    assert audience is not None
    found = [
        (clause.path, clause.operator, clause.operand, clause.value, clause.result)
        for clause in audience.explain(user.state, ms("3s"))
    ]
    assert found == [
        ("traits.city", "in", ["Almaty"], "Astana", False),
        ("did Ordered within 30d", "eq", 0, 1, False),
        ("has cart", "gte", 1, 1, True),
    ]


# what is wrong with an audience

NEAR = {
    "segments": {"loyal": {"traits.plan": "pro"}, "features": {"orders": {
        "compute": "count", "event": "Ordered"}}},
    "relations": CART_FILE["relations"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("audience", "said"),
    [
        ({}, "audience: an empty filter"),
        ([], "audience: a filter maps"),
        ({"properties.price": 1}, "audience.properties.price: 'properties.price' is about"),
        ({"segmnt": "loyal"}, "'segmnt' in an audience (did you mean 'segment'?)"),
        ({"trait.city": "x"}, "(did you mean 'traits.city'?)"),
        ({"segment": "loyla"}, "audience.segment: unknown segment 'loyla' (did you mean 'loyal'?)"),
        ({"segment": ["loyal", 3]}, "audience.segment.1: '3' is not a segment's name"),
        ({"has": {"crat": 1}}, "audience.has.crat: unknown relation 'crat' (did you mean 'cart'?)"),
        ({"features.order": 1}, "unknown feature 'order' (did you mean 'orders'?)"),
        ({"features.orders": {"gte": 1001}}, "'features.orders' counts up to 1,000"),
        ({"did": {"evnt": "x"}}, "audience.did.evnt: unknown field 'evnt' (did you mean 'event'?)"),
        ({"did": {"event": "x", "count": {"gte": 1001}}}, "did.count.gte: this is compared"),
        ({"did": {"event": "x", "count": {"prefix": "a"}}}, "not with `prefix`"),
        ({"did": [{"event": "x"}, 3]}, "audience.did.1: `did` needs an event"),
        ({"idle": 30}, "audience.idle: `idle` is a duration"),
        ({"idle": "30"}, "audience.idle: '30' has no unit"),
        ({"any": [{"idle": "x"}]}, "audience.any.0.idle: 'x' is not a duration"),
        ({"traits.x": "$start.properties.y"}, "audience.traits.x: `$start` is not known yet here"),
        ({"has": {"cart": {}}}, "audience.has.cart: a condition needs an operator"),
    ],
)  # fmt: skip
def test_a_wrong_audience_is_refused_where_it_is_wrong(audience: Any, said: str) -> None:
    with pytest.raises(DefinitionErrors) as refused:
        load_documents([{**HELLO, "audience": audience}], {}, NEAR)
    assert said in str(refused.value)


def test_the_default_count_of_did_is_written_out() -> None:
    loaded = load_documents([{**HELLO, "audience": {"not": {"did": {"event": "Ordered"}}}}])
    document = loaded.triggers["hello"].to_document()
    assert document["audience"] == {"not": {"did": {"count": {"gte": 1}, "event": "Ordered"}}}
    assert load_documents([document]).triggers["hello"] == loaded.triggers["hello"]


def test_a_program_without_audiences_notes_nothing() -> None:
    user = User(program_of(HELLO, files=NEAR))
    user.event("0s", "Ordered")
    user.event("0s", "Added", sku="a")
    assert not user.program.notes
    assert not user.state.features
    assert not user.state.relations
