"""Waiting for a service that is not there: said once, with back-off, readiness false meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from engine import clock
from engine.http import Health

log = structlog.get_logger(__name__)

PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 15.0
#: While it stays away it is said again this often, so that the log of the last minutes shows it.
SAY_EVERY_S: Final = 60.0

T = TypeVar("T")


async def until_reachable(
    service: str,
    where: str,
    connect: Callable[[], Awaitable[T]],
    health: Health,
    away: tuple[type[Exception], ...],
    *,
    pause_first_s: float = PAUSE_FIRST_S,
    pause_max_s: float = PAUSE_MAX_S,
) -> T:
    """What `connect` gives, tried until it works; the condition `service` of `health` follows.

    `where` is the address for people, without credentials. `away` are the errors that mean "not
    now"; every other one is raised. `connect` leaves nothing open when it fails.
    """
    pause_s = pause_first_s
    began_s = clock.monotonic_s()
    said_s = float("-inf")
    while True:
        try:
            made = await connect()
        except away as error:
            now_s = clock.monotonic_s()
            health.set(service, False, f"no answer from {where}")
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                log.warning(
                    "waiting_for_service",
                    service=service,
                    where=where,
                    waited_s=round(now_s - began_s, 1),
                    error=str(error) or type(error).__name__,
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, pause_max_s)
        else:
            health.set(service, True, where)
            return made
