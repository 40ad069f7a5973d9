"""Dashboards, alerts and runbooks agree with the catalogue of metrics and with each other."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from engine.metrics import CATALOGUE
from engine.settings import Settings, variable

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "tripline.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
OPERATING = ROOT / "docs" / "operating.md"
NAME = re.compile(r"\btripline_[a-z_]+\b(?!\()")


def rules() -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load(ALERTS)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def series() -> dict[str, frozenset[str]]:
    """Name of a series in a scrape -> its labels."""
    found = {}
    for declared in CATALOGUE.declared.values():
        for name in declared.series:
            extra = {"le"} if name.endswith("_bucket") else set()
            found[name] = frozenset(declared.labels) | extra
    return found


def promtool(*words: str) -> None:
    done = subprocess.run(
        ["promtool", *words], capture_output=True, check=False, timeout=60, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def selectors(expression: str) -> Iterator[tuple[str, str, str]]:
    """Each `name{label="value"}` of an expression, as (name, label, value or pattern)."""
    for name, matchers in re.findall(r"(tripline_[a-z_]+)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            yield name, label, value


@pytest.mark.parametrize("expression", [*queries(), *(rule["expr"] for rule in rules())])
def test_a_query_names_declared_metrics_and_labels_only(expression: str) -> None:
    for name in NAME.findall(expression):
        assert name in series()
    for name, label, value in selectors(expression):
        assert label in series()[name]
        base = CATALOGUE.declared.get(name)
        bound = base.labels[label] if base else None
        if isinstance(bound, tuple):
            assert set(value.split("|")) <= set(bound)


def test_a_threshold_of_a_histogram_is_one_of_its_buckets() -> None:
    checked = 0
    for expression in [*queries(), *(rule["expr"] for rule in rules())]:
        for name, label, value in selectors(expression):
            if label == "le":
                checked += 1
                buckets = CATALOGUE.declared[name.removesuffix("_bucket")].buckets
                assert value in [str(float(edge)) for edge in buckets]
    assert checked


def test_the_rules_pass_promtool() -> None:
    promtool("check", "rules", str(ALERTS))


def test_the_rules_fire_when_they_should_and_are_silent_when_they_should() -> None:
    promtool("test", "rules", str(DEPLOY / "prometheus" / "alerts.test.yml"))


def test_every_rule_is_tested_to_fire_and_to_be_silent() -> None:
    tests = YAML(typ="safe").load(DEPLOY / "prometheus" / "alerts.test.yml")["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    records = [
        {"record": f"q{n}", "expr": expression.replace("$__rate_interval", "1m")}
        for n, expression in enumerate(queries())
    ]
    path = tmp_path / "queries.yml"
    with path.open("w") as file:
        YAML(typ="safe").dump({"groups": [{"name": "q", "rules": records}]}, file)
    promtool("check", "rules", str(path))


def test_every_alert_has_a_severity_and_a_runbook_that_exists() -> None:
    headings = re.findall(r"^### (.+)$", OPERATING.read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    used = set()
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert ROOT / file == OPERATING
        assert anchor in anchors, rule["alert"]
        used.add(anchor)
    assert used == anchors, "a runbook without its alert"


def test_links_inside_of_the_runbooks_lead_somewhere() -> None:
    text = OPERATING.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors


def test_the_runbooks_name_metrics_and_settings_that_exist() -> None:
    text = OPERATING.read_text()
    for name in NAME.findall(text):
        assert name in CATALOGUE.declared
    known = {variable(field) for field in Settings.model_fields}
    assert set(re.findall(r"TRIPLINE_[A-Z_]*[A-Z]\b", text)) <= known


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in queries() for name in NAME.findall(expression)}
    missing = [
        declared.name
        for declared in CATALOGUE.declared.values()
        if not shown & set(declared.series)
    ]
    assert missing == []


def test_panels_have_a_description_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["type"] == "row" or panel["description"].endswith(".")
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
