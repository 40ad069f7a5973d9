"""What a run of `make run` came to."""

from collections import Counter

from engine.play.player import Played
from engine.play.summary import Summary, percentile
from engine.play.watcher import Seen


def test_the_json_line_is_the_one_that_scripts_know() -> None:
    seen = Seen(admitted=2, suppressed=Counter(SPACING=1), sent={"a", "b"}, latencies_ms=[30.0, 10])
    summary = Summary(Played(events=9), seen, 1.0, log_clock=False)
    assert summary.fields() == {
        "events": 9,
        "candidates": 3,
        "sent": 2,
        "suppressed": {"SPACING": 1},
        "p50_ms": 10,
        "p99_ms": 30.0,
    }
    past = Summary(Played(events=9), seen, 1.0, log_clock=True).fields()
    assert (past["p50_ms"], past["p99_ms"]) == (None, None)


def test_a_percentile_is_the_smallest_value_that_covers_the_share() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) is None
