"""One child process on a leash, and the identity of a process across commands."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine import clock
from engine.local.errors import ChildError

log = structlog.get_logger(__name__)

_LEASH = Path(__file__).with_name("leash.py")
_TAIL_BYTES_MAX = 64 * 1024


class Child:
    """A process in its own process group, with a log file, killed by the kernel when we die.

    `argv` is looked up on PATH. `env` is added to this process's environment. The log file is
    appended to, so that a restart keeps what led to it. Not safe for use from two threads at once.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self._env = dict(env or {})
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def pid(self) -> int:
        """Process id of the running or last process. Raises `ChildError` before the first start."""
        if self._popen is None:
            raise ChildError(f"{self.name} was never started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True while the process runs (also when paused)."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal, None while running or before the first start."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start the process. Raises `ChildError` if it is already running."""
        if self.alive:
            raise ChildError(f"{self.name} is already running (pid {self.pid})")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._paused = False
        with self.log_path.open("ab") as log_file:
            self._popen = _spawner().popen(
                [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self.argv],
                log_fd=log_file.fileno(),
                env={**os.environ, **self._env},
                cwd=self._cwd,
            )

    def stop(self, within_s: float = 15.0, *, again_every_s: float | None = None) -> int | None:
        """Send TERM, and KILL to the whole group after `within_s`. Returns the exit status.

        `again_every_s` repeats TERM, for a program that may refuse it. Does nothing but return
        the last status when the process is not running.
        """
        if self._popen is None or not self.alive:
            return self.returncode
        deadline_s = clock.monotonic_s() + within_s
        while (left_s := deadline_s - clock.monotonic_s()) > 0:
            # Popen sends nothing once it has seen the process end.
            self._popen.terminate()
            self.resume()  # a paused process only acts on TERM once it continues
            try:
                return self._popen.wait(min(left_s, again_every_s or left_s))
            except subprocess.TimeoutExpired:
                continue
        log.warning("child_killed", child=self.name, pid=self.pid, waited_s=within_s)
        return self.kill()

    def kill(self) -> int | None:
        """Send KILL to the whole process group and reap the process. Returns the exit status."""
        if self._popen is None or not self.alive:
            return self.returncode
        # The leader is not reaped yet, so its group id cannot belong to anybody else.
        os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def pause(self) -> None:
        """SIGSTOP: the process keeps its sockets and answers nothing. Returns when all of its
        threads have stopped: one that still runs may answer once more."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT after `pause`; nothing otherwise."""
        if self._paused and self._popen is not None:
            self._popen.send_signal(signal.SIGCONT)
            self._paused = False

    def send(self, number: signal.Signals) -> None:
        """Send any signal to the process. Raises `ChildError` when it is not running."""
        self._signal(number)

    def wait(self, within_s: float) -> int:
        """Wait for the process to end by itself. Raises `ChildError` at the deadline."""
        if self._popen is None:
            raise ChildError(f"{self.name} was never started")
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise ChildError(
                f"{self.name} still runs after {within_s} s\n{self.log_tail()}"
            ) from None

    def log_tail(self, lines_max: int = 20) -> str:
        """The last lines of the log file, for error messages. Empty when there is none."""
        try:
            with self.log_path.open("rb") as log_file:
                size = log_file.seek(0, os.SEEK_END)
                log_file.seek(max(0, size - _TAIL_BYTES_MAX))
                text = log_file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines_max:])

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is None or not self.alive:
            raise ChildError(f"{self.name} is not running\n{self.log_tail()}")
        self._popen.send_signal(number)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process told apart from a later one with the same pid, also after a reboot."""

    pid: int
    started_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of the process running as `pid` now, None if there is none."""
        ticks = _started_ticks(pid)
        return None if ticks is None else cls(pid, ticks, _boot_id())

    @property
    def alive(self) -> bool:
        """True while this very process runs."""
        return self.boot_id == _boot_id() and _started_ticks(self.pid) == self.started_ticks

    def send(self, number: signal.Signals) -> bool:
        """Send a signal if this very process still runs. Returns whether it was sent."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, within_s: float) -> bool:
        """Wait until the process is gone. Returns False at the deadline."""
        deadline_s = clock.monotonic_s() + within_s
        gone = threading.Event()  # never set: its timed wait is the pause between looks
        while self.alive:
            if clock.monotonic_s() > deadline_s:
                return False
            gone.wait(0.02)
        return True


def _started_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot (field 22 of proc_pid_stat(5)); None if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    state, *fields = stat.rpartition(")")[2].split()
    # While other threads are still ending, a dead leader is a zombie whose sockets are open.
    threads = int(fields[16])
    return None if state in ("Z", "X") and threads <= 1 else int(fields[18])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class _Spawner:
    """A thread that never ends and starts every child.

    PR_SET_PDEATHSIG fires when the *thread* that forked ends (prctl(2)). A child started from a
    short-lived worker thread, as `asyncio.to_thread` may use, would die with that thread.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[
            tuple[Future[subprocess.Popen[bytes]], list[str], int, dict[str, str], Path | None]
        ] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="spawner", daemon=True).start()

    def popen(
        self, argv: list[str], *, log_fd: int, env: dict[str, str], cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        started: Future[subprocess.Popen[bytes]] = Future()
        self._requests.put((started, argv, log_fd, env, cwd))
        return started.result()

    def _run(self) -> None:
        while True:
            started, argv, log_fd, env, cwd = self._requests.get()
            try:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log_fd,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                started.set_exception(error)
            else:
                started.set_result(child)


_spawner_of_pid: dict[int, _Spawner] = {}
_spawner_lock = threading.Lock()


def _spawner() -> _Spawner:
    # By pid: threads do not survive a fork.
    with _spawner_lock:
        pid = os.getpid()
        if pid not in _spawner_of_pid:
            _spawner_of_pid.clear()
            _spawner_of_pid[pid] = _Spawner()
        return _spawner_of_pid[pid]
