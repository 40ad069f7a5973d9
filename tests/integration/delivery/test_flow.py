"""The delivery worker under load, while stopping, while others come and go."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from engine.http import Health
from engine.local.kafka import KafkaBroker
from engine.ports import Claim, StoreUnavailable, Verdict
from engine.standins.rules import Action, Rule
from engine.store.redis import RedisStore
from schemas.reasons import Reason
from schemas.topics import RETRY_TIERS_MS, Lane
from tests.integration.delivery.rig import Rig, delivery_rig, standins
from tests.waiting import eventually

pytestmark = pytest.mark.service


class MovableGate:
    """The real gate behind a door."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.shut = True
        self.asked = 0

    async def claim(self, claims: Sequence[Claim]) -> list[Verdict]:
        self.asked += 1
        if self.shut:
            raise StoreUnavailable("shut")
        return await self.store.claim(claims)

    async def release(self, claims: Iterable[Claim]) -> None:
        await self.store.release(claims)


async def test_without_the_gate_nothing_is_sent_and_the_process_is_not_ready(
    rig: Rig, tmp_path: Path
) -> None:
    deliveries = [rig.delivery() for _ in range(20)]
    gate, health = MovableGate(rig.store), Health(["redis"])
    async with standins(tmp_path) as providers:
        await rig.admit(*deliveries)
        async with rig.working(providers.senders, gate=gate, health=health):
            await eventually(lambda: gate.asked >= 3)
            condition = health.get("redis")
            assert condition is not None
            assert not condition.ok
            assert providers.received() == []
            gate.shut = False
            outcomes = await rig.outcomes_of(*deliveries)
        assert Counter(providers.accepted()) == Counter(d.delivery_id for d in deliveries)
    assert {o.reason for o in outcomes.values()} == {Reason.ACCEPTED}
    condition = health.get("redis")
    assert condition is not None
    assert condition.ok


async def test_a_flood_of_low_deliveries_does_not_delay_a_critical_one(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    in_flight_max = 10
    few = delivery_rig(kafka.servers, redis_url, topic_prefix, in_flight_max=in_flight_max)
    async with few as rig, standins(tmp_path, delay_ms=100) as providers:
        await rig.admit(*[rig.delivery(lane="low") for _ in range(600)])
        async with rig.working(providers.senders):
            await eventually(lambda: len(providers.received()) >= 40)
            urgent = rig.delivery(lane="critical")
            before = len(providers.received())
            await rig.admit(urgent)
            await eventually(lambda: providers.received(urgent.delivery_id))
            ids = [entry["delivery_id"] for entry in providers.received()]
        # What was in flight, and what went while the record travelled: some rounds of ten.
        assert ids.index(urgent.delivery_id) - before <= 5 * in_flight_max
        assert len(ids) < 600


async def test_never_more_requests_are_under_way_than_allowed(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    few = delivery_rig(kafka.servers, redis_url, topic_prefix, in_flight_max=8)
    async with few as rig, standins(tmp_path, [Rule(action=Action.HANG)]) as providers:
        await rig.admit(*[rig.delivery() for _ in range(50)])
        async with rig.working({"android": providers.senders["android"]}):
            await eventually(lambda: len(providers.received()) >= 8)
            assert len(providers.received()) == 8


async def test_what_is_read_ahead_is_bounded_while_nothing_can_be_sent(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    window_max, in_flight_max = 20, 5
    narrow = delivery_rig(
        kafka.servers,
        redis_url,
        topic_prefix,
        window_max=window_max,
        in_flight_max=in_flight_max,
        request_timeout_s=4.0,
    )
    async with narrow as rig, standins(tmp_path, [Rule(action=Action.HANG, first=5)]) as providers:
        deliveries = [rig.delivery() for _ in range(400)]
        await rig.admit(*deliveries)
        async with rig.working({"android": providers.senders["android"]}) as worker:
            # A poll may bring as much again as the window before the partition is paused.
            most = 2 * window_max * rig.settings.partitions
            seen = await eventually(lambda: worker.queued(Lane.NORMAL), within_s=5)

            def goes_on() -> bool:
                nonlocal seen
                seen = max(seen, worker.queued(Lane.NORMAL))
                return len(providers.received()) > in_flight_max

            await eventually(goes_on, within_s=60)
            outcomes = await rig.outcomes_of(*deliveries, within_s=60)
    assert window_max <= seen <= most
    assert Counter(o.reason for o in outcomes.values()) == {
        Reason.UNKNOWN: in_flight_max,
        Reason.ACCEPTED: 400 - in_flight_max,
    }


async def test_while_the_only_provider_refuses_us_deliveries_stay_in_their_lane(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    refused = Rule(status=403, reason="THIRD_PARTY_AUTH_ERROR")
    few = delivery_rig(kafka.servers, redis_url, topic_prefix, in_flight_max=10)
    async with few as rig, standins(tmp_path, [refused]) as providers:
        deliveries = [rig.delivery() for _ in range(200)]
        await rig.admit(*deliveries)
        async with rig.working({"android": providers.senders["android"]}):
            # The first round, then at least three probes: after 1, 2 and 4 seconds.
            await eventually(lambda: len(providers.received()) >= 13, within_s=20)
            providers.fcm.book.replace([])
            outcomes = await rig.outcomes_of(*deliveries, within_s=60)
        put_back = [r for tier in RETRY_TIERS_MS for r in await rig.read(rig.topics.retry(tier))]
    assert {o.reason for o in outcomes.values()} == {Reason.ACCEPTED}
    assert len(put_back) <= 25


async def test_stopping_finishes_what_is_being_sent_and_commits_it(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    few = delivery_rig(kafka.servers, redis_url, topic_prefix, in_flight_max=20)
    async with few as rig, standins(tmp_path, delay_ms=700) as providers:
        deliveries = [rig.delivery() for _ in range(60)]
        await rig.admit(*deliveries)
        async with rig.working({"android": providers.senders["android"]}) as worker:
            await eventually(lambda: len(providers.received()) == 20)
            worker.stop()
        begun = {entry["delivery_id"] for entry in providers.received()}
        outcomes = await rig.outcomes()
        assert len(begun) == 20
        assert {o.delivery_id for o in outcomes} == begun
        assert {o.reason for o in outcomes} == {Reason.ACCEPTED}
        # Partitions advance up to the first delivery that was not begun.
        assert await rig.lag("normal", [rig.topics.lane("normal")]) == 40
        async with standins(tmp_path / "again") as fresh:
            async with rig.working(fresh.senders):
                await rig.committed()
            left = [d.delivery_id for d in deliveries if d.delivery_id not in begun]
            assert Counter(fresh.accepted()) == Counter(left)


async def test_workers_that_come_and_go_send_everything_once(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        delivery_rig(kafka.servers, redis_url, topic_prefix, in_flight_max=10) as rig,
        standins(tmp_path / "1", delay_ms=50) as one,
        standins(tmp_path / "2", delay_ms=50) as two,
    ):
        deliveries = [rig.delivery() for _ in range(1_500)]
        await rig.admit(*deliveries)
        async with rig.working(one.senders):
            await eventually(lambda: len(one.received()) > 50)
            async with rig.working(two.senders):
                await eventually(lambda: len(two.received()) > 50, within_s=30)
            outcomes = await rig.outcomes_of(*deliveries, within_s=60)
            await rig.committed()
        accepted = Counter(one.accepted() + two.accepted())
    assert accepted == Counter(d.delivery_id for d in deliveries)
    assert {o.reason for o in outcomes.values()} == {Reason.ACCEPTED}
