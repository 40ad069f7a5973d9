"""A sender wired to its stand-in, the same way for both providers."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firebase_admin import credentials

from engine import clock
from engine.delivery.senders import Push, Sender, SendResult
from engine.delivery.senders.apns import ApnsSender
from engine.delivery.senders.apns_token import ProviderToken
from engine.delivery.senders.fcm import FcmSender
from engine.standins.apns import ApnsStandin
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material, make_material
from engine.standins.fcm import FcmStandin
from engine.standins.journal import Journal
from engine.standins.rules import Rule

_shared: list[Path] = []


def material_in(directory: Path) -> Material:
    """Keys in `directory`, copied from a set made once per run (an RSA key takes a while)."""
    if not _shared or not _shared[0].exists():
        _shared[:] = [make_material(directory / "made").directory]
    shutil.copytree(_shared[0], directory / "keys")
    return Material(directory / "keys")


def push(number: int = 1, *, token: str = "", **changes: Any) -> Push:
    """A push whose token and delivery id come from `number`."""
    fields: dict[str, Any] = {
        "delivery_id": f"{number:032x}",
        "token": f"{token}{number:08x}",
        "title": "Still thinking? 🛒",
        "body": 'Ещё "думаете"?',
        "link": "https://shop.example/cart",
        "data": {"step": "1"},
        "collapse_key": "cart",
        "expires_at_ms": clock.now_ms() + 3_600_000,
        "urgent": True,
    }
    return Push(**{**fields, **changes})


@dataclass
class Rig:
    """One sender, one stand-in."""

    sender: Sender
    journal: Journal

    async def send(self, message: Push, timeout_s: float = 10.0) -> SendResult:
        """Send by the wall clock."""
        return await self.sender.send(message, clock.now_ms(), timeout_s)

    async def send_many(
        self, numbers: range, token: str = "", timeout_s: float = 10.0
    ) -> list[SendResult]:
        """Send all at once; raises unless every one ends well within its time."""
        async with asyncio.timeout(timeout_s + 5.0):
            return await asyncio.gather(
                *[self.send(push(number, token=token), timeout_s) for number in numbers]
            )

    def received(self, token: str = "") -> list[dict[str, Any]]:
        """What the stand-in received for tokens that begin so."""
        return [e for e in self.journal.entries() if e["token"].startswith(token)]


@dataclass
class FcmRig(Rig):
    """FcmSender and FcmStandin."""

    sender: FcmSender
    standin: FcmStandin


@dataclass
class ApnsRig(Rig):
    """ApnsSender and ApnsStandin."""

    sender: ApnsSender
    standin: ApnsStandin
    token: ProviderToken


@contextlib.asynccontextmanager
async def fcm_rig(
    directory: Path,
    rules: list[Rule] | None = None,
    *,
    standin: dict[str, Any] | None = None,
    **sender: Any,
) -> AsyncIterator[FcmRig]:
    """An FcmSender with `sender` arguments against a stand-in with `standin` arguments."""
    material, journal = material_in(directory), Journal(None)
    server = FcmStandin(material, journal, rules=rules, **(standin or {}))
    await server.start()
    credential = credentials.Certificate(str(material.service_account))
    client = FcmSender(credential, **{"base_url": server.base_url, **sender})
    await client.start()
    try:
        yield FcmRig(client, journal, standin=server)
    finally:
        await client.aclose()
        await server.stop()


@contextlib.asynccontextmanager
async def apns_rig(
    directory: Path,
    rules: list[Rule] | None = None,
    *,
    standin: dict[str, Any] | None = None,
    **sender: Any,
) -> AsyncIterator[ApnsRig]:
    """As `fcm_rig`, for APNs."""
    material, journal = material_in(directory), Journal(None)
    server = ApnsStandin(material, journal, rules=rules, **(standin or {}))
    await server.start()
    token = ProviderToken(material.apns_key.read_text(), KEY_ID, TEAM_ID)
    defaults = {
        "host": "localhost",
        "port": server.port,
        "ssl_context": material.client_context(),
    }
    client = ApnsSender(TOPIC, token, **{**defaults, **sender})
    await client.start()
    try:
        yield ApnsRig(client, journal, standin=server, token=token)
    finally:
        await client.aclose()
        await server.stop()
