"""The state of the shards in Redis, single or clustered."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, count
from typing import Any

import structlog

from engine import clock
from engine.ports import (
    Claim,
    Commit,
    CommitResult,
    GateAnswer,
    Position,
    ShardMeta,
    StoreUnavailable,
    Verdict,
)
from engine.store import arguments, functions
from engine.store.dump import dump_redis
from engine.store.keys import shard_tag
from engine.store.link import Command, LinkSettings, Reply
from engine.store.routes import Routes, slot_of, store_errors, topology_of
from triggers.effects import Reached

log = structlog.get_logger(__name__)

_WAIT_FIRST_S = 0.1
_WAIT_MAX_S = 5.0


class RedisStore:
    """`ShardStore` and `Gate` on Redis 7.0 or later.

    `url`: `redis://`, `rediss://`, `redis+cluster://host:port[,host:port]`, `rediss+cluster://`.
    `prefix`: put before every key; several installations can share a server. `replicas`: how many
    replicas must acknowledge a claim within `replica_wait_ms`. `timeout_s` bounds one exchange;
    failed ones are tried again until `retry_within_s` have passed. An acknowledged commit survives
    a failover only if a replica had it; when not, state and offset roll back together.

    Raises `StoreUnavailable` as the contract says, `StoreBroken` for what no waiting heals, and
    ValueError for a bad url or prefix.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        replicas: int = 0,
        replica_wait_ms: int = 50,
        timeout_s: float = 5.0,
        retry_within_s: float = 5.0,
        connections_max: int = 16,
    ) -> None:
        if "{" in prefix or "}" in prefix:
            raise ValueError("a key prefix has no braces: they mark the hash tag")
        self._prefix = prefix
        self._replicas = replicas
        self._replica_wait_ms = replica_wait_ms
        settings = LinkSettings(timeout_s=timeout_s, connections_max=connections_max)
        self._routes = Routes(topology_of(url, settings), retry_within_s)
        self._places: dict[int, tuple[str, int]] = {}
        process = secrets.token_hex(8)
        self._tokens = (f"{process}.{number}" for number in count())

    async def wait_ready(
        self, within_s: float | None = None, *, replace_functions: bool = False
    ) -> None:
        """Return when every primary answers and has our functions; called once at start.

        Waits with back-off and a log line each time, for ever when `within_s` is None, else until
        then; raises `StoreUnavailable`. Raises `OtherFunctions` at once.
        """
        deadline_s = None if within_s is None else clock.monotonic_s() + within_s
        wait_s = _WAIT_FIRST_S
        while True:
            try:
                await self._prepare(replace_functions)
                return
            except StoreUnavailable as error:
                self._routes.topology.doubt()
                if deadline_s is not None and clock.monotonic_s() + wait_s > deadline_s:
                    raise
                log.warning("store_waiting", error=str(error), next_try_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _WAIT_MAX_S)

    async def load_shard(self, shard: int) -> ShardMeta | None:
        """See `ShardStore.load_shard`."""
        tag, slot = self._place(shard)
        fields, first = await self._routes.send(
            slot, [("HGETALL", tag + "m"), ("ZRANGE", tag + "t", 0, 0, "WITHSCORES")]
        )
        if not fields:
            return None
        meta = dict(zip(fields[::2], fields[1::2], strict=True))
        return ShardMeta(
            position=Position(int(meta[b"o"]), int(meta[b"p"])),
            watermark_ms=int(meta[b"w"]),
            registry=int(meta[b"r"]),
            next_seq=int(meta[b"n"]),
            partitions=int(meta[b"k"]),
            forwarded={int(key[1:]): int(meta[key]) for key in meta if key.startswith(b"f")},
            withhold_until=int(meta[b"h"]),
            next_due=int(first[1]) if first else 0,
            withdrawn={
                key[1:].decode(): arguments.unpack_withdrawals(meta[key])
                for key in meta
                if key.startswith(b"x")
            },
        )

    async def load_states(self, shard: int, users: Sequence[str]) -> list[bytes | None]:
        """See `ShardStore.load_states`."""
        if not users:
            return []
        key = self._place(shard)[0] + "u:"
        states: list[bytes | None] = await self._ask(shard, ["MGET", *[key + u for u in users]])
        return states

    async def due_users(self, shard: int, before_ms: int, count_max: int) -> list[tuple[str, int]]:
        """See `ShardStore.due_users`."""
        tag, _ = self._place(shard)
        window = ("-inf", f"({before_ms}", "BYSCORE", "LIMIT", 0, count_max, "WITHSCORES")
        flat = await self._ask(shard, ["ZRANGE", tag + "t", *window])
        return [
            (user.decode(), int(score)) for user, score in zip(flat[::2], flat[1::2], strict=True)
        ]

    async def commit(self, commit: Commit) -> CommitResult:
        """See `ShardStore.commit`."""
        tag, _ = self._place(commit.shard)
        command = arguments.commit_command(commit, tag)
        return arguments.commit_result(await self._ask(commit.shard, command))

    async def outbox(self, shard: int) -> list[tuple[int, bytes]]:
        """See `ShardStore.outbox`."""
        entries = await self._hash(shard, "x")
        return sorted((int(seq), blob) for seq, blob in entries.items())

    async def withheld(self, shard: int) -> dict[str, bytes]:
        """See `ShardStore.withheld`."""
        return {key.decode(): blob for key, blob in (await self._hash(shard, "w")).items()}

    async def journal(self, shard: int, user: str) -> list[bytes]:
        """See `ShardStore.journal`."""
        tag, _ = self._place(shard)
        entries: list[bytes] = await self._ask(shard, ["LRANGE", f"{tag}j:{user}", 0, -1])
        return entries

    async def claims(self, shard: int, user: str) -> list[Reached]:
        """See `ShardStore.claims`."""
        tag, _ = self._place(shard)
        packed = await self._ask(shard, ["GET", f"{tag}g:{user}"])
        return [] if packed is None else arguments.unpack_claims(user, packed)

    async def funnel(self, shard: int) -> dict[str, int]:
        """See `ShardStore.funnel`."""
        return {key.decode(): int(n) for key, n in (await self._hash(shard, "f")).items()}

    async def pending(self, shard: int) -> dict[str, int]:
        """See `ShardStore.pending`."""
        return {key.decode(): int(n) for key, n in (await self._hash(shard, "i")).items()}

    async def claim(self, claims: Sequence[Claim]) -> list[Verdict]:
        """See `Gate.claim`."""
        # The token makes a claim whose reply was lost answer SEND again, not WAIT for ourselves.
        batches = self._by_shard(
            claims, lambda claim, tag: arguments.claim_command(claim, tag, next(self._tokens))
        )
        wait: Command | None = None
        if self._replicas:
            wait = ("WAIT", self._replicas, self._replica_wait_ms)
        answers = await self._routes.send_batches(list(batches.values()), wait)
        by_shard = dict(zip(batches, map(iter, answers), strict=True))
        verdicts = [arguments.verdict(next(by_shard[claim.shard])) for claim in claims]
        if not self._replicas:
            return verdicts
        enough = {shard: next(rest) >= self._replicas for shard, rest in by_shard.items()}
        return await self._undo_unless(enough, claims, verdicts)

    async def release(self, claims: Iterable[Claim]) -> None:
        """See `Gate.release`."""
        batches = self._by_shard(claims, arguments.release_command)
        await self._routes.send_batches(list(batches.values()))

    async def dump(self, shard: int) -> dict[str, Any]:
        """Everything stored of a shard that nobody writes meanwhile, by `keys.STORED` name.

        Reads all keys of the server: for tests and for comparing, not for live traffic.
        """
        tag, slot = self._place(shard)
        # SCAN names no key, so nobody would tell that the shard has moved elsewhere.
        await self._routes.send(slot, [("EXISTS", tag + "m")])
        with store_errors():
            return await dump_redis(await self._routes.topology.owner(slot), tag)

    async def aclose(self) -> None:
        """Wait for what is under way, then disconnect."""
        await self._routes.aclose()

    async def _prepare(self, replace_functions: bool) -> None:
        for link in await self._routes.primaries():
            with store_errors():
                await link.ask("PING")
                await functions.load(link, replace=replace_functions)

    async def _undo_unless(
        self, enough: Mapping[int, bool], claims: Sequence[Claim], verdicts: list[Verdict]
    ) -> list[Verdict]:
        """Release what was claimed without a replica knowing: a failover would forget it."""
        sends = [verdict.answer is GateAnswer.SEND for verdict in verdicts]
        undo = [sent and not enough[claim.shard] for claim, sent in zip(claims, sends, strict=True)]
        if not any(undo):
            return verdicts
        log.warning("claims_not_replicated", claims=sum(undo), replicas=self._replicas)
        await self.release(compress(claims, undo))
        return [
            Verdict(GateAnswer.WAIT, claim.now_ms + self._replica_wait_ms) if undone else verdict
            for claim, undone, verdict in zip(claims, undo, verdicts, strict=True)
        ]

    async def _ask(self, shard: int, command: Command) -> Reply:
        _, slot = self._place(shard)
        return (await self._routes.send(slot, [command]))[0]

    async def _hash(self, shard: int, kind: str) -> dict[bytes, bytes]:
        tag, _ = self._place(shard)
        flat = await self._ask(shard, ["HGETALL", tag + kind])
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _place(self, shard: int) -> tuple[str, int]:
        """The tag and the hash slot of a shard."""
        place = self._places.get(shard)
        if place is None:
            tag = shard_tag(self._prefix, shard)
            place = self._places[shard] = (tag, slot_of(tag))
        return place

    def _by_shard(
        self, claims: Iterable[Claim], command: Callable[[Claim, str], Command]
    ) -> dict[int, tuple[int, list[Command]]]:
        """The hash slot and the commands of each shard, in the order of the claims."""
        batches: dict[int, tuple[int, list[Command]]] = {}
        for claim in claims:
            tag, slot = self._place(claim.shard)
            batches.setdefault(claim.shard, (slot, []))[1].append(command(claim, tag))
        return batches
