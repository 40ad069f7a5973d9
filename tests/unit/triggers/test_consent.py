"""Consent: who may be told what, since when, and what is called back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from schemas.reasons import REFUNDED, Reason
from schemas.records import PreferenceRecord, preference_event
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.consent import CATEGORIES_MAX, CHANNELS, statements_of
from triggers.decide import apply_merge, apply_merged
from triggers.effects import Effects, Recall
from triggers.merging import lighten
from triggers.state import (
    Consent,
    Device,
    UserState,
    decode_state,
    encode_state,
    is_blank,
)

OFFERS = {**HELLO, "category": "offers"}
RECEIPT = {**HELLO, "id": "receipt", "class": "transactional", "category": "offers"}


def prefer(user: User, at: str, *, e: str | None = None, **said: Any) -> bool:
    made = ms(at if e is None else e)
    return user.apply(at, preference_event(PreferenceRecord(user.name, f"p{at}", made, **said)))


def reasons(user: User) -> list[str]:
    return [one.split()[-1] for one in user.lines]


def journal(user: User) -> list[str]:
    return [entry.by for entry in user.effects.journal if entry.what == "CONSENT"]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({}, True),
        ({"category": "offers"}, True),
        ({"category": "news"}, False),
        ({"channel": "push"}, True),
        ({"channel": "email"}, False),
        ({"channel": "pager"}, False),
        # Segment's specification of email events has no channel.
        ({"email_id": "e1", "list_id": "weekly"}, False),
        ({"category": "offers", "channel": "email"}, True),
        # What cannot be read refuses everything.
        ({"category": ["news"]}, True),
        ({"channel": 5}, True),
    ],
)
def test_who_unsubscribes_is_not_told_that_any_more(said: dict[str, Any], refused: bool) -> None:
    user = User(program_of(OFFERS))
    user.event("1s", "Unsubscribed", **said)
    user.event("2s", "Opened")
    assert reasons(user) == ["CONSENT" if refused else "ADMITTED"]


@pytest.mark.parametrize("said", [{"category": 5}, {"channel": ["push"]}, {"channel": "email"}])
def test_an_agreement_that_cannot_be_read_agrees_to_nothing(said: dict[str, Any]) -> None:
    user = User(program_of(OFFERS))
    user.event("1s", "Unsubscribed")
    user.event("2s", "Subscribed", **said)
    user.event("3s", "Opened")
    assert reasons(user) == ["CONSENT"]


def test_who_subscribes_again_is_told_again() -> None:
    user = User(program_of(OFFERS))
    user.event("1s", "Unsubscribed", category="offers")
    user.event("2s", "Subscribed", category="offers")
    user.event("3s", "Opened")
    assert reasons(user) == ["ADMITTED"]


def test_subscribing_to_everything_does_not_undo_a_refused_category() -> None:
    user = User(program_of(OFFERS))
    user.event("1s", "Unsubscribed", category="offers")
    user.event("2s", "Subscribed")
    user.event("3s", "Opened")
    assert reasons(user) == ["CONSENT"]


def test_an_agreement_made_before_the_refusal_does_not_undo_it_when_it_comes_late() -> None:
    user = User(program_of(OFFERS))
    user.event("2s", "Unsubscribed")
    user.event("3s", "Subscribed", e="1s")
    user.event("4s", "Opened")
    assert reasons(user) == ["CONSENT"]


def test_a_refusal_counts_whenever_it_was_made() -> None:
    user = User(program_of(OFFERS))
    user.event("2s", "Subscribed")
    user.event("3s", "Unsubscribed", e="1s")
    user.event("4s", "Opened")
    assert reasons(user) == ["CONSENT"]


def test_a_refusal_said_again_moves_the_time_an_agreement_has_to_be_later_than() -> None:
    user = User(program_of(OFFERS))
    user.event("1s", "Unsubscribed")
    user.event("3s", "Unsubscribed")
    user.event("4s", "Subscribed", e="2s")
    user.event("5s", "Opened")
    assert reasons(user) == ["CONSENT"]


def test_nobody_opts_out_of_what_is_transactional() -> None:
    user = User(program_of(RECEIPT))
    prefer(user, "1s", all="out", channels={"push": "out"}, categories={"offers": "out"})
    user.event("2s", "Opened")
    assert reasons(user) == ["ADMITTED"]


def test_the_unsubscribe_event_itself_leads_to_no_marketing_message() -> None:
    goodbye = {**HELLO, "id": "goodbye", "when": {"event": "Unsubscribed"}}
    user = User(program_of(goodbye))
    user.event("1s", "Unsubscribed")
    assert reasons(user) == ["CONSENT"]


def test_a_page_or_an_identify_of_that_name_says_nothing() -> None:
    user = User(program_of(OFFERS))
    user.apply("1s", Event(type="page", message_id="p", event="Unsubscribed", user_id="u"))
    user.event("2s", "Opened")
    assert reasons(user) == ["ADMITTED"]


def test_consent_is_asked_when_a_wait_is_over() -> None:
    user = User(program_of(CART))
    user.event("1s", "Added", id="a")
    user.event("1h", "Unsubscribed")
    user.fire("3h")
    assert user.lines == ["2h1s cart a CONSENT"]


def test_a_policy_can_ask_for_an_agreement_to_a_category_first() -> None:
    user = User(program_of(OFFERS, opt_in={"categories": ["offers"]}))
    user.event("1s", "Opened")
    prefer(user, "2s", categories={"offers": "in"})
    user.event("3s", "Opened")
    prefer(user, "4s", categories={"offers": "out"})
    user.event("5s", "Opened")
    assert reasons(user) == ["CONSENT", "ADMITTED", "CONSENT"]


def test_a_policy_can_ask_for_an_agreement_to_a_channel_first() -> None:
    user = User(program_of(HELLO, opt_in={"channels": ["push"]}))
    user.event("1s", "Opened")
    user.event("2s", "Subscribed", channel="push")
    user.event("3s", "Opened")
    assert reasons(user) == ["CONSENT", "ADMITTED"]


def test_an_agreement_to_everything_stands_for_what_nothing_was_said_of() -> None:
    user = User(program_of(OFFERS, opt_in={"categories": ["offers"], "channels": ["push"]}))
    prefer(user, "1s", all="in")
    user.event("2s", "Opened")
    prefer(user, "3s", categories={"offers": "out"})
    user.event("4s", "Opened")
    assert reasons(user) == ["ADMITTED", "CONSENT"]


def test_a_category_that_needs_no_agreement_is_sent_without_one() -> None:
    user = User(program_of(OFFERS, opt_in={"categories": ["news"]}))
    user.event("1s", "Opened")
    assert reasons(user) == ["ADMITTED"]


def on_its_way(*documents: dict[str, Any]) -> User:
    user = User(program_of(*documents))
    user.event("1s", "Opened")
    assert set(reasons(user)) == {"ADMITTED"}
    return user


def recalled(user: User) -> list[tuple[str, Reason]]:
    ids = {one.delivery_id: one.trigger.id for one in user.effects.deliveries}
    return [(ids[recall.delivery_id], recall.reason) for recall in user.effects.cancelled]


def test_a_refusal_calls_back_what_is_on_its_way_and_nothing_else() -> None:
    news = {**HELLO, "id": "news", "when": {"event": "Read"}, "category": "news"}
    user = on_its_way(OFFERS, RECEIPT, news)
    user.event("2s", "Read")
    assert reasons(user) == ["ADMITTED"] * 3
    user.event("3s", "Unsubscribed", category="offers")
    user.event("3s", "Unsubscribed", category="offers")
    assert recalled(user) == [("hello", Reason.CONSENT)]
    assert user.effects.cancelled[0].at_ms == ms("3s")


def test_what_consent_ended_gives_back_what_it_took() -> None:
    user = User(
        program_of({**HELLO, "cooldown": "1d"}, spacing="2h", caps=[{"max": 1, "per": "7d"}])
    )
    user.event("1s", "Opened")
    user.event("2s", "Unsubscribed")
    user.outcome("3s", Reason.CONSENT)
    user.event("4s", "Subscribed")
    user.event("5s", "Opened")
    assert reasons(user) == ["ADMITTED", "ADMITTED"]
    assert Reason.CONSENT in REFUNDED


def test_of_a_removed_trigger_all_that_is_marketing_is_called_back() -> None:
    user = on_its_way(OFFERS, RECEIPT)
    user.program = program_of(CART, number=2)
    user.event("2s", "Unsubscribed", category="news")
    assert recalled(user) == [("hello", Reason.CONSENT)]


def test_of_a_removed_trigger_the_ghosts_are_called_back_like_the_messages() -> None:
    halves = {"control": "50%", "variants": {"a": "50%"}}
    split = {**OFFERS, "experiment": halves, "message": {"push": {"title": "t", "body": "b"}}}
    program, ends = program_of(split), set()
    for number in range(20):
        user = User(program, name=f"user-{number}")
        user.event("1s", "Opened")
        ends |= set(reasons(user))
        user.program = program_of(CART, number=2)
        user.event("2s", "Unsubscribed", category="news")
        assert recalled(user) == [("hello", Reason.CONSENT)]
    assert ends == {"CONTROL", "ADMITTED"}


def test_the_journal_tells_every_change_once() -> None:
    user = User(program_of(OFFERS))
    prefer(user, "1s", all="out", categories={"offers": "out"}, channels={"push": "in"})
    prefer(user, "2s", channels={"push": "in"})
    user.event("3s", "Push Disabled", device="token")
    user.event("4s", "Subscribed")
    assert journal(user) == [
        "all: out",
        "channel push: in",
        "category offers: out",
        "Push Disabled",
        "all: in",
    ]


def test_a_preference_is_no_activity() -> None:
    user = User(program_of({"id": "silent", "state": "live", "when": {"idle": "1d"}}))
    prefer(user, "1s", all="in")
    assert user.state.seen == 0


def test_consent_is_never_forgotten() -> None:
    user = User(program_of(OFFERS), reachable=False)
    user.event("1s", "Unsubscribed")
    user.fire("8760h")
    assert not is_blank(user.state)
    assert decode_state(encode_state(user.state)).consent == Consent(everything=-ms("1s"))


def test_a_state_of_before_consent_is_readable() -> None:
    state = UserState(merged_into="known")
    before = UserState.__struct_fields__.index("consent")
    older = msgspec.msgpack.encode(msgspec.structs.astuple(state)[:before])
    assert decode_state(older) == state


def test_more_categories_than_are_kept_refuse_everything() -> None:
    user = User(program_of(HELLO))
    for number in range(CATEGORIES_MAX + 1):
        prefer(user, f"{number + 1}s", categories={f"c{number}": "out"})
    user.event("2h", "Opened")
    assert user.state.consent is not None
    assert len(user.state.consent.categories) == CATEGORIES_MAX
    assert reasons(user) == ["CONSENT"]


def test_agreements_are_forgotten_before_refusals() -> None:
    user = User(program_of(HELLO))
    prefer(user, "1s", categories={"bad": "out"})
    for number in range(CATEGORIES_MAX):
        prefer(user, f"{number + 2}s", categories={f"c{number}": "in"})
    assert user.state.consent is not None
    kept = user.state.consent.categories
    assert len(kept) == CATEGORIES_MAX
    assert "bad" in kept
    assert "c0" not in kept
    assert user.state.consent.everything == 0


def test_what_a_preference_cannot_mean_is_left_out() -> None:
    said = {"all": "yes", "channels": {"pager": "out", "push": "out"}, "categories": {"No": "out"}}
    event = Event(type="preference", message_id="p", user_id="u", properties=said)
    assert [one.text for one in statements_of(event)] == ["channel push: out"]
    assert statements_of(Event(type="preference", properties={"channels": ["push"]})) == []
    assert "push" in CHANNELS


# Devices ------------------------------------------------------------------------------------


def test_a_device_without_permission_is_not_sent_to() -> None:
    user = User(program_of(HELLO))
    user.event("1s", "Opened", device="second")
    user.event("2s", "Push Disabled", device="second")
    user.event("3s", "Opened", device="second")
    sent = [[token for token, _ in one.devices] for one in user.effects.deliveries]
    assert sent == [["token", "second"], ["token"]]


def test_without_any_permitted_device_even_a_transactional_message_is_refused() -> None:
    user = User(program_of(RECEIPT))
    user.event("1s", "Push Disabled", device="token")
    user.event("2s", "Opened")
    user.event("3s", "Push Enabled", device="token")
    user.event("4s", "Opened")
    assert reasons(user) == ["NO_DEVICE", "ADMITTED"]


def test_a_permission_event_without_a_token_is_about_all_known_devices() -> None:
    user = User(program_of(HELLO))
    user.event("1s", "Noise", device="second")
    user.event("2s", "Push Disabled")
    user.event("3s", "Opened")
    user.event("4s", "Push Enabled")
    user.event("5s", "Opened")
    assert reasons(user) == ["NO_DEVICE", "ADMITTED"]
    assert len(user.effects.deliveries[0].devices) == 2


def test_a_permission_that_comes_late_does_not_undo_a_later_withdrawal() -> None:
    user = User(program_of(HELLO))
    user.event("2s", "Push Disabled", device="token")
    user.event("3s", "Push Enabled", device="token", e="1s")
    user.event("4s", "Opened")
    assert reasons(user) == ["NO_DEVICE"]


def test_a_token_alone_gives_no_permission() -> None:
    user = User(program_of(HELLO))
    user.event("1s", "Push Disabled", device="token")
    user.event("2d", "Opened", device="token")
    assert reasons(user) == ["NO_DEVICE"]


def test_losing_the_last_permitted_device_calls_back_what_is_on_its_way() -> None:
    user = on_its_way(HELLO, RECEIPT)
    user.event("2s", "Noise", device="second")
    user.event("3s", "Push Disabled", device="second")
    assert recalled(user) == []
    user.event("4s", "Push Disabled", device="token")
    assert recalled(user) == [("hello", Reason.CONSENT), ("receipt", Reason.CONSENT)]


def test_an_uninstalled_app_is_no_device_until_it_is_seen_again() -> None:
    user = User(program_of(HELLO))
    user.event("1s", "Noise", device="second")
    user.event("2s", "Application Uninstalled", device="second")
    user.event("3s", "Opened")
    user.event("4s", "Application Uninstalled")
    user.event("5s", "Opened")
    user.event("6s", "Opened", device="new")
    assert reasons(user) == ["ADMITTED", "NO_DEVICE", "ADMITTED"]
    assert [one.devices for one in user.effects.deliveries] == [
        (("token", "ios"),),
        (("new", "ios"),),
    ]


def test_a_device_seen_after_the_uninstall_stays() -> None:
    user = User(program_of(HELLO), reachable=False)
    user.event("2s", "Noise", device="again")
    user.event("3s", "Application Uninstalled", e="1s", device="again")
    user.event("4s", "Opened")
    assert reasons(user) == ["ADMITTED"]


def test_permission_given_again_leaves_nothing_behind() -> None:
    user = User(program_of(HELLO))
    user.event("1s", "Push Disabled", device="token")
    user.event("2s", "Push Enabled", device="token")
    assert user.state.consent is None


def test_an_assumed_device_goes_by_what_is_told_of_any() -> None:
    user = User(program_of(HELLO), reachable=False)
    user.state.devices.append(Device("assumed", "android", 1 << 62))
    user.event("1s", "Push Disabled", device="real")
    user.event("2s", "Opened")
    user.event("3s", "Push Enabled", device="real")
    user.event("4s", "Opened")
    user.event("5s", "Application Uninstalled", device="real")
    user.event("6s", "Opened")
    assert reasons(user) == ["NO_DEVICE", "ADMITTED", "NO_DEVICE"]


# Merges -------------------------------------------------------------------------------------


def merged(mine: User, other: User, at: str = "10s") -> User:
    """`other` becomes a part of `mine`."""
    out = Effects()
    apply_merge(other.program, other.name, other.state, mine.name, ms(at), out)
    moved = out.merges[0].moved
    assert moved is not None
    assert lighten(other.program, other.name, moved, ms(at), Effects()) is False
    apply_merged(mine.program, mine.name, mine.state, moved, ms(at), mine.effects)
    return mine


def user_who(*said: tuple[str, dict[str, Any]], name: str = "u") -> User:
    user = User(program_of(OFFERS), name=name)
    for at, statements in said:
        prefer(user, at, **statements)
    return user


IN, OUT = {"categories": {"offers": "in"}}, {"categories": {"offers": "out"}}


@pytest.mark.parametrize(
    ("mine", "other", "how"),
    [
        ([("1s", IN)], [("2s", OUT)], "CONSENT"),
        # Also an agreement made later: the refusal was never taken back where it was made.
        ([("1s", OUT)], [("2s", IN)], "CONSENT"),
        ([("1s", IN)], [], "ADMITTED"),
        ([], [("1s", OUT)], "CONSENT"),
        ([], [("1s", IN)], "ADMITTED"),
    ],
)
def test_of_two_profiles_the_refusal_holds(mine: Any, other: Any, how: str) -> None:
    both = merged(user_who(*mine), user_who(*other, name="anon"))
    both.event("11s", "Opened")
    assert reasons(both) == [how]


def test_a_refusal_that_a_merge_brings_calls_back_what_is_on_its_way() -> None:
    mine = User(program_of(OFFERS))
    mine.event("1s", "Opened")
    merged(mine, user_who(("2s", OUT), name="anon"))
    delivery = mine.effects.deliveries[0].delivery_id
    assert mine.effects.cancelled == [Recall(delivery, ms("10s"), Reason.CONSENT)]


def test_of_a_device_both_know_the_withdrawn_permission_holds() -> None:
    other = User(program_of(HELLO), name="anon")
    other.event("1s", "Push Disabled", device="token")
    both = merged(User(program_of(HELLO)), other)
    both.event("11s", "Opened")
    assert reasons(both) == ["NO_DEVICE"]


# Everything together -------------------------------------------------------------------------

KEYS = ("all", "push", "offers", "profiling")
STEP = st.tuples(
    st.sampled_from((*KEYS, "open", "open", "accept")),
    st.booleans(),
    st.integers(0, 5),
)


def said(key: str, given: bool) -> dict[str, Any]:
    value = "in" if given else "out"
    if key == "push":
        return {"channels": {"push": value}}
    return {"categories": {key: value}} if key == "offers" else {key: value}


@given(st.lists(STEP, max_size=20))
def test_nothing_forbidden_is_admitted_or_stays_on_its_way(steps: Any) -> None:
    """Against a second telling of the rule: refused by the latest refusal, until an agreement that
    was made later than every refusal of the same thing comes after it."""
    user = User(program_of({**OFFERS, "per": "event"}, {**RECEIPT, "per": "event"}))
    heard: dict[str, list[tuple[bool, int]]] = {key: [] for key in KEYS}
    for number, (what, given_, late) in enumerate(steps, start=10):
        before = len(user.lines)
        if what == "open":
            user.event(f"{number}s", "Opened")
        elif what == "accept":
            for delivery in user.effects.deliveries:
                if delivery.delivery_id in {one.delivery.hex() for one in user.state.pending}:
                    called = {recall.delivery_id for recall in user.effects.cancelled}
                    gone = delivery.delivery_id in called
                    ended = Reason.CONSENT if gone else Reason.ACCEPTED
                    user.outcome(
                        f"{number}s", ended, delivery=user.effects.deliveries.index(delivery)
                    )
        else:
            prefer(user, f"{number}s", e=f"{number - late}s", **said(what, given_))
            heard[what].append((given_, number - late))
        refused = any(_refused(statements) for statements in heard.values())
        recalled_ = {recall.delivery_id for recall in user.effects.cancelled}
        waiting = {one.trigger for one in user.state.pending if one.delivery.hex() not in recalled_}
        assert not (refused and "hello" in waiting)
        if what == "open":
            fresh = user.lines[before:]
            assert sum(line.endswith("ADMITTED") for line in fresh) == (1 if refused else 2)


def _refused(statements: list[tuple[bool, int]]) -> bool:
    outs = [place for place, (given_, _) in enumerate(statements) if not given_]
    if not outs:
        return False
    latest = max(e for given_, e in statements[: outs[-1] + 1] if not given_)
    return not any(given_ and e > latest for given_, e in statements[outs[-1] :])
