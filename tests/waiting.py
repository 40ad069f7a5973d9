"""Wait for a condition with a deadline, never for a length of time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    probe: Callable[[], Awaitable[T]], *, within_s: float = ..., every_s: float = ...
) -> T: ...
@overload
async def eventually(
    probe: Callable[[], T], *, within_s: float = ..., every_s: float = ...
) -> T: ...
async def eventually(
    probe: Callable[[], Any], *, within_s: float = 10.0, every_s: float = 0.02
) -> Any:
    """Call `probe` until it returns something truthy; raise its last answer at the deadline."""
    deadline_s = time.monotonic() + within_s
    # A caller that loops over conditions which already hold must not keep the loop from others.
    await asyncio.sleep(0)
    while True:
        answer = probe()
        value = await answer if isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s} s; last answer: {value!r}")
        await asyncio.sleep(every_s)
