"""`make bench ARGS="[NAME ...] [--quick] [--write]"`: names are worker, many, latency,
backtest, files."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.topics import Topics
from tests.bench import report
from tests.bench.bed import Bed, make_bed
from tests.bench.files import bench_files
from tests.bench.history import backtest_rate, write_stream
from tests.bench.latency import capacity, open_loop
from tests.bench.machine import facts, pin_self
from tests.bench.memory import bytes_per_user
from tests.bench.peers import peers, run_peer
from tests.bench.stream import StreamShape, make_stream
from tests.bench.worker import WorkerRun, run_worker
from tests.bench.workspaces import many, twelve, twelve_writing_all


async def bench_worker(bed: Bed, quick: bool) -> str:
    """The user stage and the peers over one log, in turns."""
    shape = StreamShape(events=100_000 if quick else 300_000)
    some = await bed.preload("some-", twelve(), make_stream(shape))
    every = await bed.preload("every-", twelve_writing_all(), make_stream(shape))
    others, missing = peers()
    ours: dict[str, list[WorkerRun]] = {"0.3": [], "1.0": []}
    theirs: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in others}
    weight = None
    for _ in range(1 if quick else 3):
        ours["0.3"].append(await run_worker(bed, some))
        weight = await bytes_per_user(bed)
        ours["1.0"].append(await run_worker(bed, every))
        for peer in others:
            topic, servers = Topics("some-").events, bed.kafka.servers
            found = await asyncio.to_thread(run_peer, peer, servers, topic, some.events)
            if isinstance(found, str):
                print(f"{peer.name}: {found}", file=sys.stderr, flush=True)
            else:
                theirs[peer.name].append(found)
    base = report.mid([run.run.cpu_rate for run in ours["0.3"]])
    rows = []
    for runs in ours.values():
        shares = runs[-1].shares
        label = (
            f"Tripline worker, 12 triggers: {shares['states']:.2f} states, "
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
            f"Redis bytes per user after the stream ({weight.users:,} users): state "
            f"{weight.state:.0f}, timer index {weight.timer:.0f}, everything {weight.used:.0f}."
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


async def bench_backtest(bed: Bed, quick: bool) -> str:
    """JSON lines, the same twelve triggers and policy."""
    shape = StreamShape(events=100_000 if quick else 400_000)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        await asyncio.to_thread(write_stream, path, shape)
        rates = [await asyncio.to_thread(backtest_rate, path) for _ in range(3)]
    return f"### Backtest from JSON lines\n\n{report.mid(rates):,.0f} events/s on one core."


async def bench_reading(_bed: Bed, quick: bool) -> str:
    """Event files, reading alone."""
    return await asyncio.to_thread(bench_files, quick)


BENCHES: dict[str, Callable[[Bed, bool], Awaitable[str]]] = {
    "worker": bench_worker,
    "many": bench_many,
    "latency": bench_latency,
    "backtest": bench_backtest,
    "files": bench_reading,
}


async def main(names: list[str], quick: bool, keep: bool) -> int:
    """Run, print, and keep what was measured; how many benches failed. One that fails does not
    cost the others their figures, and the page says so."""
    sections, failed = [facts()], 0
    print(sections[0], flush=True)
    async with make_bed(Path(".state/bench")) as bed:
        for name in names:
            try:
                section = await BENCHES[name](bed, quick)
            except Exception as error:
                traceback.print_exc()
                section, failed = f"Bench `{name}` failed: {type(error).__name__}.", failed + 1
            sections.append(section)
            print("\n" + section, flush=True)
    if keep:
        report.write(sections)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="short logs, one repetition")
    parser.add_argument("--write", action="store_true", help="keep it in docs/benchmarks.md")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(BENCHES))
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    pin_self()
    sys.exit(asyncio.run(main(options.names or list(BENCHES), options.quick, options.write)))
