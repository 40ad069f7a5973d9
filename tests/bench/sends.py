"""The delivery worker end to end: a lane, the gate, the text, the provider, the outcome.

The deliveries are in their lane, decided by a worker that has ended, when the delivery worker
starts; the stand-ins answer over TLS at once. An outcome in the log is a delivery done.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition

from engine import clock
from engine.kafka_client import client_options
from engine.settings import Settings
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material, make_material
from schemas.topics import Topics
from tests.bench.bed import PARTITIONS, Bed
from tests.bench.latency import ALL, WINDOW, play, until_applied
from tests.bench.machine import cores, cpu_s, pinned
from tests.bench.report import table
from tests.bench.senders import argv_of
from tests.bench.timers import lanes_of, message_of, reminder
from tests.bench.worker import Sample, rates
from tests.waiting import eventually

PLATFORMS: Final = {"fcm": "android", "apns": "ios"}
POLL_S: Final = 0.05
WITHIN_S: Final = 300.0


class Delivered(NamedTuple):
    """Between a tenth and nine tenths of a run: deliveries a second, and a CPU second."""

    wall_rate: float
    cpu_rate: float


async def bench_deliver(bed: Bed, quick: bool) -> str:
    """Both providers."""
    sends = 4_000 if quick else 20_000
    rows = []
    for provider in PLATFORMS:
        found = await run_deliver(bed, provider, sends)
        rows.append([provider, f"{found.wall_rate:,.0f}", f"{found.cpu_rate:,.0f}"])
    head = ["provider", "accepted/s", "accepted per CPU s"]
    text = f"{sends:,} deliveries of one lane over TLS, gate and outcomes included."
    return f"### Delivery worker, one process on one core\n\n{text}\n\n{table(head, rows)}"


async def run_deliver(bed: Bed, provider: str, sends: int) -> Delivered:
    """Deliver so many pushes that were decided before."""
    bed.redis.flush()
    prefix = f"d{uuid4().hex[:6]}-"
    settings = await bed.create(prefix, reminder(), clock_="wall", at_ms=1)
    platform = PLATFORMS[provider]
    await play(settings, [message_of(f"u{n:07d}", n, 0, platform) for n in range(sends)], 0.0)
    with bed.role("worker", bed.environment(prefix, TRIPLINE_CLOCK="wall"), ALL):
        await until_applied(bed, settings)
    log = [TopicPartition(Topics(prefix).events, p) for p in range(PARTITIONS)]
    material = make_material(bed.directory / prefix / "keys")
    async with AIOKafkaConsumer(**client_options(settings), group_id=None) as consumer:
        decided = sum((await consumer.end_offsets(lanes_of(prefix))).values())
        if decided != sends:
            raise ValueError(f"{decided} deliveries of {sends} users")
        before = sum((await consumer.end_offsets(log)).values())
        with standins(material) as addresses:
            environment = _environment(bed, settings, material, addresses)
            with bed.role("deliver", environment) as role:
                samples: list[Sample] = []

                async def ended() -> bool:
                    role.check()
                    done = sum((await consumer.end_offsets(log)).values()) - before
                    samples.append(Sample(clock.monotonic_s(), cpu_s(role.child.pid), done))
                    return bool(done >= sends)

                await eventually(ended, within_s=WITHIN_S, every_s=POLL_S)
    low, high = (share * sends for share in WINDOW)
    run = rates([sample for sample in samples if low <= sample.done <= high])
    return Delivered(run.wall_rate, run.cpu_rate)


@contextmanager
def standins(material: Material) -> Iterator[dict[str, str]]:
    """Both providers over TLS, on the cores not measured; where they are."""
    server = subprocess.Popen(
        pinned(cores().rest, argv_of("serve", str(material.directory))),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
    finally:
        server.terminate()
        server.wait(timeout=10)


def _environment(
    bed: Bed, settings: Settings, material: Material, addresses: dict[str, str]
) -> dict[str, str]:
    return bed.environment(
        settings.topic_prefix,
        TRIPLINE_CLOCK="wall",
        TRIPLINE_STANDINS_ALLOWED="true",
        TRIPLINE_FCM_SERVICE_ACCOUNT_FILE=str(material.service_account),
        TRIPLINE_FCM_BASE_URL=addresses["fcm"],
        TRIPLINE_APNS_KEY_FILE=str(material.apns_key),
        TRIPLINE_APNS_KEY_ID=KEY_ID,
        TRIPLINE_APNS_TEAM_ID=TEAM_ID,
        TRIPLINE_APNS_TOPIC=TOPIC,
        TRIPLINE_APNS_HOST="localhost",
        TRIPLINE_APNS_PORT=addresses["apns"],
        TRIPLINE_PROVIDER_CA_FILE=str(material.ca),
        # The access token is fetched by `requests`, which looks there for its CA.
        REQUESTS_CA_BUNDLE=str(material.ca),
    )
