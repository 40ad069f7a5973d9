"""`tripline demo` as a person runs it: the real processes, a small clickstream."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.simulate import SimulationOptions, simulate
from tests.waiting import eventually

pytestmark = pytest.mark.service

DEMO = Path("examples/demo")
COMMAND = [sys.executable, "-m", "engine.cli", "demo", "--workspace", str(DEMO)]


def _clickstream(path: Path) -> Path:
    options = SimulationOptions(
        users=200, duration_ms=20_000, rate_per_s=150.0, seed=5, compression=60.0
    )
    path.write_bytes(b"\n".join(message.value for message in simulate(options)) + b"\n")
    return path


def test_history_through_the_live_pipeline_gives_the_backtests_decisions(tmp_path: Path) -> None:
    events = _clickstream(tmp_path / "events.jsonl")
    done = subprocess.run(
        [*COMMAND, "--events", str(events)], capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr + done.stdout
    *lines, last = done.stdout.strip().splitlines()
    summary = json.loads(last)
    assert list(summary) == ["events", "candidates", "sent", "suppressed", "p50_ms", "p99_ms"]
    assert summary["candidates"] > 50
    assert summary["sent"] > 20
    assert "record for record" in lines[-1]


async def test_an_interrupted_demo_leaves_no_process_and_no_data(tmp_path: Path) -> None:
    state = Path(".state")
    before = set(state.glob("demo-*")) if state.exists() else set()
    with subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        (made,) = await eventually(lambda: set(state.glob("demo-*")) - before, within_s=30)
        await eventually(lambda: (made / "logs" / "worker.log").exists(), within_s=90)
        demo.send_signal(signal.SIGINT)
        await eventually(lambda: demo.poll() is not None, within_s=60)
    assert not made.exists()
    assert _processes_mentioning(made) == []


def _processes_mentioning(directory: Path) -> list[str]:
    needle = os.fsencode(directory.name)
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if needle in command:
            found.append(command.decode(errors="replace"))
    return found
