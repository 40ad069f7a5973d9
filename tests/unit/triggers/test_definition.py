"""Definitions: defaults, round trips, what fits together, what is not available yet."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.triggers.documents import ABSENCE, FULL, IDLE, IMMEDIATE, POLICY
from triggers.definition import Policy, TriggerDefinition
from triggers.model import UNAVAILABLE, problems_of
from triggers.patterns import EventWhen, IdleWhen
from triggers.problems import Problem


def problems_in(document: Any) -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        TriggerDefinition.model_validate(document)
    return problems_of(caught.value)


def only_problem(document: Any) -> Problem:
    problems = problems_in(document)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("document", [FULL, IMMEDIATE, ABSENCE, IDLE])
def test_a_definition_survives_its_document_form(document: dict[str, Any]) -> None:
    definition = TriggerDefinition.model_validate(document)
    stored = definition.to_document()
    again = TriggerDefinition.model_validate(stored)
    assert again == definition
    assert again.to_document() == stored


def test_the_document_form_of_a_full_definition_is_what_was_written() -> None:
    assert TriggerDefinition.model_validate(FULL).to_document() == FULL


def test_the_document_form_writes_every_default_out() -> None:
    stored = TriggerDefinition.model_validate(ABSENCE).to_document()
    assert stored["on_repeat"] == "restart"
    assert stored["state"] == "draft"
    assert (stored["class"], stored["priority"], stored["lane"]) == ("marketing", 50, "normal")
    assert (stored["per"], stored["policy"]) == ("user", "default")


def test_durations_are_milliseconds_and_one_event_is_a_list() -> None:
    definition = TriggerDefinition.model_validate(FULL)
    assert isinstance(definition.when, EventWhen)
    assert definition.when.events == ("Product Added",)
    assert definition.wait_ms == 7_200_000
    assert definition.restart_at_most_ms == 86_400_000
    assert definition.cooldown is not None
    assert (definition.cooldown.user_ms, definition.cooldown.per_ms) == (86_400_000, 1_209_600_000)
    assert definition.unless[1].events == ("Product Removed", "Cart Emptied")


def test_a_plain_cooldown_is_the_users_and_a_single_unless_is_a_list() -> None:
    definition = TriggerDefinition.model_validate({**ABSENCE, "cooldown": "1d"})
    assert definition.cooldown is not None
    assert (definition.cooldown.user_ms, definition.cooldown.per_ms) == (86_400_000, None)
    assert [clause.events for clause in definition.unless] == [("Order Completed",)]
    assert definition.waits


def test_idle_is_a_pattern_of_its_own() -> None:
    definition = TriggerDefinition.model_validate(IDLE)
    assert isinstance(definition.when, IdleWhen)
    assert definition.when.idle_ms == 604_800_000
    assert not definition.waits
    assert definition.on_repeat is None


@pytest.mark.parametrize(
    ("fields", "expires_ms"),
    [
        ({}, 3_600_000),
        ({"wait": "10m"}, 600_000),
        ({"expires": "5m"}, 300_000),
    ],
)
def test_a_message_expires_after_half_the_wait_but_ten_minutes_at_least(
    fields: dict[str, Any], expires_ms: int
) -> None:
    definition = TriggerDefinition.model_validate({**ABSENCE, **fields})
    assert definition.expires_after_ms(definition.wait_ms or 0) == expires_ms


def test_an_immediate_message_expires_after_ten_minutes() -> None:
    assert TriggerDefinition.model_validate(IMMEDIATE).expires_after_ms(0) == 600_000


def test_a_definition_cannot_be_changed() -> None:
    definition = TriggerDefinition.model_validate(IMMEDIATE)
    with pytest.raises(ValidationError):
        definition.state = "live"


TEXT = {"push": {"title": "t", "body": "b"}}
SEVEN = {"after": "7d", "message": "m7"}
SERIES = {**IMMEDIATE, "series": [SEVEN], "messages": {"m7": TEXT}}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


@pytest.mark.parametrize(
    ("document", "location", "message"),
    [
        (without(ABSENCE, "wait"), ("unless",), "`unless` needs `wait`"),
        ({**IMMEDIATE, "on_repeat": "keep"}, ("on_repeat",), "goes with `wait` or `series`"),
        ({**SERIES, "wait": "2h"}, ("wait",), "no `wait` beside it"),
        (
            {**SERIES, "series": [SEVEN, {"after": "9d", "message": "m77"}]},
            ("series", 1, "message"),
            "did you mean 'm7'?",
        ),
        ({**SERIES, "series": [SEVEN, SEVEN]}, ("series", 1, "after"), "later than the one before"),
        ({**SERIES, "messages": {"m7": TEXT, "m8": TEXT}}, ("messages", "m8"), "no step"),
        ({**SERIES, "message": TEXT}, ("message",), "stand in `messages`"),
        ({**SERIES, "bundle": {"window": "1h"}}, ("bundle",), "one message of many"),
        ({**IMMEDIATE, "restart_at_most": "1d"}, ("restart_at_most",), "goes with `wait` only"),
        ({**ABSENCE, "restart_at_most": "1h"}, ("restart_at_most",), "at least `wait`, 2h"),
        (
            {**ABSENCE, "on_repeat": "keep", "restart_at_most": "1d"},
            ("restart_at_most",),
            "needs `on_repeat: restart`",
        ),
        ({**IDLE, "per": "event"}, ("per",), "no `per`"),
        ({**IDLE, "unless": {"event": "A"}}, ("unless",), "no `unless`"),
        ({**IDLE, "wait": "1h"}, ("wait",), "no `wait`"),
        ({**ABSENCE, "cooldown": {"per": "1d"}}, ("cooldown", "per"), "needs a path in `per`"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused_at_the_field(
    document: dict[str, Any], location: tuple[str, ...], message: str
) -> None:
    problem = only_problem(document)
    assert problem.location == location
    assert message in problem.message


@pytest.mark.parametrize(
    ("fields", "location", "message"),
    [
        ({"id": "A b"}, ("id",), "is not an id"),
        ({"id": "-a"}, ("id",), "is not an id"),
        ({"id": "a" * 65}, ("id",), "is not an id"),
        ({"id": 7}, ("id",), "must be text"),
        ({"name": ""}, ("name",), "must not be empty"),
        ({"name": "n" * 201}, ("name",), "at most 200"),
        ({"state": "lve"}, ("state",), "did you mean 'live'"),
        ({"class": "promo"}, ("class",), "one of transactional, marketing"),
        ({"category": "A b"}, ("category",), "a category is"),
        ({"priority": 101}, ("priority",), "at most 100"),
        ({"priority": -1}, ("priority",), "at least 0"),
        ({"priority": True}, ("priority",), "whole number"),
        ({"priority": "5"}, ("priority",), "whole number"),
        ({"priority": 5.5}, ("priority",), "whole number"),
        ({"wait": 7200}, ("wait",), "is text with a unit"),
        ({"wait": "500ms"}, ("wait",), "at least 1s"),
        ({"wait": None}, ("wait",), "`wait` is empty"),
        ({"per": "usr"}, ("per",), "did you mean 'user'"),
        ({"per": "properties.products.*.id"}, ("per",), "must lead to one value"),
        ({"unless": []}, ("unless",), "must not be empty"),
        ({"unless": ["A"]}, ("unless", 0), "must be a mapping"),
        ({"unless": {"event": "A", "wher": {}}}, ("unless", 0, "wher"), "did you mean 'where'"),
        ({"when": {"event": []}}, ("when", "event"), "must not be empty"),
        ({"when": {"event": ["A", "A"]}}, ("when", "event"), "'A' stands here twice"),
        ({"when": {"event": ["A", 1]}}, ("when", "event", 1), "must be text"),
        ({"when": {"event": "A" * 257}}, ("when", "event", 0), "at most 256"),
        ({"when": {"event": "A", "where": {}}}, ("when", "where"), "empty filter"),
        (
            {"when": {"event": "A", "where": {"properties.x": "$start.properties.x"}}},
            ("when", "where", "properties.x"),
            "not known yet here",
        ),
        ({"when": {"evnt": "A"}}, ("when",), "found `evnt` (did you mean 'event'?)"),
        ({"when": {}}, ("when",), "found nothing"),
        ({"when": "A"}, ("when",), "is a mapping"),
        ({"when": {"event": "A", "idle": "7d"}}, ("when",), "found `event`, `idle`"),
        ({"cooldown": {}}, ("cooldown",), "is a duration or"),
        ({"goal": {"within": "7d"}}, ("goal", "event"), "is missing"),
        ({"goal": {"event": "A", "value": "revenue"}}, ("goal", "value"), "properties.revenue"),
        ({"message": {}}, ("message", "push"), "is missing"),
        ({"message": {"push": {"title": "T"}}}, ("message", "push", "body"), "is missing"),
        (
            {"message": {"push": {"title": {"EN": "T"}, "body": "B"}}},
            ("message", "push", "title", "EN"),
            "is not a locale",
        ),
        (
            {"message": {"push": {"title": "я" * 2049, "body": "B"}}},
            ("message", "push", "title"),
            "1 to 4096 bytes",
        ),
        ({"tests": [1]}, ("tests", 0), "must be a mapping of fields"),
        ({"witout": 1}, ("witout",), "unknown field 'witout'"),
        ({"untl": 1, "wait": "2h"}, ("untl",), "unknown field 'untl'"),
    ],
)
def test_a_wrong_field_is_refused_at_its_place(
    fields: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    problem = only_problem({**ABSENCE, **fields})
    assert problem.location == location
    assert message in problem.message


def test_a_duration_for_idle_is_a_second_at_least() -> None:
    assert "at least 1s" in only_problem({"id": "a", "when": {"idle": "500ms"}}).message


@pytest.mark.parametrize("name", sorted(UNAVAILABLE["trigger"]))
def test_a_trigger_field_of_a_later_version_says_so(name: str) -> None:
    problem = only_problem({**ABSENCE, name: {"any": "thing"}})
    assert problem == Problem((name,), f"`{name}` is not available in this version", at_key=True)


@pytest.mark.parametrize("name", sorted(UNAVAILABLE["message"]))
def test_a_channel_of_a_later_version_says_so(name: str) -> None:
    message = {"push": {"title": "T", "body": "B"}, name: {}}
    problem = only_problem({**IMMEDIATE, "message": message})
    assert problem.message == f"`{name}` is not available in this version"


def test_all_problems_of_a_definition_are_reported_together() -> None:
    document = {
        **FULL,
        "state": "on",
        "wait": "2 hours",
        "rotate": "5%",
        "when": {"event": 1, "where": {"price": {"gtt": 1}}},
        "message": {"push": {"title": 1}},
    }
    assert {problem.location for problem in problems_in(document)} == {
        ("state",),
        ("wait",),
        ("rotate",),
        ("when", "event", 0),
        ("when", "where", "price"),
        ("when", "where", "price", "gtt"),
        ("message", "push", "title"),
        ("message", "push", "body"),
    }


def test_braces_in_a_value_do_not_disturb_its_message() -> None:
    assert "not '{ge} {x}'" in only_problem({**ABSENCE, "lane": "{ge} {x}"}).message


def test_a_policy_survives_its_document_form() -> None:
    policy = Policy.model_validate(POLICY)
    assert policy.to_document() == POLICY
    assert Policy.model_validate(policy.to_document()) == policy
    assert (policy.spacing_ms, policy.cooldown_ms) == (7_200_000, 86_400_000)
    assert policy.grace_ms == 30_000
    assert (policy.caps[0].max_count, policy.caps[0].per_ms) == (3, 604_800_000)


def test_an_empty_policy_limits_nothing() -> None:
    policy = Policy.model_validate({})
    assert (policy.spacing_ms, policy.cooldown_ms, policy.caps) == (0, 0, ())
    assert policy.grace_ms is None
    assert Policy.model_validate(policy.to_document()) == policy


@pytest.mark.parametrize(
    ("fields", "location", "message"),
    [
        ({"quiet": ["22:00", "22:00"]}, ("quiet", 0), "begins and ends at the same time"),
        ({"settle": "2h"}, ("settle",), "at most 1h"),
        ({"global_control": {"size": 10}}, ("global_control", "size"), "in percent"),
        (
            {"global_control": {"size": "1%"}},
            ("global_control", "rotate"),
            "`rotate` is at most `size`, 1%",
        ),
        ({"worth": {"goal": -1}}, ("worth", "goal"), "a number from 0"),
        ({"worth": {"goal": 0, "unsubscribe": 0}}, ("worth",), "is more than 0"),
        ({"spacng": "1h"}, ("spacng",), "did you mean 'spacing'"),
        ({"caps": [{"max": 0, "per": "1d"}]}, ("caps", 0, "max"), "at least 1"),
        ({"caps": [{"max": 101, "per": "1d"}]}, ("caps", 0, "max"), "at most 100"),
        ({"caps": [{"max": 1, "per": "0s"}]}, ("caps", 0, "per"), "at least 1s"),
        ({"caps": [{"max": 1}]}, ("caps", 0), "`per` (such as 7d) or `calendar`"),
        (
            {"caps": [{"max": 1, "per": "1d", "calendar": "day"}]},
            ("caps", 0),
            "`per` (such as 7d) or `calendar`",
        ),
        ({"caps": [{"max": 1, "calendar": "year"}]}, ("caps", 0, "calendar"), "day, week, month"),
        (
            {"caps": [{"max": 1, "per": "1d", "channel": "email"}]},
            ("caps", 0, "channel"),
            "`email` is not available in this version",
        ),
        (
            {"caps": [{"max": 1, "per": "1d", "channel": "psh"}]},
            ("caps", 0, "channel"),
            "did you mean 'push'",
        ),
        (
            {"caps": [{"max": 1, "per": "24h"}, {"max": 2, "per": "1d"}]},
            ("caps",),
            "the same window, channel and category",
        ),
        ({"zone": "nowhere land"}, ("zone",), "not an IANA time zone"),
        ({"text": {"over": "shout"}}, ("text", "over"), "is one of warn"),
    ],
)
def test_a_wrong_policy_is_refused_at_its_place(
    fields: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate(fields)
    (problem,) = problems_of(caught.value)
    assert problem.location == location
    assert message in problem.message
