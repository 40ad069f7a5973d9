"""`tripline deliver` as a process: killed, and stopped."""

import sys
from asyncio import to_thread
from collections import Counter
from pathlib import Path

import pytest

from engine.local.kafka import KafkaBroker
from engine.local.process import Child
from engine.registry.operations import Signature, open_to_write
from schemas.reasons import Reason
from tests.integration.delivery.rig import (
    SECRET,
    Rig,
    Standins,
    definition,
    delivery_rig,
    standins,
)
from tests.waiting import eventually

pytestmark = pytest.mark.service

IN_FLIGHT_MAX = 25


class Deliver:
    """The command, with the settings of a rig."""

    def __init__(self, rig: Rig, providers: Standins, directory: Path) -> None:
        settings = rig.settings
        env = {
            "KAFKA_SERVERS": settings.kafka_servers,
            "REDIS_URL": settings.redis_url,
            "TOPIC_PREFIX": settings.topic_prefix,
            "GROUP": settings.group,
            "PARTITIONS": str(settings.partitions),
            "LOG_SECRET": SECRET,
            "REQUEST_TIMEOUT_S": "1",
            "SESSION_TIMEOUT_S": "6",
            "HEARTBEAT_S": "1",
            "IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
            "STANDINS_ALLOWED": "true",
            "FCM_BASE_URL": providers.fcm.base_url,
            "FCM_SERVICE_ACCOUNT_FILE": str(directory / "keys" / "service-account.json"),
            "LOG_FORMAT": "json",
        }
        self.child = Child(
            "deliver",
            [
                sys.executable,
                "-c",
                "import sys; from engine.cli.deliver import deliver; sys.exit(deliver())",
            ],
            log_path=directory / "deliver.log",
            env={f"TRIPLINE_{name}": value for name, value in env.items()},
            cwd=Path(__file__).parents[3],
        )

    def __enter__(self) -> Child:
        self.child.start()
        return self.child

    def __exit__(self, *_: object) -> None:
        self.child.kill()


async def register(rig: Rig) -> None:
    """Revision 1 of the trigger the deliveries name."""
    async with open_to_write(rig.settings, 30.0) as registry:
        plan = registry.plan({"cart": definition("cart")}, {})
        await registry.put_in_force(plan, Signature("test"))


async def test_after_a_kill_each_delivery_is_sent_once_but_for_those_in_flight(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        delivery_rig(kafka.servers, redis_url, topic_prefix) as rig,
        standins(tmp_path, delay_ms=150) as providers,
    ):
        await register(rig)
        deliveries = [rig.delivery() for _ in range(600)]
        ids = {d.delivery_id for d in deliveries}
        await rig.admit(*deliveries)
        with Deliver(rig, providers, tmp_path) as child:
            await eventually(lambda: len(providers.received()) >= 200, within_s=60)
            child.kill()
        assert len(providers.received()) < 600
        with Deliver(rig, providers, tmp_path):
            outcomes = await rig.outcomes_of(*deliveries, within_s=90)
            await rig.committed(within_s=90)
        accepted = Counter(providers.accepted())
    unknown = {id for id, outcome in outcomes.items() if outcome.reason is Reason.UNKNOWN}
    assert 0 < len(unknown) <= IN_FLIGHT_MAX
    assert {o.reason for o in outcomes.values()} == {Reason.ACCEPTED, Reason.UNKNOWN}
    assert set(accepted.values()) == {1}
    assert ids - set(accepted) <= unknown


async def test_a_stop_signal_finishes_what_is_being_sent(
    kafka: KafkaBroker, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        delivery_rig(kafka.servers, redis_url, topic_prefix) as rig,
        standins(tmp_path, delay_ms=300) as providers,
    ):
        await register(rig)
        await rig.admit(*[rig.delivery() for _ in range(200)])
        with Deliver(rig, providers, tmp_path) as child:
            await eventually(lambda: len(providers.received()) >= 50, within_s=60)
            assert await to_thread(child.stop, 30.0) == 0
        outcomes = await rig.outcomes()
        assert {o.reason for o in outcomes} == {Reason.ACCEPTED}
        assert {o.delivery_id for o in outcomes} == set(providers.accepted())
