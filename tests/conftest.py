"""Fixtures every test may use. What they promise is written in `tests/services.py`."""

from tests.services import (
    fresh_kafka,
    fresh_redis,
    fresh_redis_cluster,
    kafka,
    redis_server,
    redis_url,
    topic_prefix,
)

__all__ = [
    "fresh_kafka",
    "fresh_redis",
    "fresh_redis_cluster",
    "kafka",
    "redis_server",
    "redis_url",
    "topic_prefix",
]
