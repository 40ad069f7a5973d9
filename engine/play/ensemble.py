"""All processes of a small installation, as children of this one."""

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from engine.local.ports import free_port
from engine.local.process import Child
from engine.local.stack import LocalStack
from engine.registry.folder import Folder
from engine.registry.operations import Signature, open_to_write
from engine.settings import Settings, load_settings
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, make_material
from engine.topics import ensure_topics

START_WITHIN_S = 60.0
PARTITIONS = 8
PORTS = ("fcm", "apns", "control", "worker", "deliver")


@dataclass(frozen=True, slots=True)
class EnsembleOptions:
    """`directory` holds data, logs and keys; `delay_ms` is how long a stand-in takes to answer."""

    directory: Path
    clock: Literal["wall", "log"] = "wall"
    delay_ms: float = 20.0
    in_flight_max: int = 200


class Ensemble:
    """Start and stop everything. Children die with this process, whatever happens to it."""

    def __init__(self, options: EnsembleOptions) -> None:
        self.options = options
        directory = options.directory
        self.push_log = directory / "pushes.jsonl"
        self._stack = LocalStack(directory)
        self._material = make_material(directory / "keys")
        self._ports = {name: free_port() for name in PORTS}
        self.children: dict[str, Child] = {}
        self.environment: dict[str, str] = {}
        self.settings: Settings

    async def start_services(self) -> None:
        """Kafka, Redis, topics, stand-ins. Raises ChildError, MissingProgramError."""
        addresses = await self._stack.start_async()
        self.environment = self._environment(addresses.kafka_servers, addresses.redis_url)
        self.settings = load_settings(self.environment)
        await ensure_topics(self.settings)
        ports = self._ports
        self._launch(
            "standins",
            [
                *(sys.executable, "-m", "engine.standins"),
                *("--fcm-port", str(ports["fcm"]), "--apns-port", str(ports["apns"])),
                *("--control-port", str(ports["control"])),
                *("--dir", str(self._material.directory)),
                *("--delay-ms", str(self.options.delay_ms), "--log", str(self.push_log)),
            ],
        )

    async def apply(self, folder: Folder) -> int:
        """Register and activate a workspace; its version."""
        async with open_to_write(self.settings, START_WITHIN_S) as registry:
            plan = registry.plan(folder.triggers, folder.policies, folder.documents)
            applied = await registry.put_in_force(plan, Signature("tripline up"))
        return applied.number

    def start_roles(self) -> None:
        """A worker and a delivery worker."""
        command = [sys.executable, "-m", "engine.cli"]
        self._launch("worker", [*command, "worker"])
        self._launch("deliver", [*command, "deliver"])

    def failed(self) -> str | None:
        """The name and last words of a child that should run and does not."""
        for name, child in self.children.items():
            if not child.alive:
                return f"{name} ended with {child.returncode}:\n{child.log_tail(15)}"
        return None

    async def outcomes(self) -> dict[str, int]:
        """How deliveries ended, by reason, as the delivery worker counts them."""
        url = f"http://127.0.0.1:{self._ports['deliver']}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            text = await answer.text()
        counts: dict[str, int] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "tripline_deliveries_total" and sample.value:
                    counts[sample.labels["reason"]] = int(sample.value)
        return counts

    async def stop(self) -> None:
        """Stop what was started, in the order that loses nothing."""
        for name in ("worker", "deliver", "standins"):
            child = self.children.pop(name, None)
            if child is not None:
                await asyncio.to_thread(child.stop, 20.0)
        await self._stack.stop_async()

    def _launch(self, name: str, argv: list[str]) -> None:
        environment = dict(self.environment)
        if name in ("worker", "deliver"):
            environment["TRIPLINE_METRICS_PORT"] = str(self._ports[name])
            environment["TRIPLINE_INSTANCE"] = name
        log_path = self.options.directory / "logs" / f"{name}.log"
        child = Child(name, argv, log_path=log_path, env=environment)
        child.start()
        self.children[name] = child
        self._stack.record_process(name, child.pid)

    def _environment(self, kafka_servers: str, redis_url: str) -> dict[str, str]:
        material, ports = self._material, self._ports
        outer = _outer_settings(os.environ)
        secret = outer.get("TRIPLINE_LOG_SECRET") or _secret(self.options.directory)
        return {
            **outer,
            "TRIPLINE_KAFKA_SERVERS": kafka_servers,
            "TRIPLINE_REDIS_URL": redis_url,
            "TRIPLINE_LOG_SECRET": secret,
            "TRIPLINE_PARTITIONS": str(PARTITIONS),
            "TRIPLINE_CLOCK": self.options.clock,
            "TRIPLINE_LOG_FORMAT": "json",
            "TRIPLINE_STANDINS_ALLOWED": "true",
            "TRIPLINE_IN_FLIGHT_MAX": str(self.options.in_flight_max),
            "TRIPLINE_FCM_SERVICE_ACCOUNT_FILE": str(material.service_account),
            "TRIPLINE_FCM_BASE_URL": f"http://127.0.0.1:{ports['fcm']}",
            "TRIPLINE_APNS_KEY_FILE": str(material.apns_key),
            "TRIPLINE_APNS_KEY_ID": KEY_ID,
            "TRIPLINE_APNS_TEAM_ID": TEAM_ID,
            "TRIPLINE_APNS_TOPIC": TOPIC,
            "TRIPLINE_APNS_HOST": "localhost",
            "TRIPLINE_APNS_PORT": str(ports["apns"]),
            "TRIPLINE_PROVIDER_CA_FILE": str(material.ca),
        }


def _secret(directory: Path) -> str:
    """The secret of this directory's log: records sealed with another one would be forgeries."""
    path = directory / "log-secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def _outer_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings from outside are kept where this does not say otherwise."""
    return {name: value for name, value in environment.items() if name.startswith("TRIPLINE_")}
