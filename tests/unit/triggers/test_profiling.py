"""Profiling refused: only transactional triggers run, and what was learnt for others is deleted."""

from typing import Any

from schemas.reasons import Outcome, Reason, Unevaluated
from schemas.records import SignalRecord, signal_event
from tests.unit.triggers.test_consent import merged, prefer, reasons
from tests.unit.triggers.user import CART, HELLO, User, ms, program_of
from triggers.consenting import narrowed
from triggers.effects import Recall
from triggers.state import Consent

LATE = {**CART, "id": "parcel", "class": "transactional", "when": {"event": "Arrived"}}
LATE["unless"] = {"event": "Collected"}
RECEIPT = {**HELLO, "id": "receipt", "class": "transactional"}
CITY = {**HELLO, "id": "city", "audience": {"traits.city": "Almaty"}}
SILENT: dict[str, Any] = {"id": "silent", "state": "live", "when": {"idle": "1d"}}
OFTEN = {
    **HELLO,
    "id": "often",
    "audience": {"did": {"event": "Opened", "within": "7d", "count": {"gte": 2}}},
}
THREE = {
    "id": "three",
    "state": "live",
    "when": {"event": "Opened", "count": 3, "within": "1d"},
}
LIKED = {**HELLO, "id": "liked", "audience": {"has": {"favourite": {"gte": 1}}}}
RELATIONS = {"favourite": {"add": "Liked", "remove": "Unliked", "item": "properties.product_id"}}
BIRTHDAY: dict[str, Any] = {
    "id": "birthday",
    "state": "live",
    "when": {"date": "traits.birthday", "repeat": "yearly", "at": "10:00"},
}
BUNDLED = {**HELLO, "id": "bundled", "bundle": {"window": "1h"}}


def program(*documents: dict[str, Any], **policy: Any) -> Any:
    return program_of(*documents, files={"relations": RELATIONS}, **policy)


def refuse(user: User, at: str) -> None:
    assert prefer(user, at, profiling="out")


def test_no_instance_is_armed_and_pending_ones_are_cancelled() -> None:
    user = User(program(CART, LATE))
    user.event("1s", "Added", id="a")
    user.event("2s", "Arrived", id="p")
    refuse(user, "1m")
    user.event("2m", "Added", id="b")
    user.fire("10h")
    assert user.lines == ["1m cart a CONSENT", "2h2s parcel p ADMITTED"]
    decision = user.effects.decisions[0]
    assert (decision.outcome, decision.reason) == (Outcome.CANCELLED, Reason.CONSENT)
    assert user.effects.unevaluated["cart", Unevaluated.CONSENT] == 1
    assert user.effects.pending["cart", 1] == 0


def test_a_bundle_that_collects_ends_and_a_delivery_on_its_way_is_called_back() -> None:
    user = User(program(HELLO, RECEIPT, BUNDLED))
    user.event("1s", "Opened", id="o")
    refuse(user, "1m")
    user.fire("3h")
    assert user.lines == [
        "1s hello o ADMITTED",
        "1s receipt o ADMITTED",
        "1m bundled o CONSENT",
    ]
    hello = user.effects.deliveries[0].delivery_id
    assert user.effects.cancelled == [Recall(hello, ms("1m"), Reason.CONSENT)]


def test_everything_learnt_of_behaviour_is_deleted_and_nothing_is_learnt_after() -> None:
    user = User(program(CITY, SILENT, OFTEN, THREE, LIKED, BIRTHDAY, CART))

    def behave(at: str) -> None:
        user.identify(at, zone="Asia/Almaty", city="Almaty", birthday="1990-03-01")
        user.event(at, "Opened")
        user.event(at, "Liked", product_id="p1")
        user.event(at, "Ordered")

    behave("1s")
    state = user.state
    for kept in (state.traits, state.features, state.relations, state.patterns, state.memory):
        assert kept
    assert state.seen
    assert state.zone
    refuse(user, "1m")
    for now in ("2m", "3m"):
        left = (state.traits, state.features, state.relations, state.patterns, state.memory)
        assert not any((*left, state.seen, state.zone, state.idle_fired)), now
        behave(now)
    user.fire("8760h")
    assert reasons(user) == ["ADMITTED", "AUDIENCE", "AUDIENCE"]


def test_what_protects_the_user_is_kept() -> None:
    user = User(program({**HELLO, "cooldown": "7d"}, spacing="2h"))
    user.event("1s", "Opened")
    user.outcome("2s", Reason.ACCEPTED)
    refuse(user, "1m")
    assert prefer(user, "2m", profiling="in")
    user.event("1d", "Opened")
    assert reasons(user) == ["ADMITTED", "COOLDOWN"]


def test_what_transactional_triggers_ask_for_is_still_learnt() -> None:
    city = {**CITY, "id": "pickup", "class": "transactional"}
    user = User(program(city, {**CITY, "audience": {"traits.plan": "pro"}}))
    user.identify("1s", city="Almaty", plan="pro")
    refuse(user, "1m")
    assert user.state.traits == {"city": "Almaty"}
    user.identify("2m", city="Astana", plan="free")
    assert user.state.traits == {"city": "Astana"}
    user.identify("3m", city="Almaty")
    user.event("4m", "Opened")
    assert user.lines == ["4m pickup m3 ADMITTED"]


def test_marketing_by_signal_is_refused_too() -> None:
    documents = [{**HELLO, "id": name, "when": {"signal": "news"}} for name in ("a", "b")]
    documents[1]["class"] = "transactional"
    user = User(program(*documents))
    refuse(user, "1s")
    user.apply("2s", signal_event(SignalRecord("u", "news", "s1", ms("2s"))))
    assert user.lines == ["2s b s1 ADMITTED"]


def test_an_agreement_starts_anew_and_what_happened_before_it_starts_nothing() -> None:
    user = User(program(CART, OFTEN))
    refuse(user, "1s")
    user.event("1m", "Ordered", id="o")
    assert prefer(user, "10m", profiling="in")
    user.event("11m", "Added", e="30s", id="late")
    user.event("12m", "Opened", e="2m")
    user.event("13m", "Added", id="a")
    user.fire("10h")
    assert user.lines == ["2h13m cart a ADMITTED"]
    assert user.state.features == {}
    assert user.effects.unevaluated["cart", Unevaluated.CONSENT] == 1


def test_a_trait_told_before_the_agreement_is_not_learnt_when_it_comes_late() -> None:
    user = User(program(CITY))
    refuse(user, "1s")
    assert prefer(user, "10m", profiling="in")
    user.identify("11m", e="5m", city="Almaty")
    assert user.state.traits == {}
    user.identify("12m", city="Almaty")
    assert user.state.traits == {"city": "Almaty"}


def test_what_happened_before_the_agreement_still_cancels() -> None:
    user = User(program(CART))
    refuse(user, "1s")
    assert prefer(user, "10m", profiling="in")
    user.event("11m", "Added", id="a")
    user.event("12m", "Ordered", e="5m")
    user.fire("10h")
    assert user.lines == ["12m cart a CANCELLED"]


def test_of_two_profiles_the_refused_profiling_holds_and_deletes_what_both_held() -> None:
    mine = User(program(CART, CITY))
    mine.identify("1s", city="Almaty")
    mine.event("2s", "Added", id="a")
    other = User(mine.program, name="anon")
    other.event("3s", "Added", id="b")
    other.event("4s", "Ordered", e="1s")
    refuse(other, "5s")
    merged(mine, other)
    assert mine.state.traits == {}
    assert mine.state.instances == []
    assert mine.lines == ["10s cart a CONSENT"]
    both = merged(mine, User(mine.program, name="second"), "20s")
    both.event("21s", "Added", id="c")
    assert both.state.instances == []


def test_a_known_user_who_refuses_takes_nothing_over() -> None:
    mine = User(program(CART, CITY))
    refuse(mine, "1s")
    other = User(mine.program, name="anon")
    other.identify("2s", city="Almaty")
    other.event("3s", "Added", id="b")
    merged(mine, other)
    assert (mine.state.traits, mine.state.instances) == ({}, [])
    assert mine.lines == ["10s cart b CONSENT"]


def test_no_goal_is_credited_any_more_but_the_user_leaving_is() -> None:
    user = User(program({**HELLO, "goal": {"event": "Ordered", "within": "7d"}}))
    user.event("1s", "Opened")
    user.outcome("2s", Reason.ACCEPTED)
    refuse(user, "1m")
    user.event("2m", "Ordered")
    user.event("3m", "Unsubscribed")
    stages = {key.stage for key in user.effects.funnel}
    assert "CONVERTED" not in stages
    assert "UNSUBSCRIBED" in stages


def test_the_narrowed_program_is_made_once_and_knows_every_trigger() -> None:
    made = program(CART, LATE, CITY)
    narrow = narrowed(made)
    assert narrowed(made) is narrow
    assert narrow.triggers is made.triggers
    assert narrow.traits == ()


def test_a_user_who_never_spoke_is_decided_by_the_whole_program() -> None:
    user = User(program(HELLO))
    user.event("1s", "Opened")
    assert user.program.narrowed is None
    assert user.state.consent is None


def test_nothing_wakes_up_for_who_refuses() -> None:
    user = User(program(SILENT, BIRTHDAY))
    user.identify("1s", birthday="1990-01-10")
    assert user.state.due
    refuse(user, "1m")
    user.event("2m", "Noise")
    user.fire("8760h")
    assert user.lines == []
    assert user.state.due == 0
    assert user.state.consent == Consent(profiling=-ms("1m"))


def test_what_is_held_or_settling_ends_and_usual_hours_are_forgotten() -> None:
    slow = {**HELLO, "expires": "6h"}
    later = {**slow, "id": "later", "send_at": {"between": ["12:00", "20:00"]}}
    usual = {**slow, "id": "usual", "send_at": "usual_hour"}
    user = User(program(later, usual, settle="10m"))
    for hour in range(6):
        user.event(f"{hour}h", "Noise")
    user.event("6h", "Opened", id="a")
    user.fire("7h")
    user.event("8h", "Opened", id="b")
    state = user.state
    assert state.usual
    assert state.held
    assert state.settling
    refuse(user, "485m")
    assert not any((state.held, state.settling, state.usual))
    ended = [one for one in user.lines if one.endswith("CONSENT")]
    assert len(ended) >= 2
    user.event("9h", "Opened")
    user.fire("48h")
    assert state.usual == []
    assert user.lines[-1] in ended


def test_consent_is_asked_again_when_a_hold_is_released() -> None:
    later = {**HELLO, "id": "later", "send_at": {"between": ["12:00", "20:00"]}}
    user = User(program(later))
    user.event("6h", "Opened", id="a")
    user.event("7h", "Unsubscribed")
    user.fire("13h")
    assert user.lines == ["12h later a CONSENT"]


def test_the_journal_says_why_what_was_held_or_bundled_ended() -> None:
    held = {**HELLO, "id": "held", "hold": {"for": ["quiet_hours"], "at_most": "12h"}}
    bundled = {**HELLO, "id": "bundled", "bundle": {"window": "1h", "max": 4}}
    user = User(program_of(held, bundled, quiet=["22:00", "09:00"]))
    user.event("0s", "Opened")
    assert prefer(user, "1m", profiling="out")
    told = {line.trigger: (line.what, line.by) for line in user.effects.journal if line.trigger}
    assert told == {"held": ("CANCELLED", "CONSENT"), "bundled": ("CANCELLED", "CONSENT")}


def test_the_journal_says_why_what_waited_for_a_settle_window_ended() -> None:
    user = User(program_of(HELLO, settle="5m"))
    user.event("0s", "Opened")
    assert prefer(user, "1m", profiling="out")
    [line] = [line for line in user.effects.journal if line.trigger == "hello"]
    assert (line.what, line.by) == ("CANCELLED", "CONSENT")
