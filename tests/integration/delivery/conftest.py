"""A rig for each test."""

from collections.abc import AsyncIterator

import pytest

from engine.local.kafka import KafkaBroker
from tests.integration.delivery.rig import Rig, delivery_rig


@pytest.fixture
async def rig(kafka: KafkaBroker, redis_url: str, topic_prefix: str) -> AsyncIterator[Rig]:
    """Two shards, requests of at most a second."""
    async with delivery_rig(kafka.servers, redis_url, topic_prefix) as made:
        yield made
