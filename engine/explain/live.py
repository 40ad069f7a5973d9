"""A user of the live system: the records of their shard decided again, beside what is stored.

Reads only: the log from Kafka, the registry's versions, the stored state and journal from Redis.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from engine.explain.log import Extent, LogReader, open_log
from engine.explain.story import Story, zone_of
from engine.ports import ShardMeta, ShardStore
from engine.registry.operations import open_to_read
from engine.registry.reader import RegistryReader
from engine.settings import Settings
from engine.stream.building import as_shard_has_it, withdrawals_met
from engine.stream.forwarding import went_round
from engine.stream.intake import (
    Activation,
    EventInput,
    MergedInput,
    MergeInput,
    OutcomeInput,
    kind_of,
    read_record,
)
from schemas.decisions import utc
from schemas.events import BadRecord, decode_event
from schemas.kinds import Kind
from schemas.partitioner import partition_of
from schemas.topics import Topics
from triggers.definition import Policy
from triggers.effects import Journal
from triggers.explaining import Entry, Watch, What
from triggers.merging import thaw
from triggers.program import Program, Withdrawals
from triggers.state import UserState, decode_state

READ_UP_S = 30.0
#: Dead letters of the user that are told one by one.
UNREAD_TOLD_MAX = 10


class Window(NamedTuple):
    """`since_ms` None: the whole log. `at_ms` None: as far as the shard has decided."""

    since_ms: int | None = None
    at_ms: int | None = None


class Stored(NamedTuple):
    """What Redis holds of the user; `meta` None: the shard has decided nothing yet."""

    meta: ShardMeta | None
    state: UserState | None
    journal: list[Journal]


async def explain_user(
    settings: Settings, store: ShardStore, user: str, window: Window, timeout_s: float
) -> Story:
    """The story of a live user. Raises KafkaError and what `open_to_read` raises,
    StoreUnavailable, NewerState; ValueError without a log secret."""
    if settings.log_secret is None:
        raise ValueError("reading the log needs the log secret")
    shard = partition_of(user, settings.partitions)
    stored = await read_stored(store, shard, user)
    topic = Topics(settings.topic_prefix).events
    async with (
        open_to_read(settings, timeout_s) as registry,
        open_log(settings, timeout_s) as log,
    ):
        extent = await log.extent(topic, shard, window.since_ms)
        decided = 0 if stored.meta is None else stored.meta.position.offset + 1
        extent = extent._replace(end=min(extent.end, max(decided, extent.begin)))
        retelling = _Retelling(settings, registry, user, shard, window)
        retelling.begin(extent, stored)
        await retelling.follow(log, topic, extent)
        if stored.meta is not None and window.at_ms is None:
            retelling.watermark_ms = max(retelling.watermark_ms, stored.meta.watermark_ms)
        return retelling.story(stored, registry)


async def read_stored(store: ShardStore, shard: int, user: str) -> Stored:
    """Three reads. Raises StoreUnavailable, NewerState."""
    meta = await store.load_shard(shard)
    (blob,) = await store.load_states(shard, [user])
    lines = [msgspec.json.decode(line) for line in await store.journal(shard, user)]
    journal = [Journal(user, *line) for line in lines]
    return Stored(meta, None if blob is None else decode_state(blob), journal)


class _Who(msgspec.Struct):
    """Whose a client event is; the rest of it is not decoded."""

    user_id: Any = msgspec.field(default=None, name="userId")
    anonymous_id: Any = msgspec.field(default=None, name="anonymousId")


_who = msgspec.json.Decoder(_Who)


class _Retelling:
    """The user's part of one partition."""

    def __init__(
        self, settings: Settings, registry: RegistryReader, user: str, shard: int, window: Window
    ) -> None:
        assert settings.log_secret is not None
        self._secret = settings.log_secret.get_secret_value().encode()
        self._log_clock = settings.clock == "log"
        self._registry = registry
        self._user = user
        self._shard = shard
        self._at_ms = window.at_ms
        self._forwarded: dict[int, int] = {}
        self._number = 0
        self._withdrawn: dict[str, Withdrawals] = {}
        self._approximate: list[str] = []
        self._bad: list[str] = []
        self._watch = Watch(registry.program(0), user)
        self._first_ms = 0
        self._records = self._unread = 0
        self._over = False
        self.watermark_ms = 0

    def begin(self, extent: Extent, stored: Stored) -> None:
        """The version in force at the start, and what is known of a user whose past is not read."""
        for line in stored.journal:
            if line.what == What.ADMITTED:
                self._watch.said[line.at_ms] = line.trigger
        if extent.start == 0:
            return
        self._approximate.append(
            "the log is not read from its beginning: what happened before (cooldowns, caps, "
            "pending instances) is not known; devices, consent, traits and zone are those stored "
            "now"
        )
        if stored.state is not None:
            state = self._watch.state
            state.devices = list(stored.state.devices)
            state.traits = dict(stored.state.traits)
            state.zone = stored.state.zone
            state.consent = stored.state.consent

    async def follow(self, log: LogReader, topic: str, extent: Extent) -> None:
        """Read the partition; stops at `at_ms`."""
        async for records in log.read(topic, self._shard, extent.start, extent.end):
            for record in records:
                await self._take(record)
                if self._over:
                    return

    def story(self, stored: Stored, registry: RegistryReader) -> Story:
        """What was found, with the journal's lines that were not found again."""
        watch, at_ms = self._watch, self._at_ms
        to_ms = self.watermark_ms if at_ms is None else at_ms
        watch.advance(to_ms)
        lines = [x for x in stored.journal if self._first_ms <= x.at_ms <= to_ms]
        entries = _with_recorded(list(watch.entries), lines, watch.journal)
        live = at_ms is None and stored.meta is not None
        state = (stored.state or UserState()) if live else watch.state
        version = registry.latest
        policies = {} if version is None else version.policies
        return Story(
            user=self._user,
            program=watch.program,
            state=state,
            from_ms=self._first_ms or to_ms,
            to_ms=to_ms,
            zone=zone_of(state, policies.get("default", Policy()).zone),
            shard=self._shard,
            entries=entries,
            approximate=self._approximate,
            dead_letters=self._bad,
            stored=live,
            records=self._records,
            unread=self._unread,
            dropped=watch.dropped,
            said=watch.said,
        )

    async def _take(self, record: ConsumerRecord) -> None:
        a = max(record.timestamp, self.watermark_ms)
        if self._at_ms is not None and a > self._at_ms:
            self._over = True
            return
        self.watermark_ms = a
        if not self._first_ms:
            self._first_ms = a
            if self._approximate:
                self._guess_version(a)
        kind = kind_of(record)
        if kind == Kind.TICK or (kind != Kind.ACTIVATE and not self._is_mine(record, kind)):
            return
        watch = self._watch
        try:
            item = read_record(record, a, watch.program, self._secret)
            if isinstance(item, Activation):
                await self._activate(item.number, a)
            elif isinstance(item, OutcomeInput):
                self._records += 1
                watch.outcome(item.record, a)
            elif isinstance(item, MergeInput):
                watch.merge(item.known, a)
            elif self._is_again(item):
                return
            elif isinstance(item, MergedInput):
                if self._stays(record):
                    watch.merged(item.state, a, item.outcome)
            elif kind in ("event", Kind.FORWARD):
                self._records += 1
                # Once more and whole: what no condition lets through the shard drops or empties,
                # and here that is an answer.
                self._stays(record)
                watch.event(decode_event(record.value), a)
            elif isinstance(item, EventInput):
                self._records += 1
                watch.event(item.event, a)
        except BadRecord as bad:
            self._unread += 1
            if self._unread <= UNREAD_TOLD_MAX:
                self._bad.append(f"offset {record.offset} at {utc(a)}: {bad}")

    async def _activate(self, number: int, a: int) -> None:
        if number <= self._number:
            return
        await self._registry.read_up_to(number, READ_UP_S)
        program = self._registry.program(number)
        self._withdrawn |= withdrawals_met(program, self._withdrawn, a)
        self._watch.activate(self._as_shard_has_it(program), a)
        self._number = number

    def _guess_version(self, a: int) -> None:
        """Where the log begins in the middle: the version that was registered last by then."""
        history = self._registry.history
        # With the log's clock `a` is the emitters' time, which says nothing of the authors'.
        self._number = history.latest if self._log_clock else history.latest_at(a)
        program = self._as_shard_has_it(self._registry.program(self._number))
        self._watch.program = program.for_user(self._user)

    def _as_shard_has_it(self, program: Program) -> Program:
        return as_shard_has_it(program, self._withdrawn, log_clock=self._log_clock)

    def _is_mine(self, record: ConsumerRecord, kind: str) -> bool:
        """Engine-made records bear their user as key, whatever the event inside them says."""
        if kind != "event":
            return bool(record.key == self._user.encode())
        try:
            who = _who.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return bool(record.key == self._user.encode())
        return bool(self._user == (who.user_id or who.anonymous_id))

    def _stays(self, record: ConsumerRecord) -> bool:
        """The record is for this profile, not for the one that it is a part of by now."""
        if self._watch.state.merged_into and went_round(record):
            thaw(self._watch.state)
        return not self._watch.state.merged_into

    def _is_again(self, item: Any) -> bool:
        """What came through another shard's outbox is applied once per source, as in the shard."""
        origin = item.origin if isinstance(item, EventInput | MergedInput) else None
        if origin is None:
            return False
        source, offset = origin
        if offset <= self._forwarded.get(source, -1):
            return True
        self._forwarded[source] = offset
        return False


def _with_recorded(
    entries: list[Entry], stored: Sequence[Journal], again: Iterable[Journal]
) -> list[Entry]:
    """The entries with the journal's lines that deciding again did not give, by time."""
    known = set(again)
    for line in stored:
        if line not in known:
            entries.append(
                Entry(
                    at=line.at_ms,
                    trigger=line.trigger,
                    what=What.RECORDED,
                    reason=line.what,
                    activation=line.by,
                )
            )
    return sorted(entries, key=lambda entry: entry.at)
