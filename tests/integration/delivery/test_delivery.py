"""The delivery worker end to end: real Kafka, real Redis, stand-in providers."""

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from engine import clock
from engine.local.kafka import KafkaBroker
from engine.standins.rules import Action, Rule
from schemas.deliveries import Delivery, DeviceRef, Limits
from schemas.reasons import Reason
from schemas.records import DeadToken, OutcomeRecord
from tests.integration.delivery.rig import Rig, definition, delivery_rig, standins
from tests.waiting import eventually

pytestmark = pytest.mark.service

IPHONE = [DeviceRef("a1b2c3", "ios")]


async def sent(
    rig: Rig, directory: Path, *deliveries: Delivery, rules: tuple[Rule, ...] = ()
) -> tuple[list[OutcomeRecord], list[dict[str, Any]]]:
    """Admit deliveries to a worker; their outcomes, and what the providers got."""
    async with standins(directory, rules) as providers:
        await rig.admit(*deliveries)
        async with rig.working(providers.senders):
            outcomes = await rig.outcomes_of(*deliveries)
            await rig.committed()
        return [outcomes[d.delivery_id] for d in deliveries], providers.received()


async def test_a_delivery_is_accepted_and_its_sealed_outcome_lands_on_its_own_shard(
    rig: Rig, tmp_path: Path
) -> None:
    android, iphone = rig.delivery(), rig.delivery(devices=IPHONE)
    assert {android.shard, iphone.shard} == {0, 1}
    outcomes, received = await sent(rig, tmp_path, android, iphone)
    assert [(o.reason, o.provider, o.attempts) for o in outcomes] == [
        (Reason.ACCEPTED, "fcm", 1),
        (Reason.ACCEPTED, "apns", 1),
    ]
    assert {e["provider"] for e in received} == {"fcm", "apns"}
    for entry in received:
        assert (entry["title"], entry["body"]) == ("Ещё думаете?", "A red coat is waiting")
        assert entry["link"] == "https://shop.example/cart"
    for record in await rig.read(rig.topics.events):
        outcome = msgspec.json.decode(record.value, type=OutcomeRecord)
        shard = {d.delivery_id: d.shard for d in (android, iphone)}[outcome.delivery_id]
        assert record.partition == shard


async def test_a_delivery_goes_to_all_devices_and_one_that_got_it_is_enough(
    rig: Rig, tmp_path: Path
) -> None:
    devices = [DeviceRef("dead", "android"), DeviceRef("good", "android"), *IPHONE]
    gone = Rule(token_prefix="dead", status=404, reason="UNREGISTERED")
    (outcome,), received = await sent(rig, tmp_path, rig.delivery(devices=devices), rules=(gone,))
    assert outcome.reason is Reason.ACCEPTED
    assert outcome.dead_tokens == [DeadToken("dead")]
    assert sorted(e["token"] for e in received) == ["a1b2c3", "dead", "good"]


async def test_unregistered_devices_are_told_with_the_time_they_went(
    rig: Rig, tmp_path: Path
) -> None:
    gone = Rule(token_prefix="token", status=404, reason="UNREGISTERED")
    left = Rule(token_prefix="a1b2c3", status=410, reason="Unregistered", timestamp_ms=77)
    android, iphone = rig.delivery(), rig.delivery(devices=IPHONE)
    outcomes, _ = await sent(rig, tmp_path, android, iphone, rules=(gone, left))
    assert [o.reason for o in outcomes] == [Reason.UNREGISTERED] * 2
    assert [o.dead_tokens for o in outcomes] == [
        [DeadToken(android.devices[0].token)],
        [DeadToken("a1b2c3", 77)],
    ]


async def test_a_record_published_twice_is_sent_once(rig: Rig, tmp_path: Path) -> None:
    delivery = rig.delivery()
    async with standins(tmp_path) as providers:
        await rig.open([delivery])
        await rig.publish([delivery, delivery])
        async with rig.working(providers.senders):
            # The repeat waits for the lease of the first to end.
            await rig.committed()
            reasons = [o.reason for o in await rig.outcomes()]
        assert providers.accepted() == [delivery.delivery_id]
    assert reasons == [Reason.ACCEPTED, Reason.UNKNOWN]


async def test_a_delivery_whose_ledger_entry_is_gone_is_dropped_silently(
    rig: Rig, tmp_path: Path
) -> None:
    async with standins(tmp_path) as providers:
        await rig.publish([rig.delivery()])
        async with rig.working(providers.senders):
            await rig.committed()
        assert providers.received() == []
    assert await rig.outcomes() == []


async def test_an_overloaded_provider_gets_the_time_it_asks_for_and_then_the_message(
    rig: Rig, tmp_path: Path
) -> None:
    busy = Rule(first=1, status=429, reason="QUOTA_EXCEEDED", retry_after="1")
    (outcome,), received = await sent(rig, tmp_path, rig.delivery(), rules=(busy,))
    assert (outcome.reason, outcome.attempts) == (Reason.ACCEPTED, 2)
    first, second = received
    assert second["at_ms"] - first["at_ms"] >= 1_000
    (retried,) = await rig.read(rig.topics.retry(900_000))
    assert orjson.loads(retried.value)["attempt"] == 1


async def test_a_provider_that_never_recovers_ends_it_when_attempts_are_used_up(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    down = Rule(status=500, reason="InternalServerError")
    few = delivery_rig(kafka.servers, redis_url, topic_prefix, attempts_max=3)
    async with few as rig:
        delivery = rig.delivery(devices=IPHONE)
        (outcome,), received = await sent(rig, tmp_path, delivery, rules=(down,))
    assert (outcome.reason, outcome.code) == (Reason.PROVIDER_ERROR, "InternalServerError")
    assert outcome.attempts == len(received) == 3


async def test_a_marketing_push_without_an_answer_is_unknown_and_never_sent_again(
    rig: Rig, tmp_path: Path
) -> None:
    silent = Rule(action=Action.HANG)
    (outcome,), received = await sent(rig, tmp_path, rig.delivery(), rules=(silent,))
    assert (outcome.reason, outcome.code, len(received)) == (Reason.UNKNOWN, "TIMEOUT", 1)


async def test_a_transactional_push_without_an_answer_is_repeated_once_under_the_same_id(
    rig: Rig, tmp_path: Path
) -> None:
    silent = Rule(action=Action.HANG, first=1)
    delivery = rig.delivery(marketing=False)
    (outcome,), received = await sent(rig, tmp_path, delivery, rules=(silent,))
    assert (outcome.reason, outcome.attempts) == (Reason.ACCEPTED, 2)
    assert [e["delivery_id"] for e in received] == [delivery.delivery_id] * 2
    assert {e["collapse_key"] for e in received} == {delivery.delivery_id}


async def test_a_transactional_push_without_a_second_answer_is_unknown(
    rig: Rig, tmp_path: Path
) -> None:
    silent = Rule(action=Action.HANG)
    delivery = rig.delivery(marketing=False)
    (outcome,), received = await sent(rig, tmp_path, delivery, rules=(silent,))
    assert (outcome.reason, len(received)) == (Reason.UNKNOWN, 2)


async def test_what_is_expired_or_cancelled_is_not_sent(rig: Rig, tmp_path: Path) -> None:
    now_ms = clock.now_ms()
    late, cancelled = rig.delivery(expires_at_ms=now_ms - 1), rig.delivery()
    async with standins(tmp_path) as providers:
        await rig.admit(late)
        await rig.open([cancelled])
        await rig.shards[cancelled.shard].write(cancelled=[(cancelled.delivery_id, now_ms)])
        await rig.publish([cancelled])
        async with rig.working(providers.senders):
            outcomes = await rig.outcomes_of(late, cancelled)
        assert providers.received() == []
    assert outcomes[late.delivery_id].reason is Reason.EXPIRED
    assert outcomes[cancelled.delivery_id].reason is Reason.CANCELLED


async def test_a_limit_defers_while_there_is_time_and_ends_with_its_code_when_not(
    rig: Rig, tmp_path: Path
) -> None:
    same = {"user": "ann", "shard": 0}
    first = rig.delivery(**same)
    soon = rig.delivery(**same, trigger="order", limits=Limits(spacing_ms=1_200))
    never = rig.delivery(**same, limits=Limits(cooldown_ms=86_400_000))
    outcomes, received = await sent(rig, tmp_path, first, soon, never)
    assert [o.reason for o in outcomes] == [Reason.ACCEPTED, Reason.ACCEPTED, Reason.COOLDOWN]
    assert [e["delivery_id"] for e in received] == [first.delivery_id, soon.delivery_id]
    assert received[1]["at_ms"] - received[0]["at_ms"] >= 1_150


async def test_a_push_that_surely_failed_takes_no_share_of_a_limit(
    rig: Rig, tmp_path: Path
) -> None:
    refused = Rule(first=1, status=400, reason="INVALID_ARGUMENT")
    same = {"user": "ann", "shard": 0, "limits": Limits(cooldown_ms=86_400_000)}
    first, second = rig.delivery(**same), rig.delivery(**same)
    async with standins(tmp_path, [refused]) as providers, rig.working(providers.senders):
        await rig.admit(first)
        assert await rig.reason_of(first) is Reason.REJECTED
        await rig.admit(second)
        assert await rig.reason_of(second) is Reason.ACCEPTED


async def test_texts_that_fail_and_platforms_without_provider_end_without_a_request(
    rig: Rig, tmp_path: Path
) -> None:
    nameless = rig.delivery(fields={})
    unknown = rig.delivery(revision=2)
    elsewhere = rig.delivery(devices=[DeviceRef("t", "web")])
    outcomes, received = await sent(rig, tmp_path, nameless, unknown, elsewhere)
    assert [o.reason for o in outcomes] == [
        Reason.TEMPLATE_ERROR,
        Reason.TEMPLATE_ERROR,
        Reason.PROVIDER_ERROR,
    ]
    assert (outcomes[2].code, outcomes[2].attempts) == ("NOT_CONFIGURED", 0)
    assert received == []


async def test_a_text_that_aborts_ends_its_message_without_a_request(
    rig: Rig, tmp_path: Path
) -> None:
    body = "{% if start.properties.name == 'gone' %}{% abort_message %}{% endif %}now"
    message = {"push": {"title": "Hello", "body": body}}
    rig.definitions.triggers["cart"] = definition("cart", message=message)
    gone = rig.delivery(fields={"start": {"properties.name": "gone"}})
    there = rig.delivery(fields={"start": {"properties.name": "there"}})
    outcomes, received = await sent(rig, tmp_path, gone, there)
    assert [o.reason for o in outcomes] == [Reason.TEMPLATE_ABORT, Reason.ACCEPTED]
    assert [one["delivery_id"] for one in received] == [there.delivery_id]


async def test_a_record_that_is_no_delivery_becomes_a_dead_letter_and_stops_nobody(
    rig: Rig, tmp_path: Path
) -> None:
    lane = rig.topics.lane("normal")
    delivery = rig.delivery(shard=0)
    misplaced = rig.delivery(shard=1)
    await rig.producer.send_and_wait(lane, b"{", partition=0)
    await rig.producer.send_and_wait(lane, msgspec.json.encode(misplaced), partition=0)
    async with standins(tmp_path) as providers:
        await rig.admit(delivery)
        async with rig.working(providers.senders):
            assert await rig.reason_of(delivery) is Reason.ACCEPTED
            await rig.committed()
    letters = [orjson.loads(r.value) for r in await rig.read(rig.topics.dead_letters)]
    assert [(x["reason"], x["offset"]) for x in letters] == [
        ("BAD_ENGINE_RECORD", 0),
        ("BAD_ENGINE_RECORD", 1),
    ]
    assert "shard 1" in letters[1]["detail"]


async def test_refused_credentials_stop_one_provider_and_spare_its_messages(
    rig: Rig, tmp_path: Path
) -> None:
    refused = Rule(token_prefix="token", status=403, reason="THIRD_PARTY_AUTH_ERROR")
    androids = [rig.delivery() for _ in range(40)]
    async with standins(tmp_path, [refused]) as providers, rig.working(providers.senders):
        await rig.admit(*androids)
        await eventually(lambda: len(providers.received()) >= 5)
        iphone = rig.delivery(devices=IPHONE)
        await rig.admit(iphone)
        assert await rig.reason_of(iphone) is Reason.ACCEPTED
        asked = len(providers.fcm.journal.entries())
        assert not providers.fcm.journal.accepted
        providers.fcm.book.replace([])
        outcomes = await rig.outcomes_of(*androids, within_s=40)
    assert {o.reason for o in outcomes.values()} == {Reason.ACCEPTED}
    # One round of them all, and hardly a probe: not one request for each round of each delivery.
    assert asked <= 40 + 8


async def test_in_log_time_old_decisions_are_sent_and_outcomes_carry_their_time(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    year_ago_ms = clock.now_ms() - 365 * 86_400_000
    async with delivery_rig(kafka.servers, redis_url, topic_prefix, clock="log") as rig:
        delivery = rig.delivery(
            decided_at_ms=year_ago_ms,
            expires_at_ms=year_ago_ms + 600_000,
            limits=Limits(spacing_ms=86_400_000),
            user="ann",
            shard=0,
        )
        again = msgspec.structs.replace(delivery, delivery_id="f" * 32)
        busy = Rule(first=1, status=503, reason="UNAVAILABLE", retry_after="0")
        outcomes, received = await sent(rig, tmp_path, delivery, again, rules=(busy,))
        stamps = [r.timestamp for r in await rig.read(rig.topics.events)]
    assert [(o.reason, o.at_ms) for o in outcomes] == [(Reason.ACCEPTED, year_ago_ms)] * 2
    assert stamps == [year_ago_ms] * 2
    # What is left of its life counts from now.
    assert all(0 < e["expires_at_ms"] - e["at_ms"] <= 600_000 for e in received)
    assert all(e["expires_at_ms"] - e["at_ms"] > 590_000 for e in received)


async def test_a_ghost_never_reaches_a_provider_and_ends_where_a_message_would_be_sent(
    rig: Rig, tmp_path: Path
) -> None:
    ghosts = [rig.delivery(ghost=str(reason)) for reason in (Reason.CONTROL, Reason.GLOBAL_CONTROL)]
    late = rig.delivery(ghost="CONTROL", expires_at_ms=clock.now_ms() - 1)
    wordless = rig.delivery(ghost="CONTROL", fields={})
    sent_too = rig.delivery()
    outcomes, received = await sent(rig, tmp_path, *ghosts, late, wordless, sent_too)
    assert [outcome.reason for outcome in outcomes] == [
        Reason.CONTROL,
        Reason.GLOBAL_CONTROL,
        Reason.EXPIRED,
        Reason.TEMPLATE_ERROR,
        Reason.ACCEPTED,
    ]
    assert [entry["delivery_id"] for entry in received] == [sent_too.delivery_id]


async def test_a_ghost_of_the_global_group_counts_at_the_gate_and_one_of_a_trigger_does_not(
    rig: Rig, tmp_path: Path
) -> None:
    limits = Limits(caps=[(1, 3_600_000)])
    reasons = {}
    for ghost in ("CONTROL", "GLOBAL_CONTROL"):
        first = rig.delivery(ghost=ghost, user=ghost, trigger="order", shard=0)
        soon = clock.now_ms() + 60_000
        next_ = rig.delivery(user=ghost, limits=limits, shard=0, expires_at_ms=soon)
        await sent(rig, tmp_path / ghost, first)
        ((outcome,), _) = await sent(rig, tmp_path / f"{ghost}-next", next_)
        reasons[ghost] = outcome.reason
    assert reasons == {"CONTROL": Reason.ACCEPTED, "GLOBAL_CONTROL": Reason.FREQUENCY_CAP}
