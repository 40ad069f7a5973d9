"""Which answers open a provider's breaker, and what it spares."""

import pytest

from engine.delivery.attempt import BREAKER_OPEN, NOT_CONFIGURED
from engine.delivery.breaker import FAULTS_MAX
from engine.delivery.providers import Providers
from engine.delivery.render import Rendered
from engine.delivery.senders import Push, SendKind, SendResult
from schemas.deliveries import Delivery, DeviceRef

MESSAGE = Rendered("title", "body", None, {}, "cart", True)


class ScriptedSender:
    """Answers `result`, and counts."""

    def __init__(self, provider: str, result: SendResult) -> None:
        self.provider = provider
        self.result = result
        self.asked = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def send(self, push: Push, now_ms: int, timeout_s: float) -> SendResult:
        self.asked += 1
        return self.result


class Clock:
    """Monotonic seconds by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def delivery(*platforms: str) -> Delivery:
    devices = [DeviceRef(f"t{n}", platform) for n, platform in enumerate(platforms)]
    return Delivery("d" * 32, "ann", "cart", 1, "a", 0, 1, 0, 10, 0, True, devices)


def made(kind: SendKind, reason: str) -> tuple[Providers, ScriptedSender, Clock]:
    sender, clock = ScriptedSender("fcm", SendResult(kind, reason)), Clock()
    return Providers({"android": sender}, 1.0, lambda: 0, clock), sender, clock


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (SendKind.AUTH, "UNAUTHENTICATED"),
        (SendKind.UNKNOWN, "TIMEOUT"),
        (SendKind.RETRY_LATER, "CONNECT"),
        (SendKind.RETRY_LATER, "CREDENTIAL"),
    ],
)
async def test_faults_of_the_provider_stop_requests_until_a_probe_succeeds(
    kind: SendKind, reason: str
) -> None:
    providers, sender, clock = made(kind, reason)
    for _ in range(FAULTS_MAX + 3):
        (found,) = await providers.send(delivery("android"), MESSAGE, 10)
    assert sender.asked == FAULTS_MAX
    assert found.result.reason == BREAKER_OPEN
    assert providers.held_s > 0
    assert providers.all_doubtful
    clock.now_s = 1.0
    assert providers.held_s == 0
    sender.result = SendResult(SendKind.ACCEPTED, "ACCEPTED")
    (found,) = await providers.send(delivery("android"), MESSAGE, 10)
    assert found.result.kind is SendKind.ACCEPTED
    assert not providers.all_doubtful


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (SendKind.UNREGISTERED, "UNREGISTERED"),
        (SendKind.REJECTED, "INVALID_ARGUMENT"),
        (SendKind.RETRY_LATER, "QUOTA_EXCEEDED"),
        (SendKind.RETRY_LATER, "GOAWAY"),
    ],
)
async def test_answers_about_a_message_stop_nothing(kind: SendKind, reason: str) -> None:
    providers, sender, _ = made(kind, reason)
    for _ in range(50):
        await providers.send(delivery("android"), MESSAGE, 10)
    assert sender.asked == 50


async def test_a_platform_without_a_sender_is_said_and_the_other_device_is_sent_to() -> None:
    providers, _, _ = made(SendKind.ACCEPTED, "ACCEPTED")
    web, android = await providers.send(delivery("web", "android"), MESSAGE, 10)
    assert (web.provider, web.result.reason) == ("", NOT_CONFIGURED)
    assert android.result.kind is SendKind.ACCEPTED


async def test_one_provider_in_trouble_does_not_hold_the_other() -> None:
    bad = ScriptedSender("fcm", SendResult(SendKind.AUTH, "UNAUTHENTICATED"))
    good = ScriptedSender("apns", SendResult(SendKind.ACCEPTED, "ACCEPTED"))
    providers = Providers({"android": bad, "ios": good}, 1.0, lambda: 0, Clock())
    for _ in range(FAULTS_MAX):
        await providers.send(delivery("android"), MESSAGE, 10)
    assert providers.blocked_s(delivery("android")) > 0
    assert providers.blocked_s(delivery("ios")) == 0
    assert providers.blocked_s(delivery("android", "ios")) == 0
    assert providers.held_s == 0
    assert not providers.all_doubtful


def test_a_delivery_takes_the_slots_of_its_first_devices_provider() -> None:
    providers, _, _ = made(SendKind.ACCEPTED, "ACCEPTED")
    assert providers.route(delivery("android")) == "fcm"
    assert providers.route(delivery("web")) == ""
