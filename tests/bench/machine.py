"""The machine: who runs on which core, what a process has used, and what to write above a table."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PINNED = Path(__file__).with_name("pinned.py")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """`subject`: the core of what is measured; `rest`: everything else. The same on one core."""

    subject: frozenset[int]
    rest: frozenset[int]


@cache
def cores() -> Cores:
    """Set aside the last core; called first, before this process is pinned itself."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) == 1:
        return Cores(frozenset(available), frozenset(available))
    return Cores(frozenset(available[-1:]), frozenset(available[:-1]))


def pin_self() -> None:
    """Keep this process, and what it starts from now on, off the measured core."""
    os.sched_setaffinity(0, cores().rest)


def pinned(where: Iterable[int], argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` on these cores: threads inherit it, a later pin of the
    process would reach the main thread only."""
    return [sys.executable, str(_PINNED), ",".join(map(str, sorted(where))), *argv]


def everywhere(argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` on all cores."""
    return pinned(cores().subject | cores().rest, argv)


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process, proc_pid_stat(5) fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def steal_and_idle_s() -> tuple[float, float]:
    """Time the hypervisor took from us, and idle time, over all cores since boot (proc(5))."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / _TICKS_PER_S, int(fields[4]) / _TICKS_PER_S


def facts() -> str:
    """One line: processors, Python, Kafka, Redis, kernel."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    redis = (
        subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False)
        .stdout.partition("v=")[2]
        .split(" ")[0]
    )
    from engine.local.jars import KAFKA_VERSION

    count = len(cores().subject | cores().rest)
    return (
        f"{count} x {model}, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, Kafka {KAFKA_VERSION}, Redis {redis}"
    )
