"""A canary: a new revision of a trigger for some users, beside the one of the others."""

from typing import Any

from schemas.events import Event
from schemas.reasons import Reason
from tests.unit.triggers.user import CART, HELLO, T0, User, ms
from triggers.canary import SplitProgram
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.effects import FunnelKey
from triggers.explaining import Watch
from triggers.program import NO_HITS, Program, canary_bucket
from triggers.state import DAY_MS

NAMES = [f"user-{number}" for number in range(400)]


def registered(
    live: dict[str, Any], canary: dict[str, Any] | None = None, share: int = 500, revision: int = 1
) -> RegisteredTrigger:
    made = RegisteredTrigger(TriggerDefinition.model_validate(live), revision, "live", 0)
    if canary is None:
        return made
    beside = TriggerDefinition.model_validate(canary)
    return made._replace(
        canary=RegisteredTrigger(beside, revision + 1, "live", 0), canary_share=share
    )


def program_of(*triggers: RegisteredTrigger, **policies: Any) -> Program:
    made = {"default": {"grace": "0s"}, **policies}
    return compile_program(
        1, triggers, {name: Policy.model_validate(values) for name, values in made.items()}
    )


def below(share: int) -> str:
    return next(name for name in NAMES if canary_bucket(name) < share)


def above(share: int) -> str:
    return next(name for name in NAMES if canary_bucket(name) >= share)


def test_users_below_the_share_are_decided_with_the_new_revision_and_the_others_with_theirs() -> (
    None
):
    program = program_of(registered(CART, {**CART, "wait": "4h"}, 2_000))
    inside = 0
    for name in NAMES[:100]:
        user = User(program, name=name)
        user.event("0s", "Added")
        user.fire("1d")
        (decision,) = user.effects.decisions
        is_in = canary_bucket(name) < 2_000
        assert (decision.at_ms, decision.revision) == ((ms("4h"), 2) if is_in else (ms("2h"), 1))
        inside += is_in
    assert 10 < inside < 32


def test_the_counters_of_both_revisions_stand_side_by_side() -> None:
    program = program_of(registered(HELLO, {**HELLO, "cooldown": "1d"}))
    for name, revision in ((below(500), 2), (above(500), 1)):
        user = User(program, name=name)
        user.event("0s", "Opened")
        user.outcome("1s", Reason.ACCEPTED)
        assert {key.revision for key in user.effects.funnel if key.trigger} == {revision}
        assert user.effects.funnel[FunnelKey("hello", revision, "", T0 // DAY_MS, "ACCEPTED")] == 1


def test_an_event_that_only_the_canary_names_reaches_its_users_and_nobody_else() -> None:
    program = program_of(registered(HELLO, {**HELLO, "when": {"event": "Bought"}}))
    assert isinstance(program, SplitProgram)
    for name, ends in ((below(500), ["0s hello m0 ADMITTED"]), (above(500), [])):
        user = User(program, name=name)
        # What the shard asks first: whether anybody has to look at the event at all, and whole.
        user.event("0s", "Bought")
        assert user.lines == ends
    user = User(program, name=above(500))
    user.event("0s", "Opened")
    assert user.lines == ["0s hello m0 ADMITTED"]


def test_what_means_something_to_a_canary_alone_is_read_whole() -> None:
    program = program_of(registered(HELLO, {**HELLO, "when": {"event": "Bought"}}))
    bought = Event(type="track", message_id="m", event="Bought", user_id="u")
    hits = program.hits(bought)
    assert hits is not None
    assert hits is not NO_HITS
    assert program.hits(Event(type="track", message_id="m", event="Nobody", user_id="u")) is None


def test_two_canaries_of_different_shares_are_nested() -> None:
    program = program_of(
        registered(HELLO, {**HELLO, "priority": 1}, 500),
        registered({**HELLO, "id": "other"}, {**HELLO, "id": "other", "priority": 1}, 3_000),
    )
    between = next(name for name in NAMES if 500 <= canary_bucket(name) < 3_000)
    seen = {}
    for name in (below(500), between, above(3_000)):
        user = User(program, name=name)
        user.event("0s", "Opened")
        seen[name] = {decision.trigger: decision.revision for decision in user.effects.decisions}
    assert list(seen.values()) == [
        {"hello": 2, "other": 2},
        {"hello": 1, "other": 2},
        {"hello": 1, "other": 1},
    ]


def test_a_pending_instance_keeps_its_deadline_and_the_canary_decides() -> None:
    user = User(program_of(registered(CART)), name=below(500))
    user.event("0s", "Added")
    user.program = program_of(registered(CART, {**CART, "wait": "4h", "cooldown": "1d"}))
    assert user.state.instances[0].revision == 1
    user.fire("1d")
    assert [(d.at_ms, d.revision) for d in user.effects.decisions] == [(ms("2h"), 2)]


def test_a_withdrawal_holds_on_both_sides_of_a_canary() -> None:
    for name in (below(500), above(500)):
        program = program_of(registered(CART, {**CART, "wait": "4h"}, 500, revision=2))
        user = User(program_of(registered(CART)), name=name)
        user.event("0s", "Added")
        user.program = program.of_shard({"cart": ((1, ms("1h")),)})
        user.fire("1d")
        assert user.lines == ["1h cart m0 CANCELLED"]


def test_a_cap_counts_what_was_sent_while_a_canary_had_another_policy() -> None:
    policies = {"week": {"caps": [{"max": 3, "per": "7d"}]}, "hour": {"spacing": "1h"}}
    live, canary = ({**HELLO, "policy": name} for name in policies)
    user = User(program_of(registered(live, canary), **policies), name=below(500))
    for day in range(3):
        user.event(f"{day}d", "Opened")
        user.outcome(f"{day}d1s", Reason.ACCEPTED)
    user.program = program_of(registered(live), **policies)
    user.event("4d", "Opened")
    assert [decision.reason for decision in user.effects.decisions] == [
        *(None, None, None),
        Reason.FREQUENCY_CAP,
    ]


def test_the_gate_keeps_as_many_messages_for_either_side_of_a_canary() -> None:
    policies = {
        "few": {"caps": [{"max": 2, "per": "1d"}]},
        "many": {"caps": [{"max": 20, "per": "1d"}]},
    }
    live, canary = ({**HELLO, "policy": name} for name in policies)
    program = program_of(registered(live, canary), **policies)
    assert [program.for_user(name).sends_max for name in (below(500), above(500))] == [20, 20]


def test_explain_tells_with_the_revision_that_decided() -> None:
    program = program_of(registered(CART, {**CART, "wait": "4h"}))
    for name, revision in ((below(500), 2), (above(500), 1)):
        assert Watch(program, name).program.triggers["cart"].revision == revision


def test_a_version_without_a_canary_is_a_plain_program() -> None:
    program = program_of(registered(HELLO))
    assert type(program) is Program
    assert program.for_user(below(500)) is program
