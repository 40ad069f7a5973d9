"""The compose files hang together. They cannot be run here: the structure is what is checked."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from engine.cli.main import VERBS
from engine.settings import Settings, describe_settings, load_settings, variable
from engine.store import functions

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(DEPLOY / name)
    return loaded


def services(name: str) -> dict[str, dict[str, Any]]:
    """Each service with what it extends merged in."""
    found = {}
    for service, body in load(name)["services"].items():
        base: dict[str, Any] = {}
        if "extends" in body:
            base = load(body["extends"]["file"])["services"][body["extends"]["service"]]
        found[service] = {**base, **body}
    return found


FILES = ("compose.yaml", "local.compose.yaml")


@pytest.mark.parametrize("name", FILES)
def test_dependencies_volumes_and_mounted_files_exist(name: str) -> None:
    volumes = set(load(name)["volumes"])
    known = services(name)
    for service, body in known.items():
        needs = body.get("depends_on", {})
        assert set(needs) <= set(known), service
        for mount in body.get("volumes", []):
            source = mount.split(":")[0]
            if not source.startswith("."):
                assert source in volumes, service
            elif source != "./secrets":  # made by the operator
                assert (DEPLOY / source).exists(), source
        if isinstance(needs, dict):
            for needed, how in needs.items():
                if how["condition"] == "service_healthy":
                    assert "healthcheck" in known[needed], needed


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned_and_ports_are_open_to_this_machine_only(name: str) -> None:
    for service, body in services(name).items():
        assert re.search(r":[\w.-]+$", body["image"]), service
        assert not body["image"].endswith(":latest"), service
        for port in body.get("ports", []):
            assert port.startswith("127.0.0.1:"), service


def test_kafka_is_the_version_that_is_tested_and_makes_no_topics_by_itself() -> None:
    pom = (DEPLOY / "kafka" / "pom.xml").read_text()
    version = re.search(r"<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    for name in FILES:
        kafka = services(name)["kafka"]
        assert kafka["image"] == f"apache/kafka:{version[1]}"
        assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_roles_are_commands_of_tripline_with_as_few_rights_as_they_need() -> None:
    verbs = {verb.name for verb in VERBS}
    roles = {n: b for n, b in services("compose.yaml").items() if b["image"] == "tripline:local"}
    assert {"check", "worker", "deliver"} == set(roles)
    for name, role in roles.items():
        assert role["command"][0] in verbs, name
        assert role["read_only"] is True
        assert role["cap_drop"] == ["ALL"]
        assert role["env_file"] == ["settings.env"]
        grace = int(role["stop_grace_period"].removesuffix("s"))
        assert grace > Settings().stop_s


def test_settings_in_the_compose_file_and_in_the_image_are_settings() -> None:
    known = {variable(field) for field in Settings.model_fields}
    for name in ("compose.yaml", "Dockerfile", "settings.env.example"):
        assert set(re.findall(r"TRIPLINE_[A-Z_]*[A-Z]\b", (DEPLOY / name).read_text())) <= known


def example() -> tuple[dict[str, str], dict[str, str]]:
    """The example's settings: those to fill in, and the commented ones."""
    text = (DEPLOY / "settings.env.example").read_text()
    required = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    commented = dict(re.findall(r"^#(TRIPLINE_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    return required, commented


def test_the_example_asks_for_what_the_compose_file_requires() -> None:
    required, _ = example()
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert set(required) == asked | {"TRIPLINE_LOG_SECRET"}
    assert not any(required.values()), "no secret is the same everywhere"
    settings = {"TRIPLINE_LOG_SECRET": "0" * 64}
    assert load_settings(settings, require=["log_secret"]).partitions == 8


def test_the_example_holds_every_setting_at_its_default() -> None:
    required, commented = example()
    shown = {name for name in required if name.startswith("TRIPLINE_")} | set(commented)
    assert shown == {row.variable for row in describe_settings({})} - {"TRIPLINE_FAILPOINT"}
    for row in describe_settings({}):
        if row.default and row.variable in commented:
            assert commented[row.variable] == row.default


def test_the_image_runs_as_a_user_without_rights() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    final = text.rsplit("\nFROM ", 1)[1]
    assert "\nUSER 10001:10001\n" in final
    assert '\nENTRYPOINT ["tripline"]\n' in final
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in copied.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text()


def test_prometheus_scrapes_the_roles_on_the_port_of_the_image() -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    port = re.search(r"TRIPLINE_METRICS_PORT=(\d+)", image)
    assert port is not None
    targets = load("prometheus/prometheus.yml")["scrape_configs"]
    names = [entry["dns_sd_configs"][0]["names"][0] for entry in targets]
    assert names == ["worker", "deliver"]
    assert {entry["dns_sd_configs"][0]["port"] for entry in targets} == {int(port[1])}
    assert [entry["job_name"] for entry in targets] == [f"tripline-{name}" for name in names]


def test_the_functions_loaded_by_the_compose_file_are_the_ones_the_store_calls() -> None:
    loader = services("compose.yaml")["functions"]
    source = DEPLOY / loader["volumes"][0].split(":")[0] / "tripline.lua"
    assert source.read_text() == functions.code()
    assert "/functions/tripline.lua" in loader["command"][-1]
