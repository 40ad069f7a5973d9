"""What an accepted push costs the senders: CPU of the sending process, over TLS, without waiting.

The stand-ins run on the other core, the sender alone on the measured one; so many sends are under
way at once that it never waits long. Starting, connecting and the first sends are not counted.

`python -m tests.bench.senders serve DIR` and `... fcm|apns DIR SENDS ADDRESS` are its processes.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from firebase_admin import credentials

from engine import clock
from engine.delivery.senders import Push, Sender, SendKind
from engine.delivery.senders.apns import ApnsSender
from engine.delivery.senders.apns_token import ProviderToken
from engine.delivery.senders.fcm import FcmSender
from engine.standins.apns import ApnsStandin
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material, make_material
from engine.standins.fcm import FcmStandin
from engine.standins.journal import Journal
from tests.bench.machine import cores, pinned
from tests.bench.report import mid, table

UNDER_WAY: Final = 200
WARM_UP: Final = 500
TIMEOUT_S: Final = 30.0
WITHIN_S: Final = 300.0
PROVIDERS: Final = ("fcm", "apns")


class Sent(NamedTuple):
    """Of the counted sends: CPU and wall seconds of the process, and how many were accepted."""

    cpu_s: float
    wall_s: float
    accepted: int


def bench_senders(quick: bool) -> str:
    """Both providers in turns, against stand-ins that answer at once."""
    sends = 4_000 if quick else 20_000
    found: dict[str, list[Sent]] = {provider: [] for provider in PROVIDERS}
    with TemporaryDirectory() as directory:
        material = make_material(Path(directory))
        server = subprocess.Popen(
            pinned(cores().rest, argv_of("serve", directory)), stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            addresses = json.loads(server.stdout.readline())
            for _ in range(2 if quick else 3):
                for provider, runs in found.items():
                    runs.append(_run(provider, material, sends, addresses[provider]))
        finally:
            server.terminate()
            server.wait(timeout=10)
    rows = []
    for provider, runs in found.items():
        if any(run.accepted != sends for run in runs):
            raise ValueError(f"{provider} accepted {[run.accepted for run in runs]} of {sends}")
        rate, most = mid([_rate(run) for run in runs]), max(map(_rate, runs))
        cells = [f"{1e6 / rate:.0f}", f"{rate:,.0f}", f"{most:,.0f}"]
        rows.append([provider, *cells, f"{sends / mid([run.wall_s for run in runs]):,.0f}"])
    text = (
        f"{sends:,} pushes over TLS, {UNDER_WAY} under way, {len(runs)} runs in turns; the sender "
        "alone, without Kafka, Redis and rendering."
    )
    head = ["provider", "us/push", "accepted per CPU s", "the best run", "accepted/s"]
    return f"### Senders, one process on one core\n\n{text}\n\n{table(head, rows)}"


def _rate(run: Sent) -> float:
    return run.accepted / run.cpu_s


def argv_of(*words: str) -> list[str]:
    """The command line of one of the bench's own processes."""
    return [sys.executable, "-m", "tests.bench.senders", *words]


def _run(provider: str, material: Material, sends: int, address: str) -> Sent:
    argv = argv_of(provider, str(material.directory), str(sends), address)
    # The access token is fetched by `requests`, which looks there for its CA.
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(material.ca)}
    done = subprocess.run(
        pinned(cores().subject, argv),
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=WITHIN_S,
    )
    # The senders log to standard output before.
    return Sent(*json.loads(done.stdout.splitlines()[-1]))


async def serve(material: Material) -> None:
    """Stand-ins for both until the process ends; where they are is one line on standard output."""
    # The certificate is that of the APNs stand-in; a client that asks for no protocol gets 1.1.
    fcm = FcmStandin(material, Journal(None), ssl_context=material.server_context())
    apns = ApnsStandin(material, Journal(None), strict=False)
    await fcm.start()
    await apns.start()
    print(json.dumps({"fcm": fcm.base_url, "apns": str(apns.port)}), flush=True)
    await asyncio.Event().wait()


@asynccontextmanager
async def _sender(provider: str, material: Material, address: str) -> AsyncIterator[Sender]:
    trusted = material.client_context()
    sender: Sender
    if provider == "fcm":
        account = credentials.Certificate(str(material.service_account))
        sender = FcmSender(account, base_url=address, ssl_context=trusted)
    else:
        token = ProviderToken(material.apns_key.read_text(), KEY_ID, TEAM_ID)
        sender = ApnsSender(TOPIC, token, host="localhost", port=int(address), ssl_context=trusted)
    await sender.start()
    try:
        yield sender
    finally:
        await sender.aclose()


async def send(provider: str, material: Material, sends: int, address: str) -> Sent:
    """Send so many, the first `WARM_UP` beside them not counted."""
    outcomes: Counter[SendKind] = Counter()
    async with _sender(provider, material, address) as sender:

        async def work(numbers: range) -> None:
            for number in numbers:
                found = await sender.send(_push(number), clock.now_ms(), TIMEOUT_S)
                outcomes[found.kind] += 1

        async def all_of(numbers: range) -> None:
            lanes = [numbers[first::UNDER_WAY] for first in range(UNDER_WAY)]
            await asyncio.gather(*map(work, lanes))

        await all_of(range(WARM_UP))
        outcomes.clear()
        began_s, cpu_began_s = time.perf_counter(), time.process_time()
        await all_of(range(WARM_UP, WARM_UP + sends))
        cpu_s, wall_s = time.process_time() - cpu_began_s, time.perf_counter() - began_s
    return Sent(cpu_s, wall_s, outcomes[SendKind.ACCEPTED])


def _push(number: int) -> Push:
    return Push(
        delivery_id=f"{number:032x}",
        token=f"{number:064x}",
        title="Still thinking?",
        body="Your cart waits: Blue running shoes, 42",
        link="https://shop.example/cart",
        data={"step": "1"},
        collapse_key="abandoned-cart",
        expires_at_ms=clock.now_ms() + 3_600_000,
        urgent=True,
    )


def main() -> None:
    """One of the bench's own processes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.senders", description=__doc__)
    parser.add_argument("what", choices=["serve", *PROVIDERS])
    parser.add_argument("directory", type=Path)
    parser.add_argument("sends", type=int, nargs="?", default=0)
    parser.add_argument("address", nargs="?", default="")
    options = parser.parse_args()
    material = Material(options.directory)
    if options.what == "serve":
        asyncio.run(serve(material))
        return
    print(json.dumps(asyncio.run(send(options.what, material, options.sends, options.address))))


if __name__ == "__main__":
    main()
