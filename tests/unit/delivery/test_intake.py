"""What is finished of a lane is committed, or it shows for how long it is not."""

from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from engine import clock
from engine.delivery.fences import Fences
from engine.delivery.intake import Intake
from engine.delivery.offsets import Window
from schemas.topics import Lane

OPTIONS = {"bootstrap_servers": "localhost:1"}


async def test_it_shows_for_how_long_kafka_takes_no_offsets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    nobody: Any = None
    probe = AIOKafkaConsumer(**OPTIONS)
    fences = Fences(probe, "events")
    intake = Intake(OPTIONS, ["deliveries.high"], "group", nobody, 100, Lane.HIGH, fences)
    await intake.commit()
    assert intake.uncommitted_s == 0
    # A consumer that has no partition any more refuses: so it was when its coordinator was lost.
    window = Window()
    window.read(7)
    window.done(7)
    intake._windows = {TopicPartition("deliveries.high", 0): window}
    intake._consumer.subscribe(topics=["deliveries.high"], listener=intake)
    for now_s in (100.0, 130.0, 160.0):
        await intake.commit()
        assert intake.uncommitted_s == now_s - 100.0
    await intake.on_partitions_revoked([])
    await intake.commit()
    assert intake.uncommitted_s == 0
    await intake.stop()
    await probe.stop()
