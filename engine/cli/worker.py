"""`tripline worker`: the user stage."""

import asyncio

from engine.http import Health
from engine.roles import run_role
from engine.settings import Settings


def worker() -> int:
    """Decide: read the log, keep every user's state, write deliveries and decisions."""
    return run_role(
        "worker",
        _main,
        expected=("kafka", "redis", "registry", "assignment"),
        require=("log_secret",),
    )


async def _main(settings: Settings, health: Health, stop: asyncio.Event) -> None:
    from engine.store.redis import RedisStore
    from engine.stream.worker import Worker
    from engine.tasks import spawn
    from engine.topics import wait_for_topics

    store = RedisStore(
        settings.redis_url,
        settings.key_prefix,
        replicas=settings.redis_replicas,
        replica_wait_ms=settings.redis_ack_ms,
        timeout_s=settings.redis_timeout_s,
    )
    try:
        await store.wait_ready()
        health.set("redis", True)
        await wait_for_topics(settings, health)
        running = Worker(settings, store, health)

        async def obey() -> None:
            await stop.wait()
            running.stop()

        obeying = spawn(obey(), "obey-signals")
        await running.run()
        obeying.cancel()
    finally:
        await store.aclose()
