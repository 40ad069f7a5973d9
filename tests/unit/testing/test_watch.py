from itertools import pairwise
from pathlib import Path

from engine.testing.watch import POLL_S, SETTLED_S, Snapshot, snapshot, wait_for_change


def test_a_snapshot_differs_after_a_change_an_addition_and_a_removal(tmp_path: Path) -> None:
    (tmp_path / "triggers").mkdir()
    file = tmp_path / "triggers" / "a.yaml"
    file.write_text("id: a\n")
    seen = [snapshot(tmp_path)]
    file.write_text("id: ab\n")
    seen.append(snapshot(tmp_path))
    (tmp_path / "policy.yaml").write_text("default: {}\n")
    seen.append(snapshot(tmp_path))
    file.unlink()
    seen.append(snapshot(tmp_path))
    assert all(one != other for one, other in pairwise(seen))
    (tmp_path / "events.jsonl").write_text("{}")
    assert snapshot(tmp_path) == seen[-1]
    assert snapshot(tmp_path / "gone") == {}


class World:
    """A folder whose state follows from the time, and a clock that moves by waiting."""

    def __init__(self, changes_s: list[float]) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self.changes_s = changes_s

    def look(self) -> Snapshot:
        return {"a": (sum(self.now_s >= at for at in self.changes_s), 0)}

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


def test_a_change_is_reported_once_it_has_come_to_rest() -> None:
    world = World([1.0, 1.1, 1.2])
    found = wait_for_change(world.look, {"a": (0, 0)}, wait=world.wait, now_s=lambda: world.now_s)
    assert found == {"a": (3, 0)}
    assert 1.2 + SETTLED_S <= world.now_s + 1e-9 < 1.2 + 2 * SETTLED_S + POLL_S
    assert min(world.waits) > 0
    assert len(world.waits) < 20
