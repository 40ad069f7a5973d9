"""One `tripline` process of a scenario, and waiting for what coroutines tell."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from engine.local.errors import ChildError
from engine.local.ports import free_port
from engine.local.process import Child
from tests.waiting import eventually

READY_S = 90.0
BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).resolve().parents[2]


async def until(probe: Callable[[], Awaitable[bool]], *, within_s: float, every_s: float) -> None:
    """`eventually` for a coroutine."""
    either: Callable[[], bool | Awaitable[bool]] = probe
    await eventually(either, within_s=within_s, every_s=every_s)


class Role:
    """One `tripline` process that can be killed, paused and started again under its name."""

    def __init__(self, command: str, name: str, directory: Path, env: dict[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self._env = env | {"TRIPLINE_METRICS_PORT": str(self.port), "TRIPLINE_INSTANCE": name}
        self._command = [str(BIN / "tripline"), command]
        self._log_path = directory / f"{name}.log"
        self.child: Child

    def start(self, failpoint: str = "") -> None:
        """Launch the process, armed to die at `failpoint` (`engine.failpoints`)."""
        # Roles refuse settings they do not know, such as those of the tests themselves.
        foreign = [f"--unset={name}" for name in os.environ if name.startswith("TRIPLINE_")]
        env = self._env | {"TRIPLINE_FAILPOINT": failpoint}
        given = [f"{name}={value}" for name, value in env.items()]
        argv = ["env", *foreign, *given, *self._command]
        self.child = Child(self.name, argv, log_path=self._log_path, cwd=REPOSITORY)
        self.child.start()

    async def ready(self) -> None:
        """Wait until /readyz says so. Raises when the process ends instead."""
        async with aiohttp.ClientSession() as http:

            async def probe() -> bool:
                self.must_live()
                try:
                    async with http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await until(probe, within_s=READY_S, every_s=0.1)

    def must_live(self) -> None:
        """Raise with the end of the log when the process has ended."""
        if not self.child.alive:
            raise ChildError(
                f"{self.name} ended with {self.child.returncode}\n{self.child.log_tail(40)}"
            )

    async def died(self, within_s: float = READY_S) -> None:
        """Wait until it was killed, by a failpoint or by us."""
        await eventually(lambda: not self.child.alive, within_s=within_s)
        assert self.child.returncode == -signal.SIGKILL, self.child.log_tail(40)

    async def stop(self) -> None:
        """SIGTERM; it must end by itself, in time and without an error."""
        status = await asyncio.to_thread(self.child.stop, 25.0)
        assert status == 0, f"{self.name} ended with {status}\n{self.child.log_tail(40)}"

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.child.kill()
