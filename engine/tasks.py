"""Background tasks that cannot be collected early and whose failure is never silent."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)
_running: set[asyncio.Task[Any]] = set()


def spawn(
    coro: Coroutine[Any, Any, Any],
    name: str,
    on_failure: Callable[[BaseException], None] | None = None,
) -> asyncio.Task[Any]:
    """Start `coro`, keep a reference until it ends, and log (and report) its failure.

    A bare `asyncio.create_task` may be garbage collected while it runs, and its exception is
    only printed when it is collected.
    """
    task = asyncio.create_task(coro, name=name)  # noqa: TID251 - the one allowed use
    _running.add(task)

    def done(finished: asyncio.Task[Any]) -> None:
        _running.discard(finished)
        if finished.cancelled():
            return
        error = finished.exception()
        if error is not None:
            log.error("task_failed", task=name, exc_info=error)
            if on_failure is not None:
                on_failure(error)

    task.add_done_callback(done)
    return task
