"""Backtests of the bench stream from files, reading included: speed, and what memory depends on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench.machine import cores, everywhere, pinned
from tests.bench.stream import StreamShape, iso, make_stream

#: Millions of events of half a million users, a session of ten events each.
LARGE = StreamShape(events=5_000_000, users=5_000_000, session_events=9.0, events_per_s=5_000.0)
MAPPING = """\
user: user
time: {column: at, unit: ms}
event: event
id: id
properties:
  product_id: product_id
  name: name
  category: category
  price: {name: price, type: int}
  currency: currency
  order_id: order_id
  results: {name: results, type: int}
  position: {name: position, type: int}
"""
_COLUMNS = (
    "product_id",
    "name",
    "category",
    "price",
    "currency",
    "order_id",
    "results",
    "position",
)


class Measured(NamedTuple):
    """One backtest. `cpu_s` and `wall_s` are of the whole command, `rss_mib` its largest memory: of
    several processes each its own, and the largest job's for every job."""

    events: int
    users: int
    decided: int
    cpu_s: float
    rss_mib: float
    wall_s: float

    @property
    def cpu_rate(self) -> float:
        """Events per CPU second, start-up included."""
        return self.events / self.cpu_s


def write_stream(path: Path, shape: StreamShape) -> None:
    """The stream as an event file: `receivedAt` is the append time."""
    with path.open("wb") as out:
        for message in make_stream(shape):
            head = message.value[:-1]
            out.write(head + b',"receivedAt":"' + iso(message.a_ms).encode() + b'"}\n')


def write_csv(path: Path, shape: StreamShape) -> None:
    """The stream as a CSV file with its mapping beside it, `mapping.yaml`."""
    path.with_name("mapping.yaml").write_text(MAPPING)
    with path.open("w", encoding="utf-8") as out:
        out.write("id,user,at,event," + ",".join(_COLUMNS) + "\n")
        for message in make_stream(shape):
            value = msgspec.json.decode(message.value)
            properties = value["properties"]
            cells = [value["messageId"], message.user, message.a_ms, value["event"]]
            cells += [properties[name] for name in _COLUMNS]
            out.write(",".join(map(str, cells)) + "\n")


_RUN = """
import json, resource, sys, time
JOBS = int(sys.argv.pop(1))
from engine.cli.main import main
began = time.perf_counter()
try:
    main()
finally:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {"cpu_s": sum(one.ru_utime + one.ru_stime for one in used)}
    found["rss_mib"] = (used[0].ru_maxrss + JOBS * used[1].ru_maxrss) / 1024
    print(json.dumps({**found, "wall_s": time.perf_counter() - began}), file=sys.stderr)
"""


def run_backtest(folder: Path, path: Path, *options: str, jobs: int = 1) -> Measured:
    """`tripline backtest` of a workspace over a file, on the measured core; several jobs on all."""
    argv = [sys.executable, "-c", _RUN, str(jobs), "backtest", str(folder), "--events", str(path)]
    argv += ["--jobs", str(jobs), "-o", "json", *options]
    # An installed command finds its bytecode; without it every start compiles 1.5 s of sources.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        pinned(cores().subject, argv) if jobs == 1 else everywhere(argv),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=3_600,
    )
    report = json.loads(done.stdout)
    used = json.loads(done.stderr.splitlines()[-1])
    triggers = report["triggers"].values()
    decided = sum(one["candidates"] + one["cancelled"] for one in triggers)
    return Measured(report["events"], report["users"], decided, **used)
