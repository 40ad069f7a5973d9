"""One user and the core, for tests that read as a timeline."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.decisions import Decision
from schemas.events import Event
from schemas.reasons import Reason
from schemas.records import DeadToken, OutcomeRecord
from triggers.compile import RegisteredTrigger, compile_program
from triggers.decide import apply_event, apply_outcome, fire_before
from triggers.durations import format_duration, parse_duration
from triggers.effects import Effects
from triggers.program import NO_HITS, Program
from triggers.state import Device, UserState
from triggers.workspace import load_documents

#: 2025-01-06, a Monday, 00:00 UTC.
T0 = 1_736_121_600_000

#: What an absence says: added, not ordered within two hours.
CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Added"},
    "unless": {"event": "Ordered"},
    "wait": "2h",
}
#: An immediate trigger.
HELLO: dict[str, Any] = {"id": "hello", "state": "live", "when": {"event": "Opened"}}


def ms(offset: str) -> int:
    """Log time of an offset from T0, such as `2h`; `-1h` lies before it."""
    negative = offset.startswith("-")
    amount = parse_duration(offset.removeprefix("-"))
    return T0 - amount if negative else T0 + amount


def text(at_ms: int) -> str:
    return format_duration(at_ms - T0) if at_ms >= T0 else f"-{format_duration(T0 - at_ms)}"


def program_of(
    *documents: Mapping[str, Any],
    number: int = 1,
    revision: int = 1,
    registered: int = 0,
    files: Mapping[str, Any] | None = None,
    places: Any = None,
    **policy: Any,
) -> Program:
    """The documents under one policy, without grace unless it says so (None: leave it unsaid).

    `files`: shared documents by the stem of their file."""
    values = {"grace": "0s", **policy}
    said = {name: value for name, value in values.items() if value is not None}
    beside = {**(files or {}), **({} if places is None else {"places": places})}
    loaded = load_documents(documents, {"default": said}, beside)
    triggers = [
        RegisteredTrigger(trigger, revision, trigger.state, registered)
        for trigger in loaded.triggers.values()
    ]
    return compile_program(number, triggers, loaded.policies, loaded.documents)


def line(decision: Decision) -> str:
    """`2h cart m0 ADMITTED`: when, which trigger, which activation, how it ended."""
    how = decision.reason or decision.outcome
    return f"{text(decision.at_ms)} {decision.trigger} {decision.activation} {how}"


class User:
    """Events and outcomes go in by their offset from T0; `lines` says what was decided."""

    def __init__(self, program: Program, *, reachable: bool = True, name: str = "u") -> None:
        self.program = program
        self.name = name
        self.state = UserState()
        self.effects = Effects()
        self.count = 0
        if reachable:
            self.state.devices.append(Device("token", "ios", T0))

    def event(
        self,
        at: str,
        name: str,
        *,
        e: str | None = None,
        id: str | None = None,
        device: str | None = None,
        timeless: bool = False,
        **properties: Any,
    ) -> str:
        """A track event appended at `at`, which happened at `e` (default: the same)."""
        message_id = id or f"m{self.count}"
        self.count += 1
        context = {"device": {"token": device, "type": "iOS"}} if device else None
        moment = datetime.fromtimestamp(ms(at if e is None else e) / 1000, UTC)
        event = Event(
            type="track",
            message_id=message_id,
            event=name,
            user_id=self.name,
            timestamp=None if timeless else moment,
            properties=properties,
            context=context,
        )
        self.apply(at, event)
        return message_id

    def apply(self, at: str, event: Event) -> bool:
        hits = self.program.hits(event) or NO_HITS
        return apply_event(self.program, self.name, self.state, event, ms(at), hits, self.effects)

    def identify(
        self,
        at: str,
        *,
        e: str | None = None,
        id: str | None = None,
        zone: str | None = None,
        **traits: Any,
    ) -> str:
        """An identify event with these traits, from a phone in `zone`."""
        message_id = id or f"m{self.count}"
        self.count += 1
        event = Event(
            type="identify",
            message_id=message_id,
            user_id=self.name,
            timestamp=datetime.fromtimestamp(ms(at if e is None else e) / 1000, UTC),
            traits=traits,
            context=None if zone is None else {"timezone": zone},
        )
        self.apply(at, event)
        return message_id

    def outcome(
        self,
        at: str,
        reason: Reason,
        *,
        delivery: int = -1,
        dead: tuple[str, ...] = (),
        since_ms: int | None = None,
    ) -> bool:
        """How the admitted delivery with that number ended."""
        admitted = self.effects.deliveries[delivery]
        record = OutcomeRecord(
            delivery_id=admitted.delivery_id,
            user=self.name,
            trigger=admitted.trigger.id,
            reason=reason,
            at_ms=ms(at),
            dead_tokens=[DeadToken(token, since_ms) for token in dead],
        )
        return apply_outcome(self.program, self.name, self.state, record, ms(at), self.effects)

    def fire(self, before: str) -> None:
        fire_before(self.program, self.name, self.state, ms(before), self.effects)

    @property
    def lines(self) -> list[str]:
        return [line(decision) for decision in self.effects.decisions]
