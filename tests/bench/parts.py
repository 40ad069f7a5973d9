"""What each part of the policy costs, and how it grows with its number.

The same stream goes through the worker's own work (`tests.bench.core`) once for each part, in
turns, so that all meet the same machine; the least of the turns counts.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from tests.bench.core import Applied, apply_all, make_batches
from tests.bench.policy_parts import PARTS, Change, experiments, goals, rolling_caps
from tests.bench.report import table
from tests.bench.stream import StreamShape
from tests.bench.workspaces import twelve_with

#: How often a part is there in the second half of the table; the third is the most there may be.
GROWTH: Final[dict[str, Change]] = {
    "1 experiment": partial(experiments, count=1),
    "9 experiments": partial(experiments, count=9),
    "1 rolling cap": partial(rolling_caps, count=1),
    "20 rolling caps": partial(rolling_caps, count=20),
    "1 goal": partial(goals, count=1),
    "9 goals": partial(goals, count=9),
}
NONE: Final = "no policy"


def bench_parts(quick: bool) -> str:
    """One row for each part alone, for its growth, and for all together."""
    shape = StreamShape(events=60_000 if quick else 150_000)
    variants: dict[str, Iterable[Change]] = {NONE: []}
    variants |= {name: [part] for name, part in PARTS.items()}
    variants["everything"] = list(PARTS.values())
    variants |= {name: [part] for name, part in GROWTH.items()}
    workspaces = {name: twelve_with(parts) for name, parts in variants.items()}
    batches = make_batches(shape)
    runs: dict[str, list[Applied]] = {name: [] for name in workspaces}
    for _ in range(2 if quick else 5):
        for name, definitions in workspaces.items():
            runs[name].append(asyncio.run(apply_all(batches, definitions)))
    base_us = _least_us(runs[NONE], shape.events)
    rows = [[name, *_row(found, shape.events, base_us)] for name, found in runs.items()]
    head = ["policy", "us/event", "more", "messages", "commit bytes/event"]
    head += ["state bytes p50 / p95 / most"]
    text = (
        f"{shape.events:,} events, 12 triggers; the worker's own work without Kafka and Redis. "
        "Messages are what was admitted and ghosts, of 1,000 events; states are those of users "
        "who have one. Nothing is accepted here, so goals cost only where a backtest meets them."
    )
    return f"### What each part of the policy costs\n\n{text}\n\n{table(head, rows)}"


def _row(found: list[Applied], events: int, base_us: float) -> list[str]:
    us = _least_us(found, events)
    counted, sizes = found[0].counted, sorted(found[0].state_sizes)
    shown = (sizes[len(sizes) // 2], sizes[len(sizes) * 95 // 100], sizes[-1])
    return [
        f"{us:.1f}",
        f"{us - base_us:+.1f}",
        f"{counted['deliveries'] / events * 1_000:.1f}",
        f"{counted['bytes'] / events:.0f}",
        " / ".join(str(size) for size in shown),
    ]


def _least_us(found: list[Applied], events: int) -> float:
    return min(run.cpu_s for run in found) / events * 1e6
