"""One shard: the state of one partition of the log, and the one commit that moves it.

`apply` takes records in log order, `drain_due` fires timers. Both go the same way: load the
states, let the core decide, commit everything at once with the position as the fence, hand the
outbox to the publisher. The shard knows nothing of Kafka or Faust: the crash tests run it over a
log with a memory store and compare.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Protocol

from engine.failpoints import failpoint
from engine.ports import (
    START,
    Commit,
    CommitResult,
    CommitStatus,
    Position,
    ShardStore,
)
from engine.store.keys import RING_MAX, RING_SPARE
from engine.stream import observed
from engine.stream.building import (
    Origin,
    Touched,
    as_shard_has_it,
    decision_messages,
    delay_claims,
    delivery_messages,
    fill_effects,
    fill_states,
    outcome_messages,
    withdrawals_met,
)
from engine.stream.forwarding import passed_on, went_round
from engine.stream.intake import (
    Activation,
    EventInput,
    Input,
    LogRecord,
    MergedInput,
    MergeInput,
    OutcomeInput,
    is_forwarded,
    kind_of,
    plain_run,
    read_plain,
    read_record,
)
from engine.stream.outbox import (
    Entry,
    OutMessage,
    pack_entry,
    pack_message,
    unpack_entry,
    unpack_message,
)
from engine.stream.states import StateCache
from schemas.deadletters import dead_letter
from schemas.deliveries import decode_delivery
from schemas.events import BadRecord
from schemas.kinds import ORIGIN_HEADER, Kind, sealed_headers
from schemas.marks import commit_mark
from schemas.partitioner import partition_of
from schemas.reasons import DeadLetterReason
from schemas.records import MergedRecord, MergeRecord, encode
from schemas.topics import Topics
from triggers.decide import apply_event, apply_merge, apply_merged, apply_outcome, fire_before
from triggers.effects import Effects, Merge, Reached
from triggers.merging import thaw
from triggers.program import Program, Withdrawals
from triggers.state import UserState, decode_state, encode_state

#: Due timers are worked off in pages of this many users (design.md section 4).
PAGE_USERS_MAX = 250
#: An emitter's key may fill a whole record; the dead letter must still fit.
KEY_BYTES_MAX = 1024
RELEASE_MAX = 500

#: Unique among all processes: a commit is known again by it, and so are the records it published.
#: uuid4 asks the kernel for each, 4 us.
_PROCESS = secrets.token_hex(12)
_commit_ids = (f"{_PROCESS}{number:08x}" for number in count())


class LostPosition(Exception):
    """The store stands somewhere else than this shard believed: somebody else owns it now, or the
    store was rolled back. Drop everything and open again."""

    def __init__(self, stored: Position) -> None:
        super().__init__(f"the store stands at {stored}")
        self.stored = stored


class PartitionCountChanged(Exception):
    """The log has another number of partitions than the state was made with."""


class Outlet(Protocol):
    """Where committed outbox entries go."""

    @property
    def acked(self) -> int:
        """Everything up to this sequence number may be trimmed."""

    async def put(self, seq: int, entry: Entry) -> None:
        """Publish a committed entry; may wait."""


class Programs(Protocol):
    """The versions of the registry."""

    async def program(self, number: int) -> Program:
        """The compiled version; waits until this process holds it."""


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """What all shards of a worker share. `log_clock`: record timestamps are the emitter's."""

    partitions: int
    topics: Topics
    secret: bytes
    states_cached_max: int = 100_000
    log_clock: bool = False


@dataclass(slots=True)
class _Work:
    """What one commit will carry. `absorbed`: profile -> whom it became a part of."""

    new: Position
    watermark_ms: int
    touched: dict[str, Touched] = field(default_factory=dict)
    effects: Effects = field(default_factory=Effects)
    messages: list[OutMessage] = field(default_factory=list)
    forwarded: dict[int, int] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    kept_back: dict[str, bytes] = field(default_factory=dict)
    withdrawn: dict[str, Withdrawals] = field(default_factory=dict)
    absorbed: dict[str, list[str]] = field(default_factory=dict)


class Shard:
    """The owner's view of one shard. Open it before use; after `LostPosition` open a new one."""

    def __init__(
        self,
        number: int,
        store: ShardStore,
        programs: Programs,
        outlet: Outlet,
        settings: ShardSettings,
    ) -> None:
        self.number = number
        self.position = START
        self.watermark_ms = 0
        self.next_due = 0
        self.withhold_until = 0
        self._store = store
        self._programs = programs
        self._outlet = outlet
        self._settings = settings
        self._states = StateCache(settings.states_cached_max)
        self._forwarded: dict[int, int] = {}
        self._withheld: dict[str, bytes] = {}
        self._withdrawn: dict[str, Withdrawals] = {}
        self._seq = 0
        self._trimmed = -1
        self._origin = Origin(number, 0, settings.topics)
        self._program: Program

    @property
    def next_seq(self) -> int:
        """The number the next outbox entry gets."""
        return self._seq

    @property
    def registry(self) -> int:
        """The version of the registry the shard decides with."""
        return self._origin.registry

    async def open(self) -> list[tuple[int, Entry]]:
        """Read where the shard stands; return the outbox entries somebody still has to publish.

        Raises `PartitionCountChanged`.
        """
        meta = await self._store.load_shard(self.number)
        if meta is None:
            self._decide_with(await self._programs.program(0))
            return []
        if meta.partitions != self._settings.partitions:
            raise PartitionCountChanged(
                f"the state of shard {self.number} was made with {meta.partitions} partitions, "
                f"the log has {self._settings.partitions}: the count is fixed at creation"
            )
        self.position = meta.position
        self.watermark_ms = meta.watermark_ms
        self.next_due = meta.next_due
        self.withhold_until = meta.withhold_until
        self._forwarded = dict(meta.forwarded)
        self._seq = meta.next_seq
        self._withdrawn = dict(meta.withdrawn)
        self._origin = self._origin._replace(registry=meta.registry)
        self._decide_with(await self._programs.program(meta.registry))
        if self.withhold_until:
            self._withheld = await self._store.withheld(self.number)
        return [(seq, unpack_entry(blob)) for seq, blob in await self._store.outbox(self.number)]

    async def apply(self, records: Sequence[LogRecord]) -> None:
        """Apply records in log order; those at or below the position are skipped.

        Raises `LostPosition`.
        """
        inputs: list[tuple[LogRecord, Input]] = []
        letters: list[OutMessage] = []
        offset, watermark_ms = self.position.offset, self.watermark_ms
        fresh, last = [], offset
        for record in records:
            if record.offset > last:
                fresh.append(record)
                last = record.offset
        kinds, secret, place = {"event": 0}, self._settings.secret, 0
        while place < len(fresh):
            run = plain_run(fresh, place)
            after_ms = read_plain(run, watermark_ms, self._program, inputs) if run else None
            if after_ms is not None:
                kinds["event"] += len(run)
                offset, watermark_ms = run[-1].offset, after_ms
                place += len(run)
                continue
            for record in run or fresh[place : place + 1]:
                kind = kind_of(record)
                kinds[kind] = kinds.get(kind, 0) + 1
                a = max(record.timestamp, watermark_ms)
                try:
                    item = read_record(record, a, self._program, secret)
                except BadRecord as bad:
                    letters.append(self._dead_letter(record, a, bad))
                    item = None
                if isinstance(item, Activation):
                    if item.number > self.registry:
                        await self._apply_inputs(inputs, letters, Position(offset, 0), watermark_ms)
                        await self._activate(item.number, record.offset, a)
                        inputs, letters = [], []
                elif item is not None:
                    inputs.append((record, item))
                offset, watermark_ms = record.offset, a
                place += 1
        await self._apply_inputs(inputs, letters, Position(offset, 0), watermark_ms)
        await self.release_withheld()
        observed.applied(kinds)
        observed.skipped(len(records) - len(fresh), "applied")

    async def drain_due(self, limit_ms: int | None = None) -> None:
        """Fire every timer with F < `limit_ms` (default: the watermark), page by page.

        Raises `LostPosition`.
        """
        limit = self.watermark_ms if limit_ms is None else limit_ms
        while 0 < self.next_due < limit:
            page = await self._store.due_users(self.number, limit, PAGE_USERS_MAX)
            work = self._page()
            missing = self._states.use([user for user, _ in page])
            observed.cache(len(page) - len(missing), len(missing))
            await self._load(missing)
            for user, score in page:
                state = self._states.in_use[user]
                fire_before(self._program, user, state, limit, work.effects)
                work.touched[user] = Touched(state, score)
            await self._commit(work)

    async def take_over(
        self, head: int, pending: list[tuple[int, Entry]], *, went_back: bool
    ) -> list[tuple[int, Entry]]:
        """Begin to own the shard; `head` is the end of its log. Where the store `went_back` keep
        deliveries back until offset `head` was applied, since the log may hold their outcome
        already (design.md section 4); else only go on with what an owner before has begun.

        `pending` is what `open` returned. Deliveries in it may have been published and sent before,
        and the store may have lost that: they are kept back too, or may not be claimed before the
        store has applied `head`. Returns what is left to publish. Raises `LostPosition`.
        """
        begins = went_back and head > max(self.position.offset + 1, self.withhold_until)
        if begins:
            self.withhold_until = head
        lanes = set(self._settings.topics.lanes.values())
        if not self.withhold_until:
            return [(seq, delay_claims(entry, lanes, head - 1)) for seq, entry in pending]
        work = self._page()
        left = []
        for seq, entry in pending:
            # A gap keeps the numbers, and so the marks, of what is published again.
            kept = [m if m is None or m.topic not in lanes else None for m in entry.messages]
            left.append((seq, Entry(entry.mark, kept)))
            for message in entry.messages:
                if message is not None and message.topic in lanes:
                    name = decode_delivery(message.value).delivery_id
                    work.kept_back[name] = pack_message(message)
        if begins or work.kept_back:
            await self._commit(work)
        return left

    async def check(self) -> None:
        """Compare with the store although there is nothing to do. Raises `LostPosition`."""
        meta = await self._store.load_shard(self.number)
        stored = START if meta is None else meta.position
        if stored != self.position:
            raise LostPosition(stored)

    async def _apply_inputs(
        self,
        inputs: list[tuple[LogRecord, Input]],
        letters: list[OutMessage],
        new: Position,
        watermark_ms: int,
    ) -> None:
        if new.offset == self.position.offset:
            return
        work = _Work(new, watermark_ms, messages=letters)
        users = {item.user for _, item in inputs}
        missing = self._states.use(users)
        strangers = self._strangers(inputs, missing)
        observed.cache(len(users) - len(missing), len(missing) - len(strangers))
        await self._load([user for user in missing if user not in strangers])
        with observed.decide_time():
            self._decide(inputs, strangers, work)
        if work.absorbed:
            work.effects.reached += await self._claims_of(work.absorbed)
        await self._commit(work)

    async def _claims_of(self, absorbed: dict[str, list[str]]) -> list[Reached]:
        """When the gate let go what was said to profiles that are a part of others now. It is asked
        here because claims are not in the log, once of each, and it has no new ones: what the
        profile had under way was called back in the commit that froze it."""
        homes = [partition_of(guest, self._settings.partitions) for guest in absorbed]
        asked = map(self._store.claims, homes, absorbed)
        found = zip(absorbed.values(), await asyncio.gather(*asked), strict=True)
        return [
            claim._replace(user=user)
            for users, claims in found
            for user in dict.fromkeys(users)
            for claim in claims
        ]

    def _decide(
        self, inputs: list[tuple[LogRecord, Input]], strangers: dict[str, int], work: _Work
    ) -> None:
        effects, program, touched = work.effects, self._program, work.touched
        states = self._states.in_use
        for record, item in inputs:
            user = item.user
            if strangers and user in strangers:
                work.messages.append(self._forward(record, user, item.a, strangers[user]))
                continue
            state = states[user]
            due_before = state.due
            if type(item) is EventInput and item.origin is None and not state.merged_into:
                changed = apply_event(program, user, state, item.event, item.a, item.hits, effects)
            else:
                changed = self._decide_rarer(record, item, state, work)
            if changed and user not in touched:
                touched[user] = Touched(state, due_before)
            if effects.merges:
                # At once: what goes to one shard goes in the order of this log (`_is_first`).
                work.messages += [self._merge(merge, record) for merge in effects.merges]
                effects.merges.clear()

    def _decide_rarer(self, record: LogRecord, item: Input, state: UserState, work: _Work) -> bool:
        """An input that is no event, or an event that was passed on or is to be."""
        effects, program, user, a = work.effects, self._program, item.user, item.a
        thawed = False
        if isinstance(item, EventInput | MergedInput):
            if item.origin is not None and not self._is_first(item.origin, work):
                return False
            if state.merged_into:
                if not went_round(record):
                    work.messages.append(self._follow(record, state.merged_into, a))
                    return False
                thaw(state)
                thawed = True
        if isinstance(item, EventInput):
            changed = apply_event(program, user, state, item.event, a, item.hits, effects)
        elif isinstance(item, OutcomeInput):
            changed = apply_outcome(program, user, state, item.record, a, effects)
        elif isinstance(item, MergeInput):
            changed = apply_merge(program, user, state, item.known, a, effects)
        else:
            changed = apply_merged(program, user, state, item.state, a, effects, item.outcome)
            if item.outcome is None and item.guest != user:
                work.absorbed.setdefault(item.guest, []).append(user)
        return changed or thawed

    def _is_first(self, origin: tuple[int, int], work: _Work) -> bool:
        """A forwarded record is applied once per source: the outbox may publish it again."""
        source, offset = origin
        if offset <= work.forwarded.get(source, self._forwarded.get(source, -1)):
            return False
        work.forwarded[source] = offset
        return True

    async def _activate(self, number: int, offset: int, a: int) -> None:
        """Switch to version `number`: every timer with F below its append time fires first."""
        await self.drain_due(a)
        program = await self._programs.program(number)
        met = withdrawals_met(program, self._withdrawn, a)
        self._withdrawn |= met
        self._decide_with(program)
        self._origin = self._origin._replace(registry=number)
        await self._commit(_Work(Position(offset, 0), a, withdrawn=met))
        observed.activated(self.number, number)

    def _decide_with(self, program: Program) -> None:
        self._program = as_shard_has_it(
            program, self._withdrawn, log_clock=self._settings.log_clock
        )

    async def _load(self, missing: list[str]) -> None:
        """Bring the states of these users into the cache."""
        if not missing:
            return
        blobs = await self._store.load_states(self.number, missing)
        for user, blob in zip(missing, blobs, strict=True):
            self._states.put(user, UserState() if blob is None else decode_state(blob))

    def _strangers(
        self, inputs: list[tuple[LogRecord, Input]], unknown: list[str]
    ) -> dict[str, int]:
        """Users of client events that live in another partition. Cached users do not."""
        homes = {user: partition_of(user, self._settings.partitions) for user in unknown}
        found = {user: home for user, home in homes.items() if home != self.number}
        if not found:
            return found
        named = {item.user for _, item in inputs if type(item) is EventInput}
        return {user: home for user, home in found.items() if user in named}

    def _forward(self, record: LogRecord, user: str, a: int, home: int) -> OutMessage:
        """Move a record to the partition its user lives in; moved twice it is a dead letter."""
        if is_forwarded(record):
            detail = f"forwarded to partition {self.number}, but it belongs to {home}"
            return self._dead_letter(record, a, BadRecord(DeadLetterReason.WRONG_PARTITION, detail))
        observed.forwarded()
        return self._to_profile(record, user, a, home)

    def _follow(self, record: LogRecord, known: str, a: int) -> OutMessage:
        """A record of a profile that is a part of another one goes there."""
        return self._to_profile(record, known, a, partition_of(known, self._settings.partitions))

    def _to_profile(self, record: LogRecord, user: str, a: int, home: int) -> OutMessage:
        return passed_on(
            record,
            user,
            home,
            self.number,
            self._settings.topics.events,
            self._settings.secret,
            a if self._settings.log_clock else None,
        )

    def _mark(self, record: LogRecord) -> tuple[str, bytes]:
        return (ORIGIN_HEADER, f"{self.number}:{record.offset}".encode())

    def _merge(self, merge: Merge, record: LogRecord) -> OutMessage:
        """Tell the other profile's shard."""
        kind, user = Kind.MERGE, merge.anonymous
        value = encode(MergeRecord(merge.anonymous, merge.known))
        if merge.moved is not None:
            kind, user = Kind.MERGED, merge.known
            state = encode_state(merge.moved)
            value = encode(MergedRecord(merge.anonymous, merge.known, state, merge.outcome))
        key, home = user.encode(), partition_of(user, self._settings.partitions)
        return OutMessage(
            self._settings.topics.events,
            home,
            key,
            value,
            [*sealed_headers(self._settings.secret, kind, home, key, value), self._mark(record)],
            merge.a if self._settings.log_clock else None,
        )

    def _dead_letter(self, record: LogRecord, a: int, bad: BadRecord) -> OutMessage:
        observed.dead_letter(bad.reason)
        value = dead_letter(
            record.topic,
            record.partition,
            record.offset,
            a,
            bad.reason,
            bad.detail,
            record.key,
            record.value,
            record.headers,
        )
        key = record.key and record.key[:KEY_BYTES_MAX]
        return OutMessage(self._settings.topics.dead_letters, 0, key, value)

    def _page(self) -> _Work:
        offset, page = self.position
        return _Work(Position(offset, page + 1), self.watermark_ms)

    async def release_withheld(self) -> None:
        """At the head: what the log holds no outcome of goes out after all. Raises
        `LostPosition`."""
        while self.withhold_until and self.position.offset + 1 >= self.withhold_until:
            work = self._page()
            for delivery_id in list(islice(self._withheld, RELEASE_MAX)):
                work.messages.append(unpack_message(self._withheld[delivery_id]))
                work.released.append(delivery_id)
            if len(work.released) == len(self._withheld):
                self.withhold_until = 0
            await self._commit(work)

    def _route_deliveries(self, work: _Work, commit: Commit) -> None:
        """Deliveries go to their lane, or are withheld; an outcome in the log drops a withheld
        one."""
        messages = delivery_messages(work.effects, self._origin)
        commit.withheld = work.kept_back
        if not self.withhold_until:
            work.messages += [message for _, message in messages]
        else:
            closed = set(work.effects.closed)
            commit.withheld |= {
                name: pack_message(message) for name, message in messages if name not in closed
            }
        commit.unwithheld = [
            *work.released,
            *(name for name in work.effects.closed if name in self._withheld),
        ]

    async def _commit(self, work: _Work) -> None:
        commit = Commit(
            shard=self.number,
            partitions=self._settings.partitions,
            expected=self.position,
            new=work.new,
            commit_id=commit_mark(*work.new, next(_commit_ids)),
            watermark_ms=work.watermark_ms,
            registry=self.registry,
            seq=self._seq,
            trim_to=self._outlet.acked,
            forwarded=work.forwarded,
            withhold_until=self.withhold_until,
            ring_keep=min(self._program.sends_max + RING_SPARE, RING_MAX),
            withdrawn=work.withdrawn,
        )
        fill_states(commit, work.touched)
        fill_effects(commit, work.effects)
        work.messages += decision_messages(work.effects, self._origin)
        work.messages += outcome_messages(work.effects, self._origin)
        self._route_deliveries(work, commit)
        entry = Entry(commit.commit_id, list(work.messages))
        if work.messages:
            commit.outbox = pack_entry(entry)
        failpoint("before_commit")
        if commit.trim_to > self._trimmed:
            failpoint("before_trim")
        with observed.commit_time():
            result = await self._store.commit(commit)
        failpoint("after_commit")
        observed.committed(result.status)
        if result.status is not CommitStatus.OK:
            raise LostPosition(result.stored)
        await self._committed(work, commit, result, entry)

    async def _committed(
        self, work: _Work, commit: Commit, result: CommitResult, entry: Entry
    ) -> None:
        if commit.trim_to > self._trimmed:
            self._trimmed = commit.trim_to
            failpoint("after_trim")
        self.position, self.watermark_ms = work.new, work.watermark_ms
        self.next_due = result.next_due
        self._forwarded.update(work.forwarded)
        self._withheld.update(commit.withheld)
        for delivery_id in commit.unwithheld:
            self._withheld.pop(delivery_id, None)
        self._states.settle()
        observed.fired(work.effects)
        observed.decided(self.number, work.effects, len(work.touched), len(self._withheld))
        if commit.outbox is not None:
            seq, self._seq = self._seq, self._seq + 1
            await self._outlet.put(seq, entry)
