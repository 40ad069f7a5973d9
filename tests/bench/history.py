"""A backtest of the bench stream from JSON lines: events per CPU second, reading included."""

import re
import subprocess
import sys
from pathlib import Path

from tests.bench.machine import cores, pinned
from tests.bench.stream import StreamShape, iso, make_stream
from tests.bench.workspaces import FOLDER


def write_stream(path: Path, shape: StreamShape) -> None:
    """The stream as an event file: `receivedAt` is the append time."""
    with path.open("wb") as out:
        for message in make_stream(shape):
            head = message.value[:-1]
            out.write(head + b',"receivedAt":"' + iso(message.a_ms).encode() + b'"}\n')


def backtest_rate(path: Path) -> float:
    """Events a second on the measured core, as the command itself says."""
    argv = [sys.executable, "-m", "engine.cli", "backtest", str(FOLDER), "--events", str(path)]
    done = subprocess.run(
        pinned(cores().subject, argv), capture_output=True, text=True, check=True, timeout=600
    )
    found = re.search(r"\(([\d,]+)/s\)", done.stdout)
    if found is None:
        raise ValueError(done.stdout[:500])
    return float(found[1].replace(",", ""))
