"""Fixtures every test may use. What they promise is written in `tests/services.py`."""

from hypothesis import HealthCheck, settings

from tests.accepting import close_what_comes_too_late
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

close_what_comes_too_late()
# Hypothesis times each example: on a busy machine that fails what is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
