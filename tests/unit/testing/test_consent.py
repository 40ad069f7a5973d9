"""`consent` of a test: what the user said before it begins."""

import pytest

from tests.unit.testing.playing import diff, verdict

OFFERS = "id: cart\nwhen: {event: Opened}\ncategory: offers\n"
ASKS = "default: {opt_in: {categories: [offers]}}\n"
OPENED = "{at: 1m, event: Opened}"


@pytest.mark.parametrize(
    ("fields", "policy", "how"),
    [
        ([], "default: {}\n", "ADMITTED"),
        (["consent: {all: out}"], "default: {}\n", "SUPPRESSED CONSENT"),
        (["consent: {channels: {push: out}}"], "default: {}\n", "SUPPRESSED CONSENT"),
        (["consent: {categories: {offers: out}}"], "default: {}\n", "SUPPRESSED CONSENT"),
        (["consent: {categories: {news: out}}"], "default: {}\n", "ADMITTED"),
        # Without the field the user has agreed to what needs it, as they have a device.
        ([], ASKS, "ADMITTED"),
        (["consent: {}"], ASKS, "SUPPRESSED CONSENT"),
        (["consent: {categories: {offers: in}}"], ASKS, "ADMITTED"),
    ],
)
def test_a_test_says_what_its_user_agreed_to(fields: list[str], policy: str, how: str) -> None:
    outcome, _, reason = how.partition(" ")
    expect = f"{{at: 1m, outcome: {outcome}" + (f", reason: {reason}}}" if reason else "}")
    found = verdict(OPENED, expect, *fields, trigger=OFFERS, policy=policy)
    assert found.passed, diff(found)


def test_an_event_of_the_test_may_undo_it() -> None:
    events = "{at: 0m, event: Subscribed, properties: {category: offers}}, {at: 1m, event: Opened}"
    expect = "{at: 1m, outcome: ADMITTED}"
    found = verdict(events, expect, "consent: {categories: {offers: out}}", trigger=OFFERS)
    assert found.passed, diff(found)


def test_who_refuses_profiling_starts_nothing_and_the_verdict_says_why() -> None:
    found = verdict(
        OPENED, "{at: 1m, outcome: ADMITTED}", "consent: {profiling: out}", trigger=OFFERS
    )
    assert not found.passed
    assert "1m Opened: CONSENT: the user refuses profiling, or agreed to it later" in found.why


def test_what_consent_cancels_may_be_expected_with_its_reason() -> None:
    cart = "id: cart\nwhen: {event: Added}\nunless: {event: Ordered}\nwait: 1h\n"
    events = "{at: 0m, event: Added}, {at: 1m, event: Ordered}"
    for reason, passes in ((", reason: CONSENT", False), ("", True)):
        expect = f"{{at: 1m, outcome: CANCELLED{reason}}}"
        assert verdict(events, expect, trigger=cart).passed is passes
