"""How a role runs: settings, logs, health, signals, and a deadline for stopping.

Every long-running command is `run_role(name, main)`: `main` gets the settings, the health to report
to and an event that says stop.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable

import structlog

from engine import failpoints
from engine.http import Health, start_http
from engine.logs import setup_logging
from engine.settings import Settings, SettingsError, load_settings

log = structlog.get_logger(__name__)

#: After a stop signal the role has this long, then the process ends whatever it is doing.
EXIT_S = 30.0
INVALID = 2

Main = Callable[[Settings, Health, asyncio.Event], Awaitable[None]]


def run_role(
    name: str,
    main: Main,
    *,
    expected: Iterable[str],
    require: Iterable[str] = (),
    stuck: Callable[[], str | None] | None = None,
) -> int:
    """Run `main` until it returns or a signal stops it; the exit code of the process.

    `expected` are the conditions of readiness, `require` the settings the role cannot do without.
    """
    try:
        settings = load_settings(require=require)
        failpoints.arm(settings.failpoint)
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return INVALID
    setup_logging(settings, name)
    health = Health(expected, stuck)
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_serve(settings, name, main, health))
    except Exception as error:
        log.error("role_failed", exc_info=error)
        _exit_after(0.5, 1)
        return 1
    return 0


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    from engine.kafka_client import expect_uvloop

    expect_uvloop()
    return uvloop.new_event_loop()


async def _serve(settings: Settings, name: str, main: Main, health: Health) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        log.info("role_stopping", role=name)
        _exit_after(EXIT_S, 70)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    server = None
    if settings.metrics_port is not None:
        server = await start_http(settings.metrics_host, settings.metrics_port, health)
        log.info("http_started", port=server.port)
    try:
        await main(settings, health, stop)
    finally:
        if server is not None:
            await server.stop()


def _exit_after(seconds: float, code: int) -> None:
    """A thread, because a blocked loop is exactly what it is for."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
