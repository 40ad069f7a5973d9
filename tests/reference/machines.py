"""The core, driven over a log as a worker does: with polls, restarts and commits between records.

`World` writes the log and applies it; `rows` are the decisions of the core, `expected` those of the
interpreter.
"""

from datetime import UTC, datetime
from typing import Any

from engine.backtest.run import Backtest
from engine.backtest.users import FOREVER_MS
from schemas.decisions import Decision
from schemas.events import Event, event_name
from schemas.reasons import Reason
from schemas.records import DeadToken, OutcomeRecord
from tests.reference.admitting import Row
from tests.reference.interpreter import FOREVER, interpret
from tests.reference.patterns import DAY
from tests.reference.workloads import T0, Workspace
from triggers.compile import RegisteredTrigger, compile_program
from triggers.decide import apply_event, apply_outcome, fire_before, next_due, per_value
from triggers.effects import Effects
from triggers.identity import delivery_id
from triggers.program import NO_HITS, Program
from triggers.retention import prune
from triggers.state import UserState, decode_state, encode_state, is_blank
from triggers.workspace import load_documents


def compiled(workspace: Workspace) -> Program:
    """Version 1 of the workspace."""
    loaded = load_documents(workspace.triggers, workspace.policies)
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in loaded.triggers.values()]
    return compile_program(1, registered, loaded.policies)


def event_of(record: dict[str, Any]) -> Event:
    message = record["message"]
    at = record["t"]
    return Event(
        type=message["type"],
        message_id=message["messageId"],
        event=message.get("event"),
        name=message.get("name"),
        user_id=message["userId"],
        timestamp=None if at is None else datetime.fromtimestamp(at / 1000, UTC),
        properties=message["properties"],
        context=message["context"],
    )


def row_of(decision: Decision) -> Row:
    return (
        decision.trigger,
        decision.user,
        decision.activation,
        decision.at_ms,
        decision.outcome.value,
        decision.reason.value if decision.reason else None,
    )


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[3], row[1], row[0], row[2], row[4]))


class World:
    """One shard: a log, the states of its users, and everything decided so far."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.program = compiled(workspace)
        self.states: dict[str, UserState] = {}
        self.log: list[dict[str, Any]] = []
        self.now = T0
        self.effects = Effects()
        self.delivery_ids: dict[tuple[str, str], str] = {}

    @property
    def rows(self) -> list[Row]:
        return in_order([row_of(decision) for decision in self.effects.decisions])

    def expected(self, until: int | None = None) -> list[Row]:
        workspace = self.workspace
        return interpret(workspace.triggers, workspace.policies, self.log, until=until)

    def event(self, gap: int, lag: int | None, message: dict[str, Any]) -> None:
        """Append an event `gap` after the last record; it happened `lag` before that."""
        self.now += gap
        message = {**message, "messageId": f"m{len(self.log)}"}
        t = None if lag is None else self.now - lag
        self.apply({"a": self.now, "t": t, "message": message})

    def repeat(self, gap: int, back: int) -> None:
        """Append an earlier message a second time; `back` 0 is the last one."""
        again = [record for record in self.log if self._may_repeat(record, self.now + gap)]
        self.now += gap
        if again:
            self.apply({**again[-1 - back % len(again)], "a": self.now})

    def _may_repeat(self, record: dict[str, Any], now: int) -> bool:
        """Without a client time of its own a message is known for 24 h, and then a new one."""
        if "message" not in record:
            return False
        if record["t"] is not None and record["t"] <= record["a"]:
            return True
        name = record["message"]["messageId"]
        first = next(r for r in self.log if r.get("message", {}).get("messageId") == name)
        timeless = record["t"] is None or self.workspace.future_repeats
        return timeless and now - first["a"] <= DAY

    def outcome(self, gap: int, back: int, reason: str, dead: tuple[str, ...]) -> None:
        """Append the outcome of a delivery that the log has decided by now."""
        rows = self.expected()
        admitted = [row for row in rows if row[4] == "ADMITTED"]
        self.now += gap
        if not admitted:
            return
        row = admitted[-1 - back % len(admitted)]
        trigger, user, activation, *_ = row
        # Every step of a series has had its row, refused or not.
        steps = [one for one in rows if one[:3] == row[:3]]
        self.apply(
            {
                "a": self.now,
                "user": user,
                "trigger": trigger,
                "activation": activation,
                "step": steps.index(row),
                "outcome": reason,
                "dead": list(dead),
            }
        )

    def apply(self, record: dict[str, Any]) -> None:
        self.log.append(record)
        user = record["user"] if "user" in record else record["message"]["userId"]
        state = self.states.setdefault(user, UserState())
        if "message" in record:
            event = event_of(record)
            name = event_name(event)
            hits = NO_HITS if name is None else self.program.match(name, event)
            apply_event(self.program, user, state, event, record["a"], hits, self.effects)
        else:
            outcome = self._outcome_record(record)
            apply_outcome(self.program, user, state, outcome, record["a"], self.effects)
        self.check(user)

    def _outcome_record(self, record: dict[str, Any]) -> OutcomeRecord:
        name, activation, user = record["trigger"], record["activation"], record["user"]
        trigger = self.program.triggers[name]
        per = ""
        for earlier in self.log:
            if earlier.get("message", {}).get("messageId") == activation:
                per = per_value(trigger, event_of(earlier)) or ""
        return OutcomeRecord(
            delivery_id=delivery_id(name, user, activation, per, record["step"]),
            user=user,
            trigger=name,
            reason=Reason(record["outcome"]),
            at_ms=record["a"],
            dead_tokens=[DeadToken(token) for token in record["dead"]],
        )

    def poll(self, until: int | None = None) -> None:
        """Fire what is due before the watermark, as after each batch; forget blank users."""
        limit = self.now if until is None else until
        for user, state in list(self.states.items()):
            fire_before(self.program, user, state, limit, self.effects)
            self.check(user)
            assert not 0 < state.due < limit
            if is_blank(state):
                del self.states[user]

    def restart(self) -> None:
        """Another worker takes over: all it has is what was stored."""
        self.states = {
            user: decode_state(encode_state(state))
            for user, state in self.states.items()
            if not is_blank(state)
        }

    def forget(self) -> None:
        """Prune at the watermark instead of waiting for the timer."""
        self.poll()
        for user, state in self.states.items():
            prune(self.program, user, state, self.now, self.effects)
            state.due = next_due(self.program, state)

    def check(self, user: str) -> None:
        state = self.states[user]
        assert state.due == next_due(self.program, state)
        for instance in state.instances:
            assert 0 < state.due <= instance.fire_at

    def drain(self) -> None:
        self.poll(FOREVER)


def backtest_rows(workspace: Workspace, log: list[dict[str, Any]], cut: int) -> list[Row]:
    """The decisions of a drained backtest fed in pieces of `cut` events."""
    decisions: list[Decision] = []
    backtest = Backtest(compiled(workspace), decisions.append)
    events = [(record["a"], event_of(record)) for record in log if "message" in record]
    for first in range(0, len(events), cut):
        backtest.feed(events[first : first + cut])
    backtest.finish(drain=True)
    assert FOREVER_MS >= FOREVER
    return in_order([row_of(decision) for decision in decisions])
