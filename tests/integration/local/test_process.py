import asyncio
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.local import ports
from engine.local.errors import ChildError
from engine.local.process import Child, ProcessIdentity
from tests.waiting import eventually

_IGNORES_TERM = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(600)\n"
)
_SLEEPS = "import time\ntime.sleep(600)\n"
_COUNTS = (
    "import pathlib, sys, time\n"
    "n = 0\n"
    "while True:\n"
    "    n += 1\n"
    "    pathlib.Path(sys.argv[1]).write_text(str(n))\n"
    "    time.sleep(0.005)\n"
)
_STARTS_A_CHILD = (
    "import pathlib, sys\n"
    "from engine.local.process import Child\n"
    "child = Child('sleeper', ['sleep', '600'], log_path=pathlib.Path(sys.argv[1]))\n"
    "child.start()\n"
    "print('pid', child.pid, flush=True)\n"
)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()


def _python(children: list[Child], log_path: Path, code: str, *arguments: str) -> Child:
    child = Child("python", [sys.executable, "-c", code, *arguments], log_path=log_path)
    children.append(child)
    child.start()
    return child


async def test_a_child_dies_with_a_parent_that_is_killed(
    tmp_path: Path, children: list[Child]
) -> None:
    log_path = tmp_path / "parent.log"
    parent = _python(children, log_path, _STARTS_A_CHILD + _SLEEPS, str(tmp_path / "child.log"))
    found = await eventually(lambda: re.search(r"^pid (\d+)\n", log_path.read_text(), re.M))
    assert found is not None
    child = ProcessIdentity.of(int(found[1]))
    assert child is not None
    # Before that it is still the leash, which ends by itself when its parent is gone.
    await eventually(lambda: _command_name(child.pid) == "sleep")
    parent.kill()
    await eventually(lambda: not child.alive)


async def test_a_child_started_by_a_thread_outlives_that_thread(
    tmp_path: Path, children: list[Child]
) -> None:
    counter = tmp_path / "count"

    def start_and_see_it_run() -> None:
        _python(children, tmp_path / "log", _COUNTS, str(counter))
        asyncio.run(eventually(lambda: _count(counter) > 0))

    thread = threading.Thread(target=start_and_see_it_run)
    thread.start()
    await asyncio.to_thread(thread.join)
    # The kernel sends the death signal of a leash when the thread that forked ends.
    then = _count(counter)
    await eventually(lambda: _count(counter) > then + 20)
    assert children[0].alive


async def test_stop_kills_a_child_that_ignores_term(tmp_path: Path, children: list[Child]) -> None:
    child = _python(children, tmp_path / "log", _IGNORES_TERM)
    await eventually(lambda: "deaf" in child.log_tail())
    assert child.stop(within_s=0.2) == -signal.SIGKILL
    assert not child.alive


async def test_stop_ends_a_paused_child_by_term(tmp_path: Path, children: list[Child]) -> None:
    child = _python(children, tmp_path / "log", _SLEEPS)
    child.pause()
    assert child.stop(within_s=10.0) == -signal.SIGTERM


async def test_a_paused_child_does_nothing_until_it_is_resumed(
    tmp_path: Path, children: list[Child]
) -> None:
    counter = tmp_path / "count"
    child = _python(children, tmp_path / "log", _COUNTS, str(counter))
    await eventually(lambda: _count(counter) > 0)
    child.pause()
    await eventually(lambda: _state(child.pid) == "T")
    paused_at = counter.stat().st_mtime_ns
    other = _python(children, tmp_path / "log2", _COUNTS, str(tmp_path / "count2"))
    await eventually(lambda: _count(tmp_path / "count2") > 20)
    other.kill()
    assert counter.stat().st_mtime_ns == paused_at
    child.resume()
    await eventually(lambda: counter.stat().st_mtime_ns > paused_at)


def test_a_missing_program_is_named_in_the_log(tmp_path: Path, children: list[Child]) -> None:
    child = Child("nothing", ["no-such-program-here"], log_path=tmp_path / "log")
    children.append(child)
    child.start()
    assert child.wait(10.0) == 127
    assert "no-such-program-here: No such file or directory" in child.log_tail()


def test_a_running_child_is_not_started_twice(tmp_path: Path, children: list[Child]) -> None:
    child = _python(children, tmp_path / "log", _SLEEPS)
    with pytest.raises(ChildError, match="already running"):
        child.start()


def test_a_later_process_with_the_same_pid_is_not_signalled(
    tmp_path: Path, children: list[Child]
) -> None:
    child = _python(children, tmp_path / "log", _SLEEPS)
    now = ProcessIdentity.of(child.pid)
    assert now is not None
    earlier = ProcessIdentity(now.pid, now.started_ticks - 1, now.boot_id)
    other_boot = ProcessIdentity(now.pid, now.started_ticks, "another")
    assert not earlier.send(signal.SIGKILL)
    assert not other_boot.send(signal.SIGKILL)
    assert now.send(signal.SIGUSR1)
    assert child.wait(10.0) == -signal.SIGUSR1
    assert not now.alive


def test_free_ports_are_distinct_and_cannot_be_taken_by_outgoing_connections() -> None:
    given = [ports.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(given) < first


def test_a_bound_port_is_not_free() -> None:
    port = ports.free_port()
    with socket.socket() as server:
        server.bind((ports.HOST, port))
        server.listen()
        assert not ports.is_free(port)
        assert ports.accepts(port)
    assert ports.is_free(port)
    assert not ports.accepts(port)


def test_this_process_is_alive_to_itself() -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    assert me.alive


def _count(path: Path) -> int:
    """What `_COUNTS` wrote last; 0 before, and between its truncating and writing the file."""
    return int(path.read_text() or "0") if path.exists() else 0


def _command_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
