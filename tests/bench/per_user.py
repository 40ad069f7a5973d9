"""Messages per user before and after the policy, on a month of a real shop.

`python -m tests.bench.per_user ga360_merch_store_2016-08.csv.zst` backtests examples/ga360 three
times: without cooldowns and policy; with the cooldowns of the triggers; with the policy as it
stands. What users then get is counted by a scan of the decisions that knows nothing of the engine.
It ends with 1 when it finds a window of the policy (spacing, caps) exceeded.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from subprocess import run
from typing import NamedTuple

from ruamel.yaml import YAML

from triggers.durations import parse_duration

WORKSPACE = Path("examples/ga360")
FREE = ("policy.default.spacing=0s", "policy.default.caps=[]")
NO_COOLDOWN = (*FREE, "policy.default.cooldown=0s")


class Window(NamedTuple):
    """At most so many messages in any window of this length."""

    at_most: int
    ms: int
    name: str


class Scan(NamedTuple):
    """`times`: decision times of sent marketing messages by user, in order; `users`: all users."""

    times: dict[str, list[int]]
    candidates: int
    sent: int
    users: int

    def share(self, part: float) -> int:
        """Messages of the user at this share of all users, nearest rank."""
        counts = sorted(map(len, self.times.values()))
        rank = max(1, -(-round(part * 1_000) * self.users // 1_000))
        silent = self.users - len(counts)
        return 0 if rank <= silent else counts[rank - silent - 1]

    def most_in(self, window_ms: int) -> int:
        """The most messages that any user got in a window of this length."""
        return max((_most(times, window_ms) for times in self.times.values()), default=0)

    def over(self, window: Window) -> int:
        """Users who got more than the window allows."""
        return sum(_most(times, window.ms) > window.at_most for times in self.times.values())


def _most(times: list[int], window_ms: int) -> int:
    most = first = 0
    for last, at_ms in enumerate(times):
        # Something at t0 blocks until t - t0 >= period: the window is half open.
        while at_ms - times[first] >= window_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def scan(decisions: Path, marketing: frozenset[str], users: int) -> Scan:
    """Count what a decision file says was sent."""
    times: defaultdict[str, list[int]] = defaultdict(list)
    candidates = sent = 0
    with decisions.open() as lines:
        for row in map(json.loads, lines):
            if row["trigger"] not in marketing or row["outcome"] not in ("ADMITTED", "SUPPRESSED"):
                continue
            candidates += 1
            if row["outcome"] == "ADMITTED":
                sent += 1
                at = datetime.fromisoformat(row["at"])
                times[row["user"]].append(round(at.timestamp() * 1_000))
    for found in times.values():
        found.sort()
    return Scan(dict(times), candidates, sent, users)


def windows_of(workspace: Path) -> list[Window]:
    """What the default policy promises."""
    policy = YAML(typ="safe").load(workspace / "policy.yaml")["default"]
    caps = [{"max": 1, "per": policy["spacing"]}, *policy["caps"]]
    return [Window(cap["max"], parse_duration(cap["per"]), cap["per"]) for cap in caps]


def backtest(workspace: Path, events: Path, changes: Sequence[str], decisions: Path) -> int:
    """Run the command; the number of users."""
    options = [f"--set={change}" for change in changes]
    if (mapping := workspace / "mapping.yaml").exists():
        options += ["--map", str(mapping)]
    answer = run(
        [
            *(sys.executable, "-m", "engine.cli", "backtest", str(workspace)),
            *("--events", str(events), "--decisions", str(decisions), "-o", "json", *options),
        ],
        capture_output=True,
        check=True,
    )
    return int(json.loads(answer.stdout)["users"])


def without_cooldowns(workspace: Path, folder: Path) -> Path:
    """The workspace with no cooldown of any trigger."""
    copy = folder / "free"
    shutil.copytree(workspace, copy)
    yaml = YAML()
    for path in (copy / "triggers").glob("*.yaml"):
        document = yaml.load(path)
        document.pop("cooldown", None)
        with path.open("w") as out:
            yaml.dump(document, out)
    return copy


def marketing_triggers(workspace: Path) -> frozenset[str]:
    """Those that policies hold back."""
    documents = [YAML(typ="safe").load(path) for path in (workspace / "triggers").glob("*.yaml")]
    return frozenset(d["id"] for d in documents if d.get("class", "marketing") == "marketing")


def measure(workspace: Path, events: Path, folder: Path) -> Iterator[tuple[str, Scan]]:
    """The three runs by name."""
    marketing = marketing_triggers(workspace)
    runs = (
        ("no cooldown, no policy", without_cooldowns(workspace, folder), NO_COOLDOWN),
        ("cooldowns of the triggers", workspace, FREE),
        ("and the policy", workspace, ()),
    )
    for name, definitions, changes in runs:
        decisions = folder / "decisions.jsonl"
        users = backtest(definitions, events, changes, decisions)
        yield name, scan(decisions, marketing, users)


def row(name: str, found: Scan, windows: Sequence[Window]) -> str:
    """A line of the table."""
    shares = [str(found.share(part)) for part in (0.5, 0.95, 0.99, 1)]
    most = [f"{found.most_in(window.ms)} ({found.over(window):,})" for window in windows]
    cells = [name, f"{found.candidates:,}", f"{found.sent:,}", *shares, *most]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print the table; 1 when the policy was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="the Google Merchandise Store's month")
    events = parser.parse_args().events
    windows = windows_of(WORKSPACE)
    heads = [f"most in {window.name} (users over {window.at_most})" for window in windows]
    print(f"| marketing | candidates | sent | p50 | p95 | p99 | most | {' | '.join(heads)} |")
    print("|" + " --- |" * (7 + len(windows)))
    with tempfile.TemporaryDirectory() as folder:
        for name, found in measure(WORKSPACE, events, Path(folder)):
            print(row(name, found, windows), flush=True)
    exceeded = [window.name for window in windows if found.over(window)]
    if exceeded:
        print(f"the policy was exceeded within {', '.join(exceeded)}", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
