"""Connect to Kafka within a time: try again until it answers, and leave nothing open if not."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from engine.clock import monotonic_s

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 2.0
STOP_WITHIN_S = 5.0

C = TypeVar("C", AIOKafkaConsumer, AIOKafkaProducer)


class KafkaUnreachableError(Exception):
    """Kafka did not answer in time."""


async def connect(make: Callable[[], C], within_s: float) -> C:
    """A started client. Raises KafkaUnreachableError with the last reason when the time is over."""
    deadline_s = monotonic_s() + within_s
    pause_s = PAUSE_FIRST_S
    while True:
        left_s = deadline_s - monotonic_s()
        client = make()
        try:
            async with asyncio.timeout(max(left_s, 0)):
                await client.start()
                return client
        except (KafkaError, OSError, TimeoutError) as error:
            await close(client)
            left_s = deadline_s - monotonic_s()
            if left_s <= 0:
                reason = str(error) or "no answer"
                raise KafkaUnreachableError(f"no answer within {within_s:g} s: {reason}") from error
        except BaseException:
            await close(client)
            raise
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, PAUSE_MAX_S)


async def close(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client, started or not. A producer whose broker is gone is not waited for."""
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await client.stop()
    except TimeoutError:
        return
