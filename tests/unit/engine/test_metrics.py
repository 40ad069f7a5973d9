"""The catalogue itself, and that source, documents and catalogue agree."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import metrics
from engine.delivery.senders import SendKind
from engine.metric_types import Catalogue, Family, UpTo

ROOT = Path(__file__).parents[3]
DECLARING = ROOT / "engine" / "metrics.py"


def constants() -> dict[str, str]:
    """Constant -> metric name, as engine/metrics.py assigns them."""
    found = {}
    for node in ast.parse(DECLARING.read_text()).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and node.value.args
            and isinstance(node.value.args[0], ast.Constant)
            and str(node.value.args[0].value).startswith("tripline_")
        ):
            found[node.targets[0].id] = str(node.value.args[0].value)
    return found


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "engine").rglob("*.py")):
        if path != DECLARING:
            yield path, ast.parse(path.read_text())


def used() -> dict[str, Path]:
    """Every `metrics.NAME` in the source, NAME in capitals."""
    found = {}
    for path, tree in sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "metrics"
                and node.attr.isupper()
            ):
                found[node.attr] = path
    return found


def test_every_declared_metric_is_a_constant_and_the_other_way_round() -> None:
    assert sorted(constants().values()) == sorted(metrics.CATALOGUE.declared)


def test_every_metric_that_is_used_is_declared() -> None:
    not_metrics = {"CATALOGUE", "NONE", "PROVIDERS", "SEND_OUTCOMES"}
    undeclared = {
        name: path.name
        for name, path in used().items()
        if name not in constants() and name not in not_metrics
    }
    assert undeclared == {}


def test_every_metric_that_is_declared_is_used() -> None:
    # The build's is set where it is declared.
    assert set(constants()) - set(used()) == {"BUILD"}


def test_every_use_gives_exactly_the_declared_labels() -> None:
    wrong = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Attribute)
                and isinstance(node.func.value.value, ast.Name)
                and node.func.value.value.id == "metrics"
            ):
                continue
            metric = getattr(metrics, node.func.value.attr)
            given = {keyword.arg for keyword in node.keywords}
            if node.func.attr in ("labels", "remove"):
                if not isinstance(metric, Family) or given != set(metric.label_names):
                    wrong.append(f"{path.name}:{node.lineno}")
            elif isinstance(metric, Family):
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []


def test_no_text_in_the_source_names_a_metric_that_is_not_declared() -> None:
    known = {name for spec in metrics.CATALOGUE.declared.values() for name in spec.series}
    unknown = {}
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name in re.findall(r"\btripline_[a-z][a-z_]*[a-z]\b", node.value):
                    if name not in known | set(metrics.CATALOGUE.declared):
                        unknown[name] = path.name
    assert unknown == {}


def test_the_page_of_metrics_is_current() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == metrics.catalogue_page(), "run: python -m engine.metrics > docs/metrics.md"


def test_a_scrape_passes_promtool_and_shows_exactly_the_catalogue() -> None:
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False, timeout=30
    )
    assert checked.returncode == 0, checked.stderr.decode() + checked.stdout.decode()
    shown = set(re.findall(r"^# TYPE (tripline_\w+)", body.decode(), re.MULTILINE))
    assert shown == set(metrics.CATALOGUE.declared)


def test_every_declared_metric_says_its_unit_and_how_to_read_it() -> None:
    for declared in metrics.CATALOGUE.declared.values():
        assert declared.unit
        assert declared.counts.endswith("."), declared.name
        assert declared.reading.endswith("."), declared.name
        assert (declared.kind == "counter") == declared.name.endswith("_total"), declared.name
        if declared.unit == "seconds":
            assert declared.name.endswith("_seconds"), declared.name


def test_no_metric_is_labelled_with_a_user_or_an_item() -> None:
    labels = {label for spec in metrics.CATALOGUE.declared.values() for label in spec.labels}
    assert not labels & {"user", "user_id", "item", "product", "token", "device", "delivery"}


def test_histograms_of_seconds_hold_the_edges_of_the_objectives() -> None:
    histograms = [s for s in metrics.CATALOGUE.declared.values() if s.kind == "histogram"]
    seconds = [s for s in histograms if s.name.endswith("_seconds")]
    assert seconds
    for declared in seconds:
        assert set(metrics.SECONDS) <= set(declared.buckets), declared.name


def test_what_a_sender_can_say_is_what_sends_are_labelled_with() -> None:
    assert set(metrics.SEND_OUTCOMES) == {kind.value for kind in SendKind}


def sample(catalogue: Catalogue, name: str, **labels: str) -> float | None:
    return catalogue.registry.get_sample_value(name, labels)


def test_closed_labels_start_at_zero_and_open_ones_when_they_are_used() -> None:
    catalogue = Catalogue()
    catalogue.counters("t_closed_total", "x", "C.", "R.", reason=("A", "B"))
    opened = catalogue.counters("t_open_total", "x", "C.", "R.", trigger=UpTo(5, "t"))
    assert sample(catalogue, "t_closed_total", reason="B") == 0
    assert sample(catalogue, "t_open_total", trigger="a") is None
    opened.labels(trigger="a").inc(2)
    assert sample(catalogue, "t_open_total", trigger="a") == 2


def test_a_label_value_out_of_bounds_is_counted_as_other() -> None:
    catalogue = Catalogue()
    closed = catalogue.counters("t_closed_total", "x", "C.", "R.", reason=("A",))
    opened = catalogue.counters("t_open_total", "x", "C.", "R.", trigger=UpTo(2, "t"))
    closed.labels(reason="Z").inc()
    for trigger in ("a", "b", "c", "d", "a"):
        opened.labels(trigger=trigger).inc()
    assert sample(catalogue, "t_closed_total", reason="other") == 1
    assert sample(catalogue, "t_open_total", trigger="a") == 2
    assert sample(catalogue, "t_open_total", trigger="other") == 2
    assert sample(catalogue, "t_open_total", trigger="c") is None


def test_labels_other_than_the_declared_ones_are_refused() -> None:
    catalogue = Catalogue()
    family = catalogue.counters("t_total", "x", "C.", "R.", reason=("A",))
    with pytest.raises(TypeError):
        family.labels(user="u1")
    with pytest.raises(TypeError):
        family.labels()


def test_the_gauge_of_a_shard_given_up_is_gone_and_may_come_back() -> None:
    catalogue = Catalogue()
    lag = catalogue.gauges("t_lag", "x", "C.", "R.", shard=UpTo(1, "s"))
    lag.labels(shard=3).set(7)
    lag.remove(shard=3)
    assert sample(catalogue, "t_lag", shard="3") is None
    lag.remove(shard=3)
    lag.labels(shard=4).set(1)
    assert sample(catalogue, "t_lag", shard="4") == 1


def test_a_name_is_declared_once() -> None:
    catalogue = Catalogue()
    catalogue.gauge("t_x", "x", "C.", "R.")
    with pytest.raises(ValueError, match="t_x is declared twice"):
        catalogue.gauge("t_x", "x", "C.", "R.")
