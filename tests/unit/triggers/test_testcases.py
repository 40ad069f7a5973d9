"""The shape of tests: what is refused, and where."""

from typing import Any

import pytest

from tests.unit.triggers.documents import ABSENCE
from triggers.loader import load_workspace
from triggers.problems import Problem
from triggers.workspace import DefinitionErrors, parse_trigger

EVENT = {"at": "0m", "event": "Product Added"}


def problems_of(**test: Any) -> list[Problem]:
    document = {"name": "a", "events": [EVENT], "expect": [], **test}
    return parse_trigger({**ABSENCE, "tests": [document]})[1]


@pytest.mark.parametrize(
    ("test", "location", "message"),
    [
        ({"events": [{"event": "A"}]}, ("events", 0, "at"), "`at` is missing"),
        ({"events": [{"at": "0m"}]}, ("events", 0), "has `event`, or `type`"),
        (
            {"events": [{"at": "0m", "event": "A", "type": "identify"}]},
            ("events", 0, "type"),
            "has a type already",
        ),
        (
            {"events": [{"at": "0m", "type": "idntify"}]},
            ("events", 0, "type"),
            "did you mean 'identify'?",
        ),
        ({"events": [{"at": "soon", "event": "A"}]}, ("events", 0, "at"), "is not a duration"),
        ({"events": [{**EVENT, "propertes": {}}]}, ("events", 0, "propertes"), "'properties'?"),
        (
            {"events": [{"at": "2h", "event": "A"}, {"at": "1h", "event": "A"}]},
            ("events", 1, "at"),
            "this comes after 2h",
        ),
        (
            {"events": [{**EVENT, "occurred_at": "1h"}]},
            ("events", 0, "occurred_at"),
            "not later than `at`",
        ),
        (
            {"events": [{"at": "0m", "type": "alias"}]},
            ("events", 0),
            "`previous` and `type: alias`",
        ),
        (
            {"expect": [{"at": "1h", "outcome": "CANCELED"}]},
            ("expect", 0, "outcome"),
            "did you mean 'CANCELLED'?",
        ),
        (
            {"expect": [{"at": "1h", "outcome": "SUPPRESSED", "reason": "ACCEPTED"}]},
            ("expect", 0, "reason"),
            "unknown reason 'ACCEPTED'",
        ),
        (
            {"expect": [{"at": "1h", "outcome": "CANCELLED", "reason": "SPACING"}]},
            ("expect", 0, "reason"),
            "CANCELLED has none",
        ),
        (
            {"expect": [{"at": "1h", "outcome": "SUPPRESSED", "title": "T"}]},
            ("expect", 0, "title"),
            "what an ADMITTED message says",
        ),
        (
            {"expect": [{"at": "1h", "outcome": "ADMITTED", "trigger": "other"}]},
            ("expect", 0, "trigger"),
            "name it in `with`",
        ),
        (
            {"until": "1h", "expect": [{"at": "2h", "outcome": "ADMITTED"}]},
            ("expect", 0, "at"),
            "1h",
        ),
        ({"now": "2026-01-05T10:00:00"}, ("now",), "ISO 8601 with its offset"),
        ({"now": "9999-12-31T10:00:00Z"}, ("now",), "ISO 8601 with its offset"),
        (
            {"expect": [{"at": "1h", "outcome": "ADMITTED", "per": ["p1"]}]},
            ("expect", 0, "per"),
            "one text, number, true or false",
        ),
        ({"zone": "Asia Almaty"}, ("zone",), "IANA time zone"),
        ({"devices": ["iphone"]}, ("devices", 0), "one of android, ios"),
        ({"consent": {"all": "off"}}, ("consent", "all"), "one of in, out"),
        (
            {"consent": {"categories": {"news": "no"}}},
            ("consent", "categories", "news"),
            "one of in, out",
        ),
    ],
)
def test_a_wrong_test_is_refused_at_its_place(
    test: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    (problem,) = problems_of(**test)
    assert problem.location == ("tests", 0, *location)
    assert message in problem.message


def test_two_tests_of_a_trigger_have_different_names() -> None:
    case = {"name": "a", "events": [], "expect": []}
    _, (problem,) = parse_trigger({**ABSENCE, "tests": [case, case]})
    assert problem.location == ("tests", 1, "name")


def test_an_expected_list_is_never_left_out() -> None:
    _, (problem,) = parse_trigger({**ABSENCE, "tests": [{"name": "a", "events": []}]})
    assert problem == Problem(("tests", 0, "expect"), "`expect` is missing")


def test_only_what_the_author_said_of_a_test_is_stored() -> None:
    tests = [{"name": "a", "events": [{"at": "1h30m", "event": "A"}], "expect": []}]
    trigger, _ = parse_trigger({**ABSENCE, "tests": tests})
    assert trigger is not None
    assert trigger.to_document()["tests"] == tests


def test_errors_of_tests_name_line_and_column_of_the_file() -> None:
    text = (
        "id: cart\nwhen: {event: A}\ntests:\n"
        "  - name: a\n    with: [crat, dog]\n    zone: Mars/Base\n"
        "    events: [{at: 0m, evnt: A}]\n    expect: []\n"
    )
    files = {"triggers/a.yaml": text, "triggers/b.yaml": "id: dog\nwhen: {event: A}\n"}
    with pytest.raises(DefinitionErrors) as refused:
        load_workspace(files, zones={"UTC"})
    found = [str(error) for error in refused.value.errors]
    assert found == [
        "triggers/a.yaml:6:11: 'Mars/Base' is not an IANA time zone, such as Asia/Almaty",
        "triggers/a.yaml:7:23: unknown field 'evnt' (did you mean 'event'?)",
    ]
    fixed = text.replace("Mars/Base", "UTC").replace("evnt", "event")
    with pytest.raises(DefinitionErrors) as refused:
        load_workspace({**files, "triggers/a.yaml": fixed}, zones={"UTC"})
    (error,) = refused.value.errors
    assert str(error) == "triggers/a.yaml:5:12: unknown trigger 'crat' (did you mean 'cart'?)"
