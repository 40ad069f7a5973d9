"""Whether two stores hold the same shard: what the log decides, without what a run decides.

How far the outbox was trimmed, how commits were paged, who claimed what: two right runs over the
same log differ in these. `keys.STORED` says which field is which.
"""

import hashlib
import json
from typing import Any, Protocol

import msgspec

from engine.store.keys import STORED
from triggers.state import decode_state


class Dumping(Protocol):
    """A store that can list everything it holds of a shard, by `keys.STORED` name."""

    async def dump(self, shard: int) -> dict[str, Any]:
        """Nobody may write to the shard meanwhile."""


async def canonical(store: Dumping, shard: int) -> dict[str, Any]:
    """The replayed content, readable, for showing a difference.

    Raises what `decode_state` raises on a state that this version cannot read.
    """
    dump = await store.dump(shard)
    content = {stored.name: dump[stored.name] for stored in STORED if stored.replayed}
    content["states"] = {
        user: msgspec.to_builtins(decode_state(state)) for user, state in dump["states"].items()
    }
    content["journal"] = {
        user: [_readable(entry) for entry in entries] for user, entries in dump["journal"].items()
    }
    return content


async def digest_of(store: Dumping, shard: int) -> str:
    """64 hex digits: equal for two shards if and only if `canonical` is."""
    text = json.dumps(await canonical(store, shard), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _readable(entry: bytes) -> str | dict[str, str]:
    try:
        return entry.decode()
    except UnicodeDecodeError:
        return {"hex": entry.hex()}
