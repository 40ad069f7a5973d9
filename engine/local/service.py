"""A child process that becomes ready to serve."""

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from engine import clock
from engine.local.errors import ChildError
from engine.local.process import Child

_POLL_S = 0.02


class Service(ABC):
    """A server with a directory for its data and its log, and a port that survives a restart.

    The blocking methods are for fixtures and commands; those ending in `_async` do the same
    without blocking the event loop. Used as a context manager it starts and stops itself.
    """

    ready_within_s = 60.0

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process. Raises `ChildError` before the first launch."""
        if self._child is None:
            raise ChildError(f"{self.name} was never started")
        return self._child

    @property
    def alive(self) -> bool:
        """True while the process runs, ready or not."""
        return self._child is not None and self._child.alive

    def launch(self) -> None:
        """Start the process and return at once. Raises `MissingProgramError` or `ChildError`."""
        if self.alive:
            raise ChildError(f"{self.name} is already running (pid {self.child.pid})")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._child = Child(self.name, self._command(), log_path=self.log_path)
        self._child.start()

    def wait_ready(self, within_s: float | None = None) -> None:
        """Block until the service answers. Raises `ChildError` when it ends or at the deadline."""
        limit_s = self.ready_within_s if within_s is None else within_s
        deadline_s = clock.monotonic_s() + limit_s
        while not self._is_ready():
            if not self.alive:
                raise ChildError(
                    f"{self.name} ended with status {self.child.returncode}\n"
                    f"{self.child.log_tail()}"
                )
            if clock.monotonic_s() > deadline_s:
                raise ChildError(
                    f"{self.name} was not ready within {limit_s} s\n{self.child.log_tail()}"
                )
            time.sleep(_POLL_S)

    def start(self, within_s: float | None = None) -> None:
        """`launch`, then `wait_ready`. Nothing is left running when it fails."""
        self.launch()
        try:
            self.wait_ready(within_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, within_s: float = 15.0) -> None:
        """TERM, then KILL after `within_s`. Does nothing when the service does not run."""
        if self._child is not None:
            self._child.stop(within_s)

    def kill(self) -> None:
        """SIGKILL, and reap. Data and port are kept for the next `start`."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self.child.pause()

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.child.resume()

    def restart(self, within_s: float | None = None) -> None:
        """Stop in good order and start again on the same data and port."""
        self.stop()
        self.start(within_s)

    async def start_async(self, within_s: float | None = None) -> None:
        """`start` without blocking the loop."""
        await asyncio.to_thread(self.start, within_s)

    async def wait_ready_async(self, within_s: float | None = None) -> None:
        """`wait_ready` without blocking the loop."""
        await asyncio.to_thread(self.wait_ready, within_s)

    async def stop_async(self, within_s: float = 15.0) -> None:
        """`stop` without blocking the loop."""
        await asyncio.to_thread(self.stop, within_s)

    async def restart_async(self, within_s: float | None = None) -> None:
        """`restart` without blocking the loop."""
        await asyncio.to_thread(self.restart, within_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> list[str]:
        """Write what the process needs into `directory` and return its command line."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """One look; False while the service does not serve yet."""
