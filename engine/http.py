"""What every role answers to its operators: /metrics, /livez and /readyz, in the role's own loop.

- `Health` holds named conditions. All true: ready. Kubernetes sends work elsewhere until then.
- `Progress` is the proof of life of a loop: too old, and /livez fails, so that the process is
  restarted. A process that waits for Kafka is alive and not ready.
- `start_http` serves both and the metrics.

The server answers in the loop it watches: a blocked loop does not answer, which fails the probe.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from aiohttp import web

from engine import clock, metrics

log = structlog.get_logger(__name__)

REQUEST_BYTES_MAX: Final = 4_096
SHUTDOWN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing readiness depends on. `detail` is for people and holds no secrets."""

    ok: bool
    detail: str


class Progress:
    """When something that must not stand still last moved, in monotonic seconds."""

    def __init__(
        self, what: str, stale_after_s: float, monotonic_s: Callable[[], float] = clock.monotonic_s
    ) -> None:
        self._what = what
        self._stale_after_s = stale_after_s
        self._monotonic_s = monotonic_s
        self._moved_s = monotonic_s()

    def made(self) -> None:
        """It moved."""
        self._moved_s = self._monotonic_s()

    def stuck(self) -> str | None:
        """None while it moves, else what stands still."""
        age_s = self._monotonic_s() - self._moved_s
        if age_s <= self._stale_after_s:
            return None
        return f"{self._what} stands still for {age_s:.0f} s"


class Health:
    """The conditions of one process.

    `expected` conditions are false until they are set: a role is not ready because nothing was
    said yet. `stuck` is asked by /livez and answers None or what stands still.
    """

    def __init__(
        self, expected: Iterable[str] = (), stuck: Callable[[], str | None] | None = None
    ) -> None:
        self._conditions = {name: Condition(False, "starting") for name in expected}
        self._stuck = stuck

    def watch(self, stuck: Callable[[], str | None]) -> None:
        """Let /livez ask `stuck` from now on."""
        self._stuck = stuck

    def set(self, name: str, ok: bool, detail: str = "") -> None:
        """State a condition; a change is logged."""
        before = self._conditions.get(name)
        self._conditions[name] = Condition(ok, detail)
        if before is None or before.ok != ok:
            write = log.info if ok else log.warning
            write("condition_changed", condition=name, ok=ok, detail=detail)

    def get(self, name: str) -> Condition | None:
        """The condition of that name, None when nobody stated or expects it."""
        return self._conditions.get(name)

    @property
    def ready(self) -> bool:
        """True when there is a condition and all are true."""
        return bool(self._conditions) and all(c.ok for c in self._conditions.values())

    @property
    def stuck(self) -> str | None:
        """None for a live process, else why it should be restarted."""
        return self._stuck() if self._stuck else None

    def report(self) -> dict[str, object]:
        """What /readyz answers; version 1."""
        return {
            "version": 1,
            "ready": self.ready,
            "failing": [name for name, c in self._conditions.items() if not c.ok],
            "conditions": {
                name: {"ok": c.ok, "detail": c.detail} for name, c in self._conditions.items()
            },
        }


_HEALTH: Final = web.AppKey("health", Health)


class HttpServer:
    """A started server: `port` is the bound one."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def stop(self) -> None:
        """Close the listener and the connections. May be called twice."""
        await self._runner.cleanup()


async def start_http(host: str, port: int, health: Health) -> HttpServer:
    """Serve on `host`:`port` (0: a free port). Raises OSError when the port is taken."""
    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    app[_HEALTH] = health
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    bound = int(runner.addresses[0][1])
    return HttpServer(runner, bound)


async def _metrics(request: web.Request) -> web.Response:
    # Up to 10 ms for a full registry: in a thread, so that a scrape delays no record.
    body, content_type = await asyncio.to_thread(
        metrics.exposition, request.headers.get("Accept", "")
    )
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _livez(request: web.Request) -> web.Response:
    stuck = request.app[_HEALTH].stuck
    return _answer(stuck is None, {"version": 1, "live": stuck is None, "detail": stuck or ""})


async def _readyz(request: web.Request) -> web.Response:
    health = request.app[_HEALTH]
    return _answer(health.ready, health.report())


def _answer(ok: bool, body: dict[str, object]) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=200 if ok else 503, content_type="application/json"
    )
