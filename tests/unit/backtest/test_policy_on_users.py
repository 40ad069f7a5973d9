"""What the policy does to users, by a scan of the decisions that knows nothing of the engine."""

from pathlib import Path

from tests.bench.per_user import Scan, Window, measure, windows_of

DEMO = Path("examples/demo")


def test_the_policy_holds_in_every_window_and_was_needed(tmp_path: Path) -> None:
    windows = windows_of(DEMO)
    assert len(windows) >= 2
    free, _, held = (found for _, found in measure(DEMO, DEMO / "clickstream.jsonl.zst", tmp_path))
    assert [held.over(window) for window in windows] == [0] * len(windows)
    assert all(free.over(window) > 0 for window in windows)
    assert 0 < held.sent < free.sent
    assert held.share(1) < free.share(1)


def test_windows_are_half_open_and_shares_are_of_all_users() -> None:
    found = Scan({"a": [0, 5, 9, 10], "b": [3]}, candidates=5, sent=5, users=4)
    assert (found.most_in(10), found.most_in(11), found.most_in(5)) == (3, 4, 2)
    assert found.over(Window(3, 10, "")) == 0
    assert found.over(Window(2, 10, "")) == 1
    assert [found.share(part) for part in (0.25, 0.5, 0.75, 0.99, 1)] == [0, 0, 1, 4, 4]
