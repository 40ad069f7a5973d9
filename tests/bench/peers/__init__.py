"""Other engines over the same log: stock Faust, Faust with record batches, Quix Streams, Kafka
Streams. Each is a process of its own that prints `RESULT events-per-second events-per-CPU-second`.

Quix Streams is installed into an environment of its own and Kafka Streams is built by Maven, both
under `.state/`; a peer that cannot be had is left out, and the table says so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import cores, pinned

HERE = Path(__file__).parent
STATE = Path(".state/peers")
WITHIN_S = 120.0
WORDS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Peer:
    """`share` of the log is enough for a slow one. `command` makes its command line."""

    name: str
    share: float
    command: Callable[[str, str, int, str], list[str]]


def peers() -> tuple[list[Peer], list[str]]:
    """Those that can run here, and why others cannot."""
    found = [
        Peer("Faust, stock agent, no state", 0.1, _faust("stock")),
        Peer("Faust, record batches, decoding only", 1.0, _faust("batches")),
    ]
    missing = []
    for prepare, label in ((_quix, "Quix Streams"), (_streams, "Kafka Streams")):
        try:
            found += prepare()
        except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            missing.append(f"{label}: could not be installed ({error})")
    return found, missing


def run_peer(peer: Peer, servers: str, topic: str, records: int) -> tuple[float, float] | str:
    """(events/s, events per CPU second), or why there is no result."""
    directory = tempfile.mkdtemp(prefix="peer-", dir=STATE.resolve())
    argv = peer.command(servers, topic, int(records * peer.share), directory)
    try:
        done = subprocess.run(
            pinned(cores().subject, argv),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            cwd=directory,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {WITHIN_S:g} s"
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    found = _result(done.stdout.splitlines())
    if found is None:
        return f"ended with {done.returncode}: {(done.stderr or done.stdout)[-WORDS_MAX:]}"
    return found


def _result(lines: Iterable[str]) -> tuple[float, float] | None:
    for line in lines:
        if line.startswith("RESULT "):
            _, wall, cpu = line.split()
            return float(wall), float(cpu)
    return None


def _faust(mode: str) -> Callable[[str, str, int, str], list[str]]:
    script = str((HERE / "faust_agent.py").resolve())

    def command(servers: str, topic: str, count: int, directory: str) -> list[str]:
        agent = [sys.executable, script, servers, topic, str(count), mode]
        return [*agent, "--datadir", directory, "worker", "-l", "warn", "--without-web"]

    return command


def _quix() -> list[Peer]:
    STATE.mkdir(parents=True, exist_ok=True)
    home = (STATE / "quix").resolve()
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        uv = shutil.which("uv") or str(Path(".state/uv/bin/uv").resolve())
        subprocess.run([uv, "venv", "-q", "--clear", str(home)], check=True, timeout=120)
        packages = ["quixstreams", "orjson"]
        install = [uv, "pip", "install", "-q", "--python", str(python), *packages]
        subprocess.run(install, check=True, timeout=300, capture_output=True)
        (home / "ready").touch()
    script = str((HERE / "quix_app.py").resolve())

    def of(mode: str) -> Callable[[str, str, int, str], list[str]]:
        return lambda servers, topic, count, directory: [
            *(str(python), script, servers, topic, str(count), mode, directory)
        ]

    return [
        Peer("Quix Streams, state without changelog", 0.5, of("state")),
        Peer("Quix Streams, state with changelog", 0.5, of("changelog")),
    ]


def _streams() -> list[Peer]:
    STATE.mkdir(parents=True, exist_ok=True)
    home = (STATE / "kafka-streams").resolve()
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(HERE / "kafka-streams", home)
        copy = "dependency:copy-dependencies"
        subprocess.run(
            ["mvn", "-q", "-B", "compile", copy, "-DoutputDirectory=target/libs"],
            cwd=home,
            check=True,
            timeout=300,
            capture_output=True,
        )
        (home / "ready").touch()
    classes = os.pathsep.join([str(home / "target/classes"), str(home / "target/libs/*")])

    def of(guarantee: str) -> Callable[[str, str, int, str], list[str]]:
        return lambda servers, topic, count, directory: [
            *("java", "-Xmx1g", "-cp", classes, "Peer"),
            *(servers, topic, str(count), guarantee, directory),
        ]

    return [
        Peer("Kafka Streams, at_least_once", 1.0, of("at_least_once")),
        Peer("Kafka Streams, exactly_once_v2", 1.0, of("exactly_once_v2")),
    ]
