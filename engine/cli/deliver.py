"""`tripline deliver`: the delivery worker."""

import asyncio

from engine.http import Health
from engine.roles import run_role
from engine.settings import Settings


def deliver() -> int:
    """Send: take deliveries by priority, look once more, push, write how each one ended."""
    return run_role(
        "deliver",
        _main,
        expected=("kafka", "redis", "registry", "assignment"),
        require=("log_secret",),
    )


async def _main(settings: Settings, health: Health, stop: asyncio.Event) -> None:
    from engine.delivery.providers import build_senders
    from engine.delivery.worker import DeliveryWorker
    from engine.kafka_client import client_options
    from engine.registry.reader import RegistryReader
    from engine.store.redis import RedisStore
    from engine.tasks import spawn
    from engine.topics import wait_for_topics
    from schemas.topics import Topics

    senders = build_senders(settings)
    store = RedisStore(
        settings.redis_url,
        settings.key_prefix,
        replicas=settings.redis_replicas,
        replica_wait_ms=settings.redis_ack_ms,
        timeout_s=settings.redis_timeout_s,
    )
    failures: list[BaseException] = []

    def registry_lost(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    reader = RegistryReader(
        client_options(settings),
        Topics(settings.topic_prefix).registry,
        on_failure=registry_lost,
    )
    try:
        await store.wait_ready()
        health.set("redis", True)
        await wait_for_topics(settings, health)
        await reader.start()
        health.set("registry", True)
        running = DeliveryWorker(settings, store, reader, senders, health)

        async def obey() -> None:
            await stop.wait()
            running.stop()

        obeying = spawn(obey(), "obey-signals")
        await running.run()
        obeying.cancel()
    finally:
        await reader.stop()
        await store.aclose()
    if failures:
        raise failures[0]
