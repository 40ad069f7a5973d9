"""`make bench ARGS="[NAME ...] [--quick] [--write]"`: names are worker, many, latency, timers,
deliver, backtest, parts, memory, files, senders."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.topics import Topics
from tests.bench import report
from tests.bench.bed import Bed, make_bed
from tests.bench.files import bench_files
from tests.bench.history import LARGE, Measured, run_backtest, write_csv, write_stream
from tests.bench.latency import capacity, open_loop
from tests.bench.machine import cores, facts, pin_self
from tests.bench.memory import bytes_per_user
from tests.bench.parts import bench_parts
from tests.bench.peers import peers, run_peer
from tests.bench.senders import bench_senders
from tests.bench.sends import bench_deliver
from tests.bench.stream import StreamShape, make_stream
from tests.bench.timers import bench_timers
from tests.bench.worker import WorkerRun, run_worker
from tests.bench.workspaces import FOLDER, many, save, twelve, twelve_full, twelve_writing_all


async def bench_worker(bed: Bed, quick: bool) -> str:
    """The user stage and the peers over one log, in turns."""
    shape = StreamShape(events=100_000 if quick else 300_000)
    some = await bed.preload("some-", twelve(), make_stream(shape))
    # Visits so slow that a user seldom comes twice in a commit, where two writes would be one.
    slow = replace(shape, gap_ms=200_000.0)
    every = await bed.preload("every-", twelve_writing_all(), make_stream(slow))
    full = await bed.preload("full-", twelve_full(), make_stream(shape))
    others, missing = peers()
    ours: dict[str, list[WorkerRun]] = {
        "": [],
        ", every event written": [],
        ", the full policy": [],
    }
    theirs: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in others}
    weight = None
    for _ in range(1 if quick else 3):
        for runs, log in zip(ours.values(), (some, every, full), strict=True):
            runs.append(await run_worker(bed, log))
            if log is full:
                weight = await bytes_per_user(bed)
        for peer in others:
            topic, servers = Topics("some-").events, bed.kafka.servers
            found = await asyncio.to_thread(run_peer, peer, servers, topic, some.events)
            if isinstance(found, str):
                print(f"{peer.name}: {found}", file=sys.stderr, flush=True)
            else:
                theirs[peer.name].append(found)
    base = report.mid([run.run.cpu_rate for run in ours[""]])
    rows = []
    for what, runs in ours.items():
        shares = runs[-1].shares
        label = (
            f"Tripline worker, 12 triggers{what}: {shares['states']:.2f} states, "
            f"{shares['candidates']:.1%} candidates, {shares['deliveries']:.1%} deliveries"
        )
        wall = report.mid([run.run.wall_rate for run in runs])
        cpu = report.mid([run.run.cpu_rate for run in runs])
        redis_us = report.mid([run.redis_us for run in runs])
        rows.append([label, f"{wall:,.0f}", f"{cpu:,.0f}", f"{cpu / base:.2f}", f"{redis_us:.1f}"])
    for name, found_runs in theirs.items():
        if not found_runs:
            missing.append(f"{name}: gave no result in this run.")
            continue
        wall = report.mid([run[0] for run in found_runs])
        cpu = report.mid([run[1] for run in found_runs])
        rows.append([name, f"{wall:,.0f}", f"{cpu:,.0f}", f"{cpu / base:.2f}", ""])
    head = ["engine", "events/s", "events per CPU s", "ratio", "Redis us/event"]
    parts = ["### User stage, one process on one core", report.table(head, rows), *missing]
    if weight is not None:
        parts.append(
            f"Redis bytes per user after the stream of the full policy ({weight.users:,} users): "
            f"state {weight.state:.0f}, timer index {weight.timer:.0f}, "
            f"everything {weight.used:.0f}."
        )
    return "\n\n".join(parts)


async def bench_many(bed: Bed, quick: bool) -> str:
    """A thousand triggers against ten over the same stream."""
    shape = StreamShape(events=100_000 if quick else 300_000, tagged=True)
    logs = {n: await bed.preload(f"many{n}-", many(n), make_stream(shape)) for n in (10, 1_000)}
    runs: dict[int, list[float]] = {10: [], 1_000: []}
    for _ in range(1 if quick else 3):
        for count, log in logs.items():
            runs[count].append((await run_worker(bed, log)).run.cpu_rate)
    ten, thousand = report.mid(runs[10]), report.mid(runs[1_000])
    rows = [["10", f"{ten:,.0f}", "1.00"], ["1,000", f"{thousand:,.0f}", f"{ten / thousand:.2f}"]]
    head = ["live triggers", "events per CPU s", "cost"]
    return "### 1,000 live triggers against 10\n\n" + report.table(head, rows)


async def bench_latency(bed: Bed, quick: bool) -> str:
    """The whole pipeline on all cores, load generator and services included."""
    most = await capacity(bed, 40_000 if quick else 120_000)
    rows = []
    for rate in (2_000.0, 0.7 * most.whole):
        found = await open_loop(bed, rate, 10.0 if quick else 30.0)
        parts = (found.whole, found.decide, found.deliver)
        rows.append(
            [
                f"{rate:,.0f}",
                f"{found.appended:,.0f}",
                f"{found.deliveries:,}",
                *(f"{part.p50:.0f} / {part.p99:.0f}" for part in parts),
                f"{found.bench_cores:.2f}",
            ]
        )
    head = ["events/s wanted", "appended", "deliveries", "append to accepted, p50 / p99 ms"]
    head += ["append to published", "published to request", "cores of the bench's own"]
    return (
        "### Append to provider accepted (provider answers after 50 ms)\n\n"
        f"A backlog, between a tenth and nine tenths of it: {most.events_per_s:,.0f} events/s, and "
        f"{most.sent_share:.0%} of the deliveries decided meanwhile sent meanwhile. Open loop at "
        "2,000 events/s and at 70 % of the lesser of both:\n\n" + report.table(head, rows)
    )


def bench_backtest(quick: bool) -> str:
    """JSON lines and CSV, the same twelve triggers and policy; on one core, then on all."""
    shape = StreamShape(events=100_000 if quick else 1_000_000)
    with TemporaryDirectory() as directory:
        lines, table = Path(directory) / "events.jsonl", Path(directory) / "events.csv"
        write_stream(lines, shape)
        write_csv(table, shape)
        mapping = ("--map", str(table.with_name("mapping.yaml")))
        decisions = ("--decisions", str(Path(directory) / "decisions.jsonl"))
        full = Path(directory) / "full"
        save(twelve_full(), full)
        kinds = {
            "JSON lines": (FOLDER, lines, (), 1),
            "JSON lines, --decisions": (FOLDER, lines, decisions, 1),
            "JSON lines, the full policy": (full, lines, (), 1),
            "CSV with a mapping": (FOLDER, table, mapping, 1),
        }
        side_by_side = len(cores().subject | cores().rest)
        if side_by_side > 1:
            for name, (folder, path, options, _) in list(kinds.items()):
                kinds[f"{name}, --jobs {side_by_side}"] = folder, path, options, side_by_side
        few = Path(directory) / "few.jsonl"
        write_stream(few, replace(shape, events=10))
        run_backtest(FOLDER, few)  # writes the bytecode
        start_s = report.mid([run_backtest(FOLDER, few).cpu_s for _ in range(3)])
        runs: dict[str, list[Measured]] = {name: [] for name in kinds}
        for _ in range(1 if quick else 3):
            for name, (folder, path, options, jobs) in kinds.items():
                runs[name].append(run_backtest(folder, path, *options, jobs=jobs))
    rows = []
    for name, found in runs.items():
        rate, wall = report.mid([one.cpu_rate for one in found]), [one.wall_s for one in found]
        memory = max(one.rss_mib for one in found)
        rows.append([name, f"{rate:,.0f}", f"{report.mid(wall):.1f}", f"{memory:,.0f}"])
    head = ["backtest from", "events per CPU s", "seconds", "MiB"]
    events, decided = found[0].events, found[0].decided
    return (
        f"### Backtest\n\n{events:,} events, {decided / events:.1%} of them end in a decision; "
        f"start-up ({start_s:.2f} CPU s, of ten events) and report included.\n\n"
        + report.table(head, rows)
    )


def bench_memory(quick: bool) -> str:
    """What a backtest keeps depends on users, not on events."""
    large = replace(LARGE, events=500_000, users=50_000) if quick else LARGE
    rows = []
    with TemporaryDirectory() as directory:
        for part in (5, 1):
            shape = replace(large, events=large.events // part)
            path = Path(directory) / "events.jsonl"
            write_stream(path, shape)
            found = run_backtest(FOLDER, path, "--decisions", str(Path(directory) / "d.jsonl"))
            rows.append([f"{found.events:,}", f"{found.users:,}", f"{found.rss_mib:,.0f}"])
    return "### Memory of a backtest\n\n" + report.table(["events", "users", "MiB at most"], rows)


BENCHES: dict[str, Callable[[Bed, bool], Awaitable[str]]] = {
    "worker": bench_worker,
    "many": bench_many,
    "latency": bench_latency,
    "timers": bench_timers,
    "deliver": bench_deliver,
}
#: Those that need no services.
OFFLINE: dict[str, Callable[[bool], str]] = {
    "backtest": bench_backtest,
    "parts": bench_parts,
    "memory": bench_memory,
    "files": bench_files,
    "senders": bench_senders,
}


async def main(names: list[str], quick: bool, keep: bool) -> int:
    """Run, print, and keep what was measured; how many benches failed. One that fails does not
    cost the others their figures, and the page says so."""
    sections, failed = [facts()], 0
    print(sections[0], flush=True)

    async def show(name: str, measured: Awaitable[str]) -> None:
        nonlocal failed
        try:
            section = await measured
        except Exception as error:
            traceback.print_exc()
            section, failed = f"Bench `{name}` failed: {type(error).__name__}.", failed + 1
        sections.append(section)
        print("\n" + section, flush=True)

    for name in names:
        if name in OFFLINE:
            await show(name, asyncio.to_thread(OFFLINE[name], quick))
    if any(name in BENCHES for name in names):
        async with make_bed(Path(".state/bench")) as bed:
            for name in names:
                if name in BENCHES:
                    await show(name, BENCHES[name](bed, quick))
    if keep:
        report.write(sections)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join([*BENCHES, *OFFLINE]))
    parser.add_argument("--quick", action="store_true", help="short logs, one repetition")
    parser.add_argument("--write", action="store_true", help="keep it in docs/benchmarks.md")
    options = parser.parse_args()
    every = [*BENCHES, *OFFLINE]
    unknown = sorted(set(options.names) - set(every))
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(every)}")
    pin_self()
    sys.exit(asyncio.run(main(options.names or every, options.quick, options.write)))
