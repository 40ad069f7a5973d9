"""Explain tells changes of consent, what they forbid, and since when."""

from collections.abc import Iterable
from typing import Any

from engine.explain.offline import explain_events
from engine.explain.story import Story, story_json
from engine.explain.telling import story_lines
from schemas.events import Event
from schemas.records import PreferenceRecord, preference_event
from tests.unit.explain.test_story import _event
from tests.unit.triggers.user import CART, HELLO, ms, program_of

OFFERS = {**HELLO, "category": "offers"}


def prefers(at: str, **said: Any) -> tuple[int, Event]:
    return ms(at), preference_event(PreferenceRecord("u", f"p-{at}", ms(at), **said))


def happens(at: str, name: str, **properties: Any) -> tuple[int, Event]:
    return ms(at), _event(at, name, f"{name}-{at}", properties)


def story(documents: Iterable[dict[str, Any]], *events: tuple[int, Event], **policy: Any) -> Story:
    return explain_events(program_of(*documents, **policy), "u", events, {"u"})


def told(found: Story) -> str:
    return "\n".join(story_lines(found))


def test_a_refusal_is_told_with_its_time_and_what_it_forbids() -> None:
    found = story(
        [OFFERS],
        happens("1h", "Unsubscribed", category="offers"),
        happens("2h", "Opened"),
    )
    text = told(found)
    assert "`Unsubscribed` Unsubscribed-1h changes consent: category offers: out" in text
    assert "CONSENT: category offers refused since 01:00" in text
    (checks,) = (entry["checks"] for entry in story_json(found)["triggers"]["hello"]["entries"])
    (check,) = (check for check in checks if check["check"] == "consent")
    assert check["reason"] == "CONSENT"
    assert check["values"] == {
        "consent": "category offers",
        "since_at": "2025-01-06T01:00:00.000Z",
    }


def test_a_missing_agreement_is_told_as_that() -> None:
    found = story([OFFERS], happens("2h", "Opened"), opt_in={"categories": ["offers"]})
    assert "CONSENT: category offers not agreed to" in told(found)


def test_devices_without_permission_are_counted() -> None:
    found = story([OFFERS], happens("1h", "Push Disabled"), happens("2h", "Opened"))
    assert "changes consent: Push Disabled" in told(found)
    assert "NO_DEVICE: 1 known, 1 without permission" in told(found)


def test_refused_profiling_says_why_an_event_started_nothing() -> None:
    found = story(
        [CART],
        happens("1h", "Added"),
        prefers("90m", profiling="out"),
        happens("2h", "Added"),
    )
    text = told(found)
    assert "changes consent: profiling: out" in text
    assert "CANCELLED Added-1h by `preference` p-90m\n" in text
    assert "`Added` Added-2h: CONSENT: the user refuses profiling, or agreed to it later" in text


def test_the_story_goes_on_where_profiling_is_agreed_to_again() -> None:
    found = story(
        [CART],
        prefers("1h", profiling="out"),
        prefers("2h", profiling="in"),
        happens("3h", "Added"),
    )
    assert "ARMED by `Added` Added-3h: due 2025-01-06 05:00:00" in told(found)
