"""From queued deliveries to written outcomes: take, claim, render, send, write.

One loop takes deliveries by lane weight as slots come free and claims them together, one round trip
to the gate. What may be sent becomes a task; everything ends in one record (an outcome or a
re-queue) whose acknowledgement frees the slots and finishes the offset. So a kill loses sight of at
most the deliveries that hold slots, and the gate ends those as UNKNOWN.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
from aiokafka import ConsumerRecord

from engine import clock
from engine.delivery import observed
from engine.delivery.attempt import (
    UNREADABLE,
    Drop,
    Finish,
    Next,
    Requeue,
    Rules,
    after_sends,
    after_verdict,
    ghost_of,
    unsent,
)
from engine.delivery.fences import Fences
from engine.delivery.intake import Item
from engine.delivery.lanes import Lanes, Slots
from engine.delivery.outcomes import LogWriter, Records
from engine.delivery.providers import Providers
from engine.delivery.render import Renderer
from engine.http import Health
from engine.ports import Claim, Gate, GateAnswer, StoreUnavailable, Verdict
from engine.registry.versions import UnreadableDefinitionError
from engine.tasks import spawn
from engine.waits import until_reachable
from schemas.deliveries import Delivery, Limits
from schemas.reasons import Reason
from schemas.topics import Lane
from triggers.definition import TriggerDefinition
from triggers.texts import MessageAborted, RenderError

log = structlog.get_logger(__name__)

CLAIMS_MAX = 64
REGISTRY_S = 60.0
GATE_PAUSE_FIRST_S = 0.05
GATE_PAUSE_MAX_S = 2.0
NO_LIMITS = Limits()

T = TypeVar("T")


class Definitions(Protocol):
    """The registry as a delivery worker needs it (`RegistryReader`)."""

    async def read_up_to(self, number: int, timeout_s: float) -> None:
        """Return once version `number` is known here."""

    def definition(self, trigger_id: str, revision: int) -> TriggerDefinition | None:
        """A registered revision."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a dispatcher works with. `redis` is its address for people; `jitter` is random, 0 to 1;
    `fatal` ends the process."""

    gate: Gate
    definitions: Definitions
    providers: Providers
    records: Records
    writer: LogWriter
    fences: Fences
    rules: Rules
    health: Health
    redis: str
    jitter: Callable[[], float]
    fatal: Callable[[BaseException], None]


class Dispatcher:
    """The send loop. It is the `Queue` of the intakes."""

    def __init__(self, around: Surroundings, lanes: Lanes[Item], slots: Slots) -> None:
        self._around = around
        self._rules = around.rules
        self._lanes = lanes
        self._slots = slots
        self._renderer = Renderer(around.definitions.definition)
        self._wake = asyncio.Event()
        self._stopping = False
        self._sends: set[asyncio.Task[None]] = set()
        self._sending: set[str] = set()

    # the queue

    def put(self, item: Item) -> None:
        """Queue a delivery."""
        delivery = item.delivery
        route = self._around.providers.route(delivery)
        self._lanes.put(Lane(delivery.lane), route, _slots(delivery), item)
        self._wake.set()

    def depth(self, lane: Lane) -> int:
        """Deliveries waiting in a lane."""
        return self._lanes.depth(lane)

    def refuse(self, record: ConsumerRecord, detail: str, done: Callable[[], None]) -> None:
        """Write the dead letter of a record that is no delivery."""
        log.warning("delivery_unreadable", topic=record.topic, offset=record.offset, why=detail)

        def written() -> None:
            observed.refused()
            done()

        self._around.writer.append(self._around.records.refused(record, detail), written)

    # the loop

    async def run(self) -> None:
        """Send until `stop`; ends after the round under way."""
        while not self._stopping:
            self._wake.clear()
            held_s = self._around.providers.held_s
            items = [] if held_s else self._take()
            if items:
                await self._round(items)
                continue
            # With no provider to ask, deliveries stay where they are: putting them all back would
            # copy the whole backlog again and again.
            with suppress(TimeoutError):
                async with asyncio.timeout(held_s or None):
                    await self._wake.wait()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        self._wake.set()

    async def drained(self, within_s: float) -> bool:
        """Wait until everything begun is written; False when the time was not enough. What is
        still being sent then is cut off: it is claimed, so nobody sends it again."""
        try:
            async with asyncio.timeout(within_s):
                while self._slots.used:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            log.warning("stopped_while_sending", requests=self._slots.used)
            for task in self._sends:
                task.cancel()
            return False
        return True

    def _take(self) -> list[Item]:
        """The next ones, but for those whose partition is going to another worker."""
        begun = []
        count_max = 1 if self._around.providers.all_doubtful else CLAIMS_MAX
        for item in self._lanes.take(self._slots, count_max):
            if item.window.leaving:
                self._free(item.delivery)
            else:
                item.window.active += 1
                begun.append(item)
        return begun

    async def _round(self, items: list[Item]) -> None:
        around = self._around
        newest = max(item.delivery.registry for item in items)
        await around.definitions.read_up_to(newest, REGISTRY_S)
        wanted = []
        for item in items:
            blocked_s = around.providers.blocked_s(item.delivery)
            if item.delivery.delivery_id in self._sending:
                # A second record of it, from a shard that decided it again: the store may have
                # forgotten our claim.
                self._end(item, _later(item, self._rules.lease_ms))
            elif blocked_s:
                # Out of the way of the other provider's. Not claimed, so it is not judged either:
                # should it expire, the gate will say so.
                wait_ms = max(int(blocked_s * 1000), self._rules.tiers_ms[0])
                self._end(item, _later(item, wait_ms))
            else:
                wanted.append(item)
        if not wanted:
            return
        claims, verdicts = await self._claim(wanted)
        observed.gate(verdicts)
        for item, claim, verdict in zip(wanted, claims, verdicts, strict=True):
            if verdict.answer is GateAnswer.SEND:
                self._begin(item, claim)
            else:
                self._end(
                    item,
                    after_verdict(
                        item.delivery, verdict, claim.now_ms, item.uncertain, self._rules
                    ),
                )

    async def _claim(self, items: list[Item]) -> tuple[list[Claim], list[Verdict]]:
        """Never answers for a gate that cannot be asked: then nothing is sent at all."""

        async def ask() -> tuple[list[Claim], list[Verdict]]:
            now_ms = clock.now_ms()
            claims = [self._question(item.delivery, now_ms) for item in items]
            return claims, await self._around.gate.claim(claims)

        return await self._patiently(ask)

    def _question(self, delivery: Delivery, now_ms: int) -> Claim:
        own = delivery.ghost == Reason.CONTROL
        gate_now_ms = self._rules.gate_now_ms(delivery, now_ms)
        return Claim(
            delivery.shard,
            delivery.delivery_id,
            delivery.user,
            delivery.trigger,
            gate_now_ms,
            self._rules.lease_ms,
            NO_LIMITS if self._rules.log_clock else delivery.limits,
            delivery.marketing and not own,
            self._around.fences.after(delivery),
            own,
            delivery.closed_until_ms(gate_now_ms),
        )

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await until_reachable(
            "redis",
            self._around.redis,
            call,
            self._around.health,
            (StoreUnavailable,),
            pause_first_s=GATE_PAUSE_FIRST_S,
            pause_max_s=GATE_PAUSE_MAX_S,
        )

    # one delivery

    def _begin(self, item: Item, claim: Claim) -> None:
        self._sending.add(claim.delivery_id)
        task = spawn(self._send(item, claim), "send", self._around.fatal)
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send(self, item: Item, claim: Claim) -> None:
        following = await self._attempt(item)
        self._sending.discard(claim.delivery_id)
        if isinstance(following, Finish):
            following = following._replace(claimed_at_ms=claim.now_ms)
        if following.release:
            await self._patiently(lambda: self._around.gate.release([claim]))
        self._end(item, following)

    async def _attempt(self, item: Item) -> Finish | Requeue:
        """Render and send a claimed delivery."""
        delivery = item.delivery
        now_ms = clock.now_ms()
        left_ms = delivery.expires_at_ms - self._rules.gate_now_ms(delivery, now_ms)
        if left_ms < 0:
            return unsent(delivery, Reason.EXPIRED, "", item.uncertain)
        try:
            message = self._renderer.render(delivery)
        except MessageAborted:
            return unsent(delivery, Reason.TEMPLATE_ABORT, "", item.uncertain)
        except RenderError as error:
            log.warning("not_rendered", trigger=delivery.trigger, revision=delivery.revision)
            return unsent(delivery, Reason.TEMPLATE_ERROR, str(error), item.uncertain)
        except UnreadableDefinitionError as error:
            # Another process, or this one after its upgrade, can send it.
            log.warning("definition_unreadable", error=str(error))
            results = [UNREADABLE]
        else:
            if delivery.ghost:
                return ghost_of(delivery)
            results = await self._around.providers.send(delivery, message, now_ms + left_ms)
        now_ms = clock.now_ms()
        following = after_sends(
            delivery,
            results,
            self._rules.gate_now_ms(delivery, now_ms),
            item.uncertain,
            self._rules,
            self._around.jitter(),
        )
        accepted = isinstance(following, Finish) and following.reason is Reason.ACCEPTED
        if accepted and not self._rules.log_clock:
            observed.accepted(delivery, now_ms)
        return following

    def _end(self, item: Item, following: Next) -> None:
        """Write what became of it; the acknowledgement frees its slots and finishes its offset."""
        around, delivery = self._around, item.delivery
        if isinstance(following, Finish):
            end = following

            def finished() -> None:
                observed.ended(end.reason, end.provider, end.dead_tokens)
                self._done(item)

            around.writer.append(around.records.outcome(delivery, end, clock.now_ms()), finished)
        elif isinstance(following, Requeue):
            tier, record = around.records.requeued(delivery, following, clock.now_ms())

            def put_back() -> None:
                observed.requeued(tier)
                self._done(item)

            around.writer.append(record, put_back)
        else:
            assert isinstance(following, Drop), "a delivery to send does not end"
            self._done(item)

    def _done(self, item: Item) -> None:
        item.done()
        self._free(item.delivery)

    def _free(self, delivery: Delivery) -> None:
        self._slots.give(self._around.providers.route(delivery), _slots(delivery))
        self._wake.set()


def _later(item: Item, wait_ms: int) -> Requeue:
    return Requeue(wait_ms, item.delivery.attempt, item.uncertain)


def _slots(delivery: Delivery) -> int:
    return max(1, len(delivery.devices))
