"""The stand-ins as a process: what load tests and checkers rely on."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
from firebase_admin import credentials

from engine import clock
from engine.delivery.senders import Sender, SendKind
from engine.delivery.senders.apns import ApnsSender
from engine.delivery.senders.apns_token import ProviderToken
from engine.delivery.senders.fcm import FcmSender
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material
from tests.contract.senders.harness import apns_rig, fcm_rig, material_in, push
from tests.waiting import eventually


@contextlib.asynccontextmanager
async def running(
    directory: Path,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "engine.standins", "--fcm-port", "0", "--apns-port", "0", "--control-port", "0"),
        *("--dir", str(directory / "keys"), "--log", str(directory / "log.jsonl"), "--strict"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            ready = (await process.stdout.readline()).decode().split()
        assert ready[0] == "ready"
        yield process, dict(part.split("=", 1) for part in ready[1:])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_process_serves_both_logs_in_time_and_stops_cleanly(tmp_path: Path) -> None:
    material_in(tmp_path)
    material, log = Material(tmp_path / "keys"), tmp_path / "log.jsonl"
    async with running(tmp_path) as (process, at):
        fcm = FcmSender(credentials.Certificate(str(material.service_account)), base_url=at["fcm"])
        token = ProviderToken(material.apns_key.read_text(), KEY_ID, TEAM_ID)
        apns = ApnsSender(
            TOPIC,
            token,
            host="localhost",
            port=int(at["apns"]),
            ssl_context=material.client_context(),
        )
        senders: list[Sender] = [fcm, apns]
        for number, sender in enumerate(senders):
            await sender.start()
            result = await sender.send(push(number), clock.now_ms(), 10.0)
            assert result.kind is SendKind.ACCEPTED
        # Buffered lines reach the file without a stop.
        await eventually(lambda: log.read_bytes().count(b"\n") == 2, within_s=2.0)
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        assert [line["provider"] for line in lines] == ["fcm", "apns"]
        assert {line["version"] for line in lines} == {1}
        assert [line["delivery_id"] for line in lines] == [f"{n:032x}" for n in range(2)]
        for sender in senders:
            await sender.aclose()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_rules_and_log_over_the_control_endpoint(tmp_path: Path) -> None:
    rules = {"rules": [{"token_prefix": "x", "status": 503, "first": 1}]}
    async with fcm_rig(tmp_path) as rig, aiohttp.ClientSession() as session:
        control = f"{rig.standin.base_url}/standin"
        async with session.post(f"{control}/rules", json=rules) as response:
            assert response.status == 200
        kinds = [(await rig.send(push(n, token="x"))).kind for n in range(2)]
        assert kinds == [SendKind.RETRY_LATER, SendKind.ACCEPTED]
        async with session.get(f"{control}/log") as response:
            entries = await response.json()
        assert [entry["status"] for entry in entries] == [503, 200]
        async with session.post(f"{control}/rules", json={"rules": [{"nope": 1}]}) as response:
            assert response.status == 400


async def test_apns_rules_have_a_control_port_of_their_own(tmp_path: Path) -> None:
    async with apns_rig(tmp_path) as rig, aiohttp.ClientSession() as session:
        control = f"http://127.0.0.1:{await rig.standin.start_control()}/standin"
        rules = {"rules": [{"action": "reset"}]}
        async with session.post(f"{control}/rules", json=rules) as response:
            assert response.status == 200
        assert (await rig.send(push())).kind is SendKind.UNKNOWN
        async with session.get(f"{control}/stats") as response:
            assert (await response.json())["requests"] == 1


async def test_a_token_grant_signed_by_another_key_is_refused(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path) as rig, aiohttp.ClientSession() as session:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
        async with session.post(f"{rig.standin.base_url}/token", data=form) as response:
            assert response.status == 400


async def test_an_apns_token_of_another_team_is_refused(tmp_path: Path) -> None:
    async with apns_rig(tmp_path) as rig:
        rig.token._team_id, rig.token._header = "OTHERTEAM1", b""
        result = await rig.send(push())
        assert (result.kind, result.reason) == (SendKind.AUTH, "InvalidProviderToken")
        assert rig.received() == []
