"""The providers of this process: which one a device belongs to, its breaker, one request each."""

import asyncio
import ssl
from collections.abc import Callable, Mapping

from engine import clock
from engine.delivery import observed
from engine.delivery.attempt import BREAKER_OPEN, NOT_CONFIGURED, DeviceResult
from engine.delivery.breaker import Admission, Answer, Breaker, State
from engine.delivery.render import Rendered
from engine.delivery.senders import Sender, SendKind, SendResult
from engine.failpoints import failpoint
from engine.settings import Settings
from schemas.deliveries import Delivery, DeviceRef

ANDROID, IOS = "android", "ios"

#: Not sent, because the provider or its token endpoint could not be reached. (A 429 or 503 is an
#: answer: it costs a moment, not a slot until the timeout, so that no breaker is needed.)
_UNREACHABLE = frozenset({"CONNECT", "CONNECT_TIMEOUT", "POOL_FULL", "CREDENTIAL"})
_ANSWERS = {
    SendKind.ACCEPTED: Answer.GOOD,
    SendKind.UNREGISTERED: Answer.GOOD,
    SendKind.REJECTED: Answer.GOOD,
    SendKind.RETRY_LATER: Answer.UNCLEAR,
    SendKind.AUTH: Answer.FAULT,
    SendKind.UNKNOWN: Answer.FAULT,
}


class Providers:
    """`senders` by device platform; a platform without one is not reachable from here."""

    def __init__(
        self,
        senders: Mapping[str, Sender],
        timeout_s: float,
        now_ms: Callable[[], int] = clock.now_ms,
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._senders = dict(senders)
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._breakers = {sender.provider: Breaker() for sender in senders.values()}
        #: Requests under way, by provider.
        self.in_flight = dict.fromkeys(self._breakers, 0)

    @property
    def names(self) -> list[str]:
        """The providers there are."""
        return list(self._breakers)

    async def start(self) -> None:
        """Start every sender. Raises ValueError for a credential that can never work."""
        for sender in self._senders.values():
            await sender.start()

    async def aclose(self) -> None:
        """Close every sender."""
        for sender in self._senders.values():
            await sender.aclose()

    def route(self, delivery: Delivery) -> str:
        """The provider whose slots the delivery takes: that of its first device, "" for none."""
        sender = self._senders.get(delivery.devices[0].platform) if delivery.devices else None
        return sender.provider if sender else ""

    def blocked_s(self, delivery: Delivery) -> float:
        """Seconds until it is worth asking for this delivery, as far as breakers tell."""
        waits_s = []
        for device in delivery.devices:
            sender = self._senders.get(device.platform)
            if sender is not None:
                waits_s.append(self._breakers[sender.provider].blocked_s(self._monotonic_s()))
        return min(waits_s, default=0.0)

    @property
    def held_s(self) -> float:
        """Seconds until any provider may be asked, 0 when one may be asked now."""
        now_s = self._monotonic_s()
        return min((b.blocked_s(now_s) for b in self._breakers.values()), default=0.0)

    @property
    def all_doubtful(self) -> bool:
        """No breaker is closed: whatever goes out now is a probe."""
        states = [breaker.state for breaker in self._breakers.values()]
        return bool(states) and State.CLOSED not in states

    async def send(
        self, delivery: Delivery, message: Rendered, expires_at_ms: int
    ) -> list[DeviceResult]:
        """Send to all devices at once; `expires_at_ms` is wall time."""
        if len(delivery.devices) == 1:
            return [await self._one(delivery, delivery.devices[0], message, expires_at_ms)]
        sends = (self._one(delivery, device, message, expires_at_ms) for device in delivery.devices)
        return list(await asyncio.gather(*sends))

    async def _one(
        self, delivery: Delivery, device: DeviceRef, message: Rendered, expires_at_ms: int
    ) -> DeviceResult:
        sender = self._senders.get(device.platform)
        if sender is None:
            missing = SendResult(SendKind.REJECTED, NOT_CONFIGURED)
            return DeviceResult(device.token, "", missing)
        name = sender.provider
        breaker = self._breakers[name]
        began_s = self._monotonic_s()
        admission = breaker.admits(began_s)
        if admission is Admission.NO:
            wait_s = breaker.blocked_s(began_s)
            held = SendResult(SendKind.RETRY_LATER, BREAKER_OPEN, wait_s)
            return DeviceResult(device.token, name, held)
        push = message.to(delivery.delivery_id, device.token, expires_at_ms)
        before = breaker.state
        answer, reason = Answer.UNCLEAR, "cancelled"
        self.in_flight[name] += 1
        failpoint("before_send")
        try:
            result = await sender.send(push, self._now_ms(), self._timeout_s)
            answer, reason = _answer(result), result.reason
        finally:
            self.in_flight[name] -= 1
            ended_s = self._monotonic_s()
            breaker.answered(admission, answer, ended_s)
            if breaker.state is not before:
                observed.breaker(name, breaker.state, reason)
        if result.kind is SendKind.ACCEPTED:
            failpoint("after_send")
        observed.sent(name, result, ended_s - began_s)
        return DeviceResult(device.token, name, result)


def _answer(result: SendResult) -> Answer:
    return Answer.FAULT if result.reason in _UNREACHABLE else _ANSWERS[result.kind]


def build_senders(settings: Settings) -> dict[str, Sender]:
    """The senders the settings give credentials for, by platform.

    Raises OSError and ValueError when a credential file cannot be used.
    """
    senders: dict[str, Sender] = {}
    if settings.fcm_service_account_file is not None:
        senders[ANDROID] = _fcm(settings)
    if settings.apns_key_file is not None:
        senders[IOS] = _apns(settings)
    return senders


def _fcm(settings: Settings) -> Sender:
    from firebase_admin import credentials

    from engine.delivery.senders.fcm import FcmSender

    return FcmSender(
        credentials.Certificate(str(settings.fcm_service_account_file)),
        base_url=settings.fcm_base_url,
        connections_max=settings.fcm_connections_max,
        ssl_context=_trust(settings),
    )


def _apns(settings: Settings) -> Sender:
    from engine.delivery.senders.apns import ApnsSender
    from engine.delivery.senders.apns_token import ProviderToken

    topic, key_file = settings.apns_topic, settings.apns_key_file
    key_id, team_id = settings.apns_key_id, settings.apns_team_id
    if topic is None or key_file is None or key_id is None or team_id is None:
        raise ValueError("an APNs key goes with its id, the team and the topic")
    return ApnsSender(
        topic,
        ProviderToken(key_file.read_text(), key_id, team_id),
        host=settings.apns_host,
        port=settings.apns_port,
        ssl_context=_trust(settings),
        connections_max=settings.apns_connections_max,
    )


def _trust(settings: Settings) -> ssl.SSLContext | None:
    """A context of the sender's own, because each sets its protocols on it."""
    if settings.provider_ca_file is None:
        return None
    return ssl.create_default_context(cafile=str(settings.provider_ca_file))
