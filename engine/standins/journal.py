"""One JSON line per request a stand-in received: the evidence for checkers."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

VERSION: Final = 1
FLUSH_S: Final = 0.05
BUFFER_MAX: Final = 256


class Journal:
    """Keeps the last `kept_max` entries in memory and, with a path, appends each to a file.

    A line reaches the file within 50 ms. Fields: version, provider, at_ms (arrival), delivery_id,
    token, status (None when no answer is given), reason, action, accepted (did the provider take
    the push), title, body, link, collapse_key, urgent, expires_at_ms. FCM says a time to live, not
    an expiry: there `expires_at_ms` is arrival plus that, in whole seconds.
    """

    def __init__(self, path: Path | None, kept_max: int = 100_000) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=kept_max)
        self._pending: list[bytes] = []
        self._file: BinaryIO | None = path.open("ab", buffering=0) if path else None
        self._flusher: asyncio.TimerHandle | None = None
        self.requests = 0
        self.accepted = 0

    def record(self, entry: dict[str, Any]) -> None:
        """Add one entry; `version` is put in front."""
        entry = {"version": VERSION, **entry}
        self.requests += 1
        if entry["accepted"]:
            self.accepted += 1
        self._kept.append(entry)
        if self._file is None:
            return
        self._pending.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._pending) >= BUFFER_MAX:
            self.flush()
        elif self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def entries(self) -> list[dict[str, Any]]:
        """What is kept in memory, oldest first."""
        return list(self._kept)

    def flush(self) -> None:
        """Write what is pending."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        if self._file is not None and self._pending:
            self._file.write(b"".join(self._pending))
        self._pending.clear()

    def close(self) -> None:
        """Flush and close the file. Entries stay readable."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
