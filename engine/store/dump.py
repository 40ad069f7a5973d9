"""Everything Redis holds of one shard, under the names of `keys.STORED`."""

import re
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from engine.store.arguments import unpack_withdrawals
from engine.store.errors import StoreBroken
from engine.store.keys import KINDS, STORED
from engine.store.link import Command, Link

_KEYS_PER_SCAN = 1_000
_KEYS_PER_READ = 500
_LEDGER = {stored.field: stored.name for stored in STORED if stored.kind == "d"}
_META = {stored.field: stored.name for stored in STORED if stored.kind == "m"}
_READ: dict[str, Command] = {
    "u": ("GET",),
    "g": ("GET",),
    "j": ("LRANGE", 0, -1),
    "t": ("ZRANGE", 0, -1, "WITHSCORES"),
}


def empty_dump() -> dict[str, Any]:
    """A shard without anything: numbers are 0, everything else is an empty mapping."""
    dump: dict[str, Any] = {stored.name: {} for stored in STORED}
    dump |= dict.fromkeys(_META.values(), 0) | {"forwarded": {}, "withdrawn": {}}
    dump |= {"commit_id": "", "offset": -1}
    return dump


async def dump_redis(link: Link, tag: str) -> dict[str, Any]:
    """Read the shard behind `tag`. Raises `StoreBroken` on a key that `keys` does not name."""
    dump = empty_dump()
    keys = await _keys(link, tag)
    commands = [_read_command(key, tag) for key in keys]
    for at in range(0, len(keys), _KEYS_PER_READ):
        replies = await link.exchange(commands[at : at + _KEYS_PER_READ])
        for key, reply in zip(keys[at:], replies, strict=False):
            if isinstance(reply, ResponseError):
                raise reply
            kind, _, name = key.removeprefix(tag).partition(":")
            _enter(dump, kind, name, reply)
    return dump


def _read_command(key: str, tag: str) -> Command:
    kind = key.removeprefix(tag).partition(":")[0]
    if kind not in KINDS:
        raise StoreBroken(f"a key of no known kind: {key}")
    command, *rest = _READ.get(kind, ("HGETALL",))
    return (command, key, *rest)


async def _keys(link: Link, tag: str) -> list[str]:
    pattern = re.sub(r"([\\*?\[\]])", r"\\\1", tag) + "*"
    keys: set[str] = set()
    cursor = 0
    while True:
        cursor, page = await link.ask("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_PER_SCAN)
        keys.update(key.decode() for key in page)
        if int(cursor) == 0:
            return sorted(keys)


def _enter(dump: dict[str, Any], kind: str, name: str, value: Any) -> None:
    if kind == "u":
        dump["states"][name] = value
    elif kind == "j":
        dump["journal"][name] = value
    elif kind == "g":
        keep, *claims = msgspec.msgpack.decode(value)
        parts = (claims[part::4] for part in range(4))
        dump["rings"][name] = [keep, *zip(*parts, strict=True)]
    else:
        _enter_pairs(dump, kind, name, dict(zip(value[::2], value[1::2], strict=True)))


def _enter_pairs(dump: dict[str, Any], kind: str, name: str, pairs: dict[bytes, bytes]) -> None:
    for raw, value in pairs.items():
        field = raw.decode()
        if kind == "m" and field[0] == "f":
            dump["forwarded"][int(field[1:])] = int(value)
        elif kind == "m" and field[0] == "x":
            dump["withdrawn"][field[1:]] = unpack_withdrawals(value)
        elif kind == "m":
            dump[_META[field]] = value.decode() if field == "c" else int(value)
        elif kind == "d":
            dump[_LEDGER[field]][name] = value.decode() if field in "ut" else int(value)
        elif kind == "t":
            dump["timers"][field] = int(value)
        elif kind in "fi":
            dump["funnel" if kind == "f" else "pending"][field] = int(value)
        elif kind == "x":
            dump["outbox"][int(field)] = value
        else:
            dump["withheld"][field] = value
