"""What a test of a trigger means: virtual time, exact outcomes, the core that decides live."""

import pytest

from engine.testing.cases import cases_of
from engine.testing.run import run_case
from tests.unit.testing.playing import CART, cases, diff, verdict
from triggers.loader import load_workspace
from triggers.workspace import DefinitionErrors

ADDED = "{at: 0m, event: Added, properties: {price: 50, id: p1, name: Boots}}"
SAYS = (
    CART + 'message: {push: {title: {en: Hi, ru: Привет}, body: "{{ start.properties.name }}"}}\n'
)
AT_ONCE = "id: cart\nwhen: {event: Added}\n"


def test_an_absence_fires_exactly_after_its_wait_without_grace() -> None:
    assert verdict(ADDED, "{at: 2h, outcome: ADMITTED}").passed


def test_a_cancel_at_the_very_deadline_still_cancels() -> None:
    events = f"{ADDED}, {{at: 2h, event: Ordered}}"
    assert verdict(events, "{at: 2h, outcome: CANCELLED}").passed


def test_an_outcome_nobody_expected_fails() -> None:
    events = f"{ADDED}, {{at: 3h, event: Added, properties: {{price: 50}}}}"
    found = verdict(events, "{at: 2h, outcome: ADMITTED}")
    assert not found.passed
    assert diff(found) == ["2h ADMITTED", "+ 5h ADMITTED"]


def test_a_missing_outcome_and_a_wrong_time_fail_as_a_diff() -> None:
    found = verdict(ADDED, "{at: 1h, outcome: ADMITTED}")
    assert not found.passed
    assert diff(found) == ["- 1h ADMITTED", "+ 2h ADMITTED"]


def test_an_empty_expectation_fails_when_nothing_was_ever_started() -> None:
    cheap = "{at: 0m, event: Added, properties: {price: 18}}"
    found = verdict(cheap, "")
    assert not found.passed
    assert found.problem is not None
    assert "nothing ever started cart" in found.problem
    assert found.why == ("0s Added: when: properties.price is 18, not gte 20",)


def test_an_empty_expectation_holds_when_the_trigger_waits_until_the_end() -> None:
    assert verdict(ADDED, "", "until: 1h59m59s").passed
    assert diff(verdict(ADDED, "", "until: 2h")) == ["+ 2h ADMITTED"]


def test_an_idle_trigger_is_started_by_any_activity_and_exact_to_the_millisecond() -> None:
    idle = "id: cart\nwhen: {idle: 7d}\n"
    seen = "{at: 90m, event: Looked}"
    assert verdict(seen, "{at: 7d1h30m, outcome: ADMITTED}", trigger=idle).passed
    assert verdict(seen, "", "until: 7d", trigger=idle).passed
    assert not verdict("", "", trigger=idle).passed


def test_what_is_known_of_a_user_before_the_test_is_no_activity() -> None:
    idle = "id: cart\nwhen: {idle: 7d}\n"
    fields = "traits: {city: Almaty}"
    late = "{at: 10d, event: Looked}"
    assert verdict(late, "{at: 17d, outcome: ADMITTED}", fields, trigger=idle).passed


def test_draft_and_paused_triggers_are_tested_as_if_they_were_live() -> None:
    for state in ("draft", "shadow", "paused"):
        trigger = CART + f"state: {state}\n"
        assert verdict(ADDED, "{at: 2h, outcome: ADMITTED}", trigger=trigger).passed


def test_a_user_without_devices_is_not_reached() -> None:
    expected = "{at: 2h, outcome: SUPPRESSED, reason: NO_DEVICE}"
    assert verdict(ADDED, expected, "devices: []").passed


def test_a_reason_that_is_left_out_may_be_any_and_a_wrong_one_fails() -> None:
    assert verdict(ADDED, "{at: 2h, outcome: SUPPRESSED}", "devices: []").passed
    found = verdict(ADDED, "{at: 2h, outcome: SUPPRESSED, reason: COOLDOWN}", "devices: []")
    assert diff(found) == ["- 2h SUPPRESSED COOLDOWN", "+ 2h SUPPRESSED NO_DEVICE"]


def test_texts_are_rendered_in_the_language_of_the_user() -> None:
    russian = ADDED.replace("properties", "context: {locale: ru-KZ}, properties")
    expected = "{at: 2h, outcome: ADMITTED, title: Привет, body: Boots}"
    assert verdict(russian, expected, trigger=SAYS).passed
    found = verdict(ADDED, "{at: 2h, outcome: ADMITTED, body: Shoes}", trigger=SAYS)
    assert diff(found) == ['- 2h ADMITTED, body "Shoes"', '+ 2h ADMITTED, title "Hi", body "Boots"']


def test_a_link_is_expected_as_it_is_rendered_with_where_it_comes_from() -> None:
    trigger = AT_ONCE + (
        'message: {link: "app://p/{{ start.properties.id }}", push: {title: Hi, body: b}}\n'
        "utm: {}\n"
    )
    link = "app://p/p1?utm_source=tripline&utm_medium=push&utm_campaign=cart"
    assert verdict(ADDED, f"{{at: 0m, outcome: ADMITTED, link: '{link}'}}", trigger=trigger).passed
    found = verdict(ADDED, "{at: 0m, outcome: ADMITTED, link: 'app://p/p2'}", trigger=trigger)
    assert diff(found) == [
        '- 0s ADMITTED, link "app://p/p2"',
        f'+ 0s ADMITTED, link "{link}"',
    ]


def test_amounts_and_times_are_written_for_the_user_where_they_are() -> None:
    body = "{{ start.properties.price | money: 'EUR' }} until {{ start.properties.ends | time }}"
    trigger = AT_ONCE + f'message: {{push: {{title: {{en: Hi, ru: "Привет"}}, body: "{body}"}}}}\n'
    ends = "properties: {price: 19.5, ends: '2026-01-05T20:30:00Z'}"

    def passes(context: str, text: str, *more: str) -> bool:
        event = f"{{at: 0m, event: Added, {context}{ends}}}"
        expected = f'{{at: 0m, outcome: ADMITTED, body: "{text}"}}'
        return verdict(event, expected, *more, trigger=trigger).passed

    assert passes("", "€19.50 until 8:30\u202fPM")
    assert passes("context: {locale: de-DE}, ", "19,50\xa0€ until 21:30", "zone: Europe/Berlin")
    told = "context: {locale: ru-KZ, timezone: Asia/Almaty}, "
    assert passes(told, "19,50\xa0€ until 01:30")


def test_a_text_that_fails_to_render_fails_the_test() -> None:
    nameless = "{at: 0m, event: Added, properties: {price: 50}}"
    found = verdict(nameless, "{at: 2h, outcome: ADMITTED}", trigger=SAYS)
    assert not found.passed
    assert "the text fails: start.properties is undefined" in diff(found)[1]


def test_a_text_that_aborts_is_expected_with_its_reason_and_gives_back_what_it_took() -> None:
    body = "{% if event.properties.left == 0 %}{% abort_message %}{% endif %}{{ trigger.id }}"
    trigger = AT_ONCE + f"cooldown: 1d\nmessage: {{push: {{title: Hi, body: '{body}'}}}}\n"
    none = "{at: 0m, event: Added, properties: {left: 0}}"
    some = "{at: 1h, event: Added, properties: {left: 3}}"
    sent = "{at: 1h, outcome: ADMITTED, body: cart}"
    aborted = "{at: 0m, outcome: ADMITTED, reason: TEMPLATE_ABORT}"
    assert verdict(f"{none}, {some}", f"{aborted}, {sent}", trigger=trigger).passed
    found = verdict(none, "{at: 0m, outcome: ADMITTED}", trigger=trigger)
    assert diff(found) == ["- 0s ADMITTED", "+ 0s ADMITTED TEMPLATE_ABORT"]
    assert not verdict(
        some, "{at: 1h, outcome: ADMITTED, reason: TEMPLATE_ABORT}", trigger=trigger
    ).passed


@pytest.mark.parametrize("value", ["p1", "7", "7.0", "true"])
def test_per_is_the_value_at_its_path(value: str) -> None:
    trigger = CART + "per: properties.id\n"
    quoted = f"{{at: 0m, event: Added, properties: {{price: 50, id: {value}}}}}"
    assert verdict(quoted, f"{{at: 2h, outcome: ADMITTED, per: {value}}}", trigger=trigger).passed
    found = verdict(quoted, "{at: 2h, outcome: ADMITTED, per: other}", trigger=trigger)
    assert not found.passed


def test_several_users_do_not_meet_and_their_outcomes_are_in_order_of_time() -> None:
    ann = ADDED.replace("event:", "user: ann, event:")
    bob = ADDED.replace("at: 0m, event:", "at: 1h, anonymous: bob, event:")
    both = "{at: 2h, outcome: ADMITTED, user: ann}, {at: 3h, outcome: ADMITTED, user: bob}"
    assert verdict(f"{ann}, {bob}", both).passed
    swapped = both.replace("ann", "x").replace("bob", "ann").replace("x", "bob")
    assert not verdict(f"{ann}, {bob}", swapped).passed


def test_partners_share_the_policy_and_are_compared_only_when_they_are_expected() -> None:
    others = {
        "other": "id: other\nwhen: {event: Looked}\n",
        "policy": "default: {spacing: 1h}\n",
        "trigger": AT_ONCE,
    }
    events = "{at: 0m, event: Looked}, {at: 10m, event: Added}"
    suppressed = "{at: 10m, outcome: SUPPRESSED, reason: SPACING}"
    partner = "{at: 0s, outcome: ADMITTED, trigger: other}"
    assert verdict(events, "{at: 10m, outcome: ADMITTED}", **others).passed
    assert verdict(events, suppressed, "with: [other]", **others).passed
    assert verdict(events, f"{partner}, {suppressed}", "with: [other]", **others).passed
    twice = f"{{at: 0m, event: Looked}}, {events}"
    found = verdict(twice, f"{partner}, {suppressed}", "with: [other]", **others)
    assert diff(found)[1] == "+ 0s SUPPRESSED LOWER_PRIORITY, of other"


def test_a_late_message_has_the_client_time_it_says() -> None:
    late = ADDED.replace("at: 0m", "at: 30m, occurred_at: 10m")
    assert verdict(late, "{at: 2h10m, outcome: ADMITTED}").passed


def test_a_page_is_named_as_triggers_name_it() -> None:
    trigger = 'id: cart\nwhen: {event: "Page: Home", where: {properties.name: Home, type: page}}\n'
    found = verdict('{at: 1m, event: "Page: Home"}', "{at: 1m, outcome: ADMITTED}", trigger=trigger)
    assert found.passed


def test_the_zone_and_the_moment_are_those_of_the_test() -> None:
    trigger = "id: cart\nwhen: {event: Added, where: {context.timezone: Asia/Almaty}}\n"
    added, admitted = "{at: 1m, event: Added}", "{at: 1m, outcome: ADMITTED}"
    assert verdict(added, admitted, "zone: Asia/Almaty", trigger=trigger).passed
    assert not verdict(added, admitted, trigger=trigger).passed
    (case,) = cases("- {name: a, now: 2026-03-01T00:00:00+05:00, events: [], expect: []}")
    assert case.test.now_ms == 1_772_305_200_000


def test_a_misspelt_event_a_missing_per_and_a_failing_unless_are_explained() -> None:
    trigger = CART + "per: properties.id\n"
    events = (
        f"{ADDED}, {{at: 1m, event: Ordred}}, {{at: 2m, event: Removed, properties: {{id: p2}}}},"
        " {at: 3m, event: Added, properties: {price: 30}},"
        " {at: 4m, event: Added, properties: {price: cheap, id: p2}}"
    )
    found = verdict(events, "", trigger=trigger)
    assert found.why == (
        "1m Ordred: cart does not name it (did you mean 'Ordered'?)",
        "2m Removed: unless[1] did not cancel: properties.id is 'p2', not eq $start.properties.id"
        " ('p1')",
        "3m Added: PER_MISSING: it has no value at the trigger's `per`",
        "4m Added: when: properties.price is 'cheap': cannot be compared (gte 20)",
    )


def test_an_event_outside_the_active_days_starts_nothing_and_says_so() -> None:
    trigger = CART + "active: {from: 2026-02-01}\n"
    found = verdict(ADDED, "{at: 2h, outcome: ADMITTED}", trigger=trigger)
    said = ("0s Added: NOT_ACTIVE: it happens outside the days of `active` (see `now`)",)
    assert found.why == said
    assert verdict(
        ADDED, "{at: 2h, outcome: ADMITTED}", "now: 2026-02-01T10:00:00Z", trigger=trigger
    ).passed
    nothing = verdict(ADDED, "", trigger=trigger)
    assert not nothing.passed
    assert nothing.why == said


@pytest.mark.parametrize(
    ("given", "trigger"),
    [
        ("{at: 0m, event: Added, properties: {price: 50}}", "per: properties.id\n"),
        ("{at: 25h, occurred_at: 0m, event: Added, properties: {price: 50}}", ""),
    ],
)
def test_an_event_that_is_not_evaluated_has_started_nothing(given: str, trigger: str) -> None:
    found = verdict(given, "", trigger=CART + trigger)
    assert found.problem is not None
    assert "nothing ever started cart" in found.problem


def test_a_pattern_that_is_not_complete_tells_what_it_has_seen() -> None:
    trigger = "id: cart\nwhen: {event: Looked, count: 3, within: 1h}\n"
    looks = "{at: 0m, event: Looked}, {at: 5m, event: Looked}"
    found = verdict(looks, "{at: 5m, outcome: ADMITTED}", trigger=trigger)
    said = "Looked: it matches `when`, but the pattern is not complete"
    assert found.why == (f"0s {said}", f"5m {said}")
    third = f"{looks}, {{at: 59m, event: Looked}}"
    assert verdict(third, "{at: 59m, outcome: ADMITTED}", trigger=trigger).passed
    assert verdict(looks, "", trigger=trigger).passed


def test_tests_of_one_trigger_do_not_hear_of_each_other() -> None:
    text = "\n".join(
        f"- {{name: n{number}, events: [{ADDED}], expect: [{{at: 2h, outcome: ADMITTED}}]}}"
        for number in range(3)
    )
    trigger = CART + "cooldown: 7d\n"
    assert [run_case(case).passed for case in cases(text, trigger)] == [True] * 3


SERIES = """\
id: cart
when: {event: Added}
series: [{after: 1h, message: soon}, {after: 1d, message: late}]
messages:
  soon: {push: {title: Soon, body: "{{ start.properties.name }}"}}
  late: {push: {title: Late, body: B}}
"""
BUNDLE = """\
id: cart
when: {event: Added}
per: properties.id
bundle: {window: 1h, max: 10}
message:
  push:
    title: T
    body: "{% for item in items %}{{ item.start.properties.name }};{% endfor %}"
"""


def test_every_message_of_a_series_has_its_own_text() -> None:
    expect = (
        "{at: 1h, outcome: ADMITTED, title: Soon, body: Boots},"
        " {at: 1d, outcome: ADMITTED, title: Late}"
    )
    assert verdict(ADDED, expect, trigger=SERIES).passed


def test_a_bundle_is_one_message_with_the_names_of_all() -> None:
    second = "{at: 10m, event: Added, properties: {id: p2, name: Scarf}}"
    expect = (
        "{at: 1h, outcome: ADMITTED, body: 'Boots;Scarf;'}, {at: 1h, outcome: BUNDLED, per: p2}"
    )
    found = verdict(f"{ADDED}, {second}", expect, trigger=BUNDLE)
    assert sorted(diff(found)) == ["1h ADMITTED, per p1", "1h BUNDLED, per p2"]


def test_what_a_guest_began_goes_on_when_they_identify() -> None:
    guest = ADDED.replace("event:", "anonymous: a1, event:")
    known = "{at: 30m, type: identify, user: ann, anonymous: a1}"
    admitted = "{at: 2h, outcome: ADMITTED, user: ann}"
    assert verdict(f"{guest}, {known}", admitted).passed
    ordered = "{at: 1h, event: Ordered, user: ann}"
    cancelled = "{at: 1h, outcome: CANCELLED, user: ann}"
    assert verdict(f"{guest}, {known}, {ordered}", cancelled).passed
    as_guest = ordered.replace("user: ann", "anonymous: a1")
    assert verdict(f"{guest}, {known}, {as_guest}", cancelled).passed


def test_a_signal_starts_what_waits_for_it_and_is_no_activity() -> None:
    risk = "id: cart\nwhen: {signal: risk, where: {properties.score: {gte: 0.8}}}\n"
    high = "{at: 1h, signal: risk, properties: {score: 0.9}}"
    low = "{at: 0h, signal: risk, properties: {score: 0.1}}"
    assert verdict(f"{low}, {high}", "{at: 1h, outcome: ADMITTED}", trigger=risk).passed
    assert verdict(low, "", trigger=risk).why == (
        "0s signal: when: properties.score is 0.1, not gte 0.8",
    )
    idle = "id: cart\nwhen: {idle: 7d}\n"
    seen = "{at: 0h, event: Looked}"
    assert verdict(f"{seen}, {high}", "{at: 7d, outcome: ADMITTED}", trigger=idle).passed


def test_what_waits_for_an_accepted_message_hears_of_it_at_once() -> None:
    files = {
        "triggers/first.yaml": "id: first\nwhen: {event: Added}\n",
        "triggers/then.yaml": "id: then\nwhen: {outcome: accepted, trigger: first}\nwait: 2h\n"
        "unless: {event: Opened}\ntests:\n"
        "- {name: fires, with: [first], events: [{at: 0s, event: Added}],"
        " expect: [{at: 2h, outcome: ADMITTED}]}\n"
        "- {name: cancels, with: [first], events: [{at: 0s, event: Added},"
        " {at: 1h, event: Opened}], expect: [{at: 1h, outcome: CANCELLED}]}\n",
    }
    found = [run_case(case) for case in cases_of(load_workspace(files))]
    assert [one.passed for one in found] == [True, True]


def test_each_of_two_messages_of_one_event_is_heard_of_though_the_first_is_answered_at_once() -> (
    None
):
    at_once = "class: transactional\nwhen: {event: Added}\n"
    files = {
        "triggers/one.yaml": f"id: one\npriority: 60\n{at_once}",
        "triggers/two.yaml": f"id: two\n{at_once}",
        "triggers/thanks.yaml": "id: thanks\nclass: transactional\n"
        "when: {outcome: accepted, trigger: one}\n",
        "triggers/then.yaml": "id: then\nclass: transactional\n"
        "when: {outcome: accepted, trigger: two}\ntests:\n"
        "- {name: fires, with: [one, two, thanks], events: [{at: 0s, event: Added}],"
        " expect: [{at: 1ms, outcome: ADMITTED}]}\n",
    }
    (found,) = [run_case(case) for case in cases_of(load_workspace(files))]
    assert found.passed, found


def test_a_cancel_at_the_deadline_wins_though_a_message_of_that_moment_is_answered() -> None:
    files = {
        "triggers/one.yaml": "id: one\nwhen: {event: Seen}\n",
        "triggers/thanks.yaml": "id: thanks\nwhen: {outcome: accepted, trigger: one}\n",
        "triggers/cart.yaml": "id: cart\nwhen: {event: Added}\nunless: {event: Ordered}\n"
        "wait: 1h\ntests:\n- {name: cancels, with: [one, thanks], events: [{at: 0s, event: Added},"
        " {at: 1h, event: Seen}, {at: 1h, event: Ordered}],"
        " expect: [{at: 1h, outcome: CANCELLED}]}\n",
    }
    (found,) = [run_case(case) for case in cases_of(load_workspace(files))]
    assert found.passed, found


@pytest.mark.parametrize(
    ("waits", "told", "at"), [("", "1h", "3600001ms"), ("wait: 30m\n", "20m", "3000001ms")]
)
def test_what_an_identify_leads_to_is_accepted_before_the_profiles_are_one(
    waits: str, told: str, at: str
) -> None:
    """Else the guest's message would be too near to the second one, which a backtest admits."""
    files = {
        "policy.yaml": "default: {spacing: 2h, grace: 0s}\n",
        "triggers/look.yaml": "id: look\nwhen: {event: Seen}\n",
        "triggers/hello.yaml": "id: hello\nclass: transactional\n"
        "when: {trait: plan, from: free, to: pro}\n" + waits,
        "triggers/second.yaml": "id: second\nwhen: {outcome: accepted, trigger: hello}\ntests:\n"
        "- {name: fires, with: [look, hello], traits: {plan: free}, events: [\n"
        "  {at: 0s, event: Seen, anonymous: eve},\n"
        f"  {{at: 1h, occurred_at: {told}, type: identify, user: ann, anonymous: eve,"
        " traits: {plan: pro}}],\n"
        f"  expect: [{{at: {at}, user: ann, outcome: ADMITTED}}]}}\n",
    }
    (found,) = [run_case(case) for case in cases_of(load_workspace(files))]
    assert found.passed, found.lines


def test_what_follows_every_message_of_one_event_has_the_same_turn() -> None:
    at_once = "class: transactional\nwhen: "
    chain = (("third", "second"), ("fourth", "third"), ("other", "first"))
    files = {
        f"triggers/{name}.yaml": f"id: {name}\n{at_once}{{outcome: accepted, trigger: {before}}}\n"
        for name, before in chain
    }
    files |= {
        "triggers/first.yaml": f"id: first\n{at_once}{{event: Added}}\n",
        "triggers/second.yaml": f"id: second\npriority: 60\n{at_once}{{event: Added}}\n",
    }
    files["triggers/other.yaml"] += (
        "tests:\n- {name: fires, with: [first, second, third, fourth], events: [{at: 0s,"
        " event: Added}], expect: [{at: 1ms, outcome: ADMITTED}]}\n"
    )
    (found,) = [run_case(case) for case in cases_of(load_workspace(files))]
    assert found.passed, found.lines


def test_what_a_late_start_made_due_is_decided_before_a_message_is_answered() -> None:
    files = {
        "policy.yaml": "default: {spacing: 2h, grace: 0s}\n",
        "triggers/look.yaml": "id: look\nclass: transactional\nwhen: {event: Added}\n",
        "triggers/second.yaml": "id: second\nwhen: {outcome: accepted, trigger: look}\n",
        "triggers/cart.yaml": "id: cart\nwhen: {event: Added}\nwait: 30m\ntests:\n"
        "- {name: fires, with: [look, second], events: [{at: 2h, occurred_at: 1h, event: Added}],"
        " expect: [{at: 2h, outcome: ADMITTED}]}\n",
    }
    (found,) = [run_case(case) for case in cases_of(load_workspace(files))]
    assert found.passed, found.lines


VARIED = AT_ONCE + (
    "message: {push: {title: Hi, body: b}}\n"
    "experiment:\n"
    "  control: 30%\n"
    "  variants: {a: 35%, b: {weight: 35%, set: {message: {push: {title: Hey, body: b}}}}}\n"
)


def test_an_expectation_names_the_arm_of_its_user() -> None:
    # Buckets of the seed "experiment:cart": 8,385 for u4, 2,137 for u2, 5,247 for u7.
    events = ", ".join(f"{{at: 0m, event: Added, user: {user}}}" for user in ("u4", "u2", "u7"))
    expect = (
        "{at: 0m, outcome: ADMITTED, user: u4, variant: b, title: Hey}, "
        "{at: 0m, outcome: SUPPRESSED, reason: CONTROL, user: u2, variant: control}, "
        "{at: 0m, outcome: ADMITTED, user: u7, variant: a, title: Hi}"
    )
    assert verdict(events, expect, trigger=VARIED).passed
    other = verdict(events, expect.replace("variant: a", "variant: b"), trigger=VARIED)
    assert '- 0s ADMITTED, user u7, variant b, title "Hi"' in diff(other)
    assert '+ 0s ADMITTED, user u7, variant a, title "Hi", body "b"' in diff(other)


AFTER = "id: cart\nwhen: {{outcome: {}, trigger: first}}\n"
FIRST = "id: first\nwhen: {event: Added}\n"


@pytest.mark.parametrize("stage", ["delivered", "opened", "clicked", "unsubscribed"])
def test_an_outcome_is_told_of_the_last_message_of_a_trigger(stage: str) -> None:
    added, again = "{at: 0s, event: Added}", "{at: 1h, event: Added}"
    told = f"{{at: 2h, outcome: {stage}, trigger: first}}"
    found = verdict(
        f"{added}, {again}, {told}, {told}",
        "{at: 2h, outcome: ADMITTED}",
        "with: [first]",
        trigger=AFTER.format(stage),
        first=FIRST,
    )
    assert found.passed, diff(found)


def test_an_outcome_without_any_message_is_explained() -> None:
    told = "{at: 2h, outcome: clicked, trigger: first}"
    found = verdict(told, "", "with: [first]", trigger=AFTER.format("clicked"), first=FIRST)
    assert found.why == ("2h outcome clicked: no message of first was sent before",)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("{at: 0s, outcome: clicked, event: A}", "an outcome has no `event`"),
        ("{at: 0s, outcome: clicked, properties: {a: 1}}", "an outcome has no `properties`"),
        ("{at: 0s, outcome: clickd}", "did you mean 'clicked'"),
        ("{at: 0s, outcome: clicked, trigger: other}", "name it in `with`"),
        ("{at: 0s, event: A, trigger: cart}", "`trigger` goes with `outcome` only"),
        ("{at: 0s, signal: a, outcome: clicked}", "a signal has no `outcome`"),
    ],
)
def test_a_faulty_outcome_is_told_where(event: str, said: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        verdict(event, "")
    assert said in str(caught.value)


def test_a_message_that_is_held_is_expected_at_its_release() -> None:
    # The test begins at 10:00; the wait is over at noon.
    later = CART + 'send_at: {between: ["14:00", "20:00"]}\n'
    assert verdict(ADDED, "{at: 4h, outcome: ADMITTED}", trigger=later).passed
    short = later + "hold: {at_most: 1h}\n"
    assert verdict(ADDED, "{at: 3h, outcome: EXPIRED}", trigger=short).passed
    never = later + "hold: {for: []}\n"
    expected = "{at: 2h, outcome: SUPPRESSED, reason: QUIET_HOURS}"
    assert verdict(ADDED, expected, trigger=never).passed


SOON = "id: cart\nclass: marketing\nwhen: {event: Added}\n"
NIGHT = "now: '2026-01-05T22:00:00Z'"


def test_a_failure_says_that_a_candidate_waited_in_the_settle_window_and_when_to_expect_it() -> (
    None
):
    found = verdict(
        "{at: 1m, event: Added}",
        "{at: 1m, outcome: ADMITTED}",
        trigger=SOON,
        policy="default: {settle: 5m}",
    )
    assert diff(found) == ["- 1m ADMITTED", "+ 6m ADMITTED"]
    assert found.why == (
        "1m a candidate waited in the settle window (`settle` of its policy) until 6m and was "
        "decided then: expect it at 6m",
    )


def test_a_failure_says_that_a_candidate_still_waits_when_the_test_ends() -> None:
    found = verdict(
        "{at: 1m, event: Added}",
        "{at: 1m, outcome: ADMITTED}",
        "until: 4m",
        trigger=SOON,
        policy="default: {settle: 5m}",
    )
    assert found.why == (
        "1m a candidate still waits in the settle window (`settle` of its policy) until 6m, and "
        "the test ends at 4m: write `until: 6m` or later, or leave `until` out",
    )


def test_a_failure_says_that_a_candidate_was_held_by_quiet_hours() -> None:
    found = verdict(
        "{at: 1h, event: Added}",
        "{at: 1h, outcome: ADMITTED}",
        NIGHT,
        trigger=SOON + "hold: {for: [quiet_hours], at_most: 12h}\n",
        policy='default: {quiet: ["22:00", "09:00"]}',
    )
    assert found.why == (
        "1h a candidate waited for quiet hours (`quiet` of its policy) until 11h and was decided "
        "then: expect it at 11h",
    )


def test_a_test_that_passes_says_nothing_of_waits() -> None:
    found = verdict(
        "{at: 1m, event: Added}",
        "{at: 6m, outcome: ADMITTED}",
        trigger=SOON,
        policy="default: {settle: 5m}",
    )
    assert found.passed
    assert found.why == ()
