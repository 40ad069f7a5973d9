"""What is noted of a user's events beside patterns: features and relations, for audiences to ask.

A `Note` names the events it wants and keeps something of each that passes in the user's state.
`note_event` is told of an event after the patterns ran and before admission, so a trigger on the
very event sees it counted. A messageId is noted once in 24 h (`is_new`): repeating would have an
effect.

Nothing is noted that no registered trigger asks for, through segments or directly.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.events import Event
from triggers.conditions import Filter
from triggers.state import MEMORY_MS, UserState

#: messageIds remembered per user, the newest.
MESSAGES_MAX = 256
#: The key of `UserState.features` under which they are: no feature has it.
MESSAGES = "#"
#: One remembered message: a hash of its id and the second it was appended in, rounded up.
_HASH_BYTES = 8
_ENTRY_BYTES = _HASH_BYTES + 4
#: In 2106. A file of events may say anything.
_SECOND_MAX = 2**32 - 1


class NoteWant(NamedTuple):
    """Events of these names that pass `filter` are handed to the note."""

    names: tuple[str, ...]
    filter: Filter


class Note:
    """Something kept of a user. `key`: its name in the state; `wants`: the events it is told of."""

    __slots__ = ("key", "wants")

    def __init__(self, key: str, wants: tuple[NoteWant, ...]) -> None:
        self.key = key
        self.wants = wants

    def note(
        self, state: UserState, want: int, event: Event, e: int, a: int, evicted: Counter[str]
    ) -> bool:
        """Keep what `want` number wants of an event of client time `e`, appended at `a`. False when
        the event lacks what it needs: it could not be evaluated."""
        raise NotImplementedError

    def keeps_until(self, state: UserState) -> int:
        """The log time from which nothing it holds can change an answer; 0 for never."""
        raise NotImplementedError

    def forget(self, state: UserState, now_ms: int) -> None:
        """Drop what can no longer change an answer at log time `now_ms`."""
        raise NotImplementedError

    def absorb(self, state: UserState, moved: UserState, a: int, evicted: Counter[str]) -> None:
        """Add what another profile of the same user holds of it, as of log time `a`."""
        raise NotImplementedError


class NoteRole(NamedTuple):
    """An event a note wants. `triggers`: the ids of those that ask for the note."""

    note: Note
    want: int
    filter: Filter
    triggers: tuple[str, ...]


def note_event(
    state: UserState, roles: Iterable[NoteRole], event: Event, e: int, a: int, evicted: Counter[str]
) -> list[str]:
    """Note an event that `is_new`. Returns the triggers it could not be evaluated for."""
    failed: list[str] = []
    for role in roles:
        if not role.note.note(state, role.want, event, e, a, evicted):
            failed += role.triggers
    return failed


def absorb_notes(
    notes: Iterable[Note], state: UserState, moved: UserState, a: int, evicted: Counter[str]
) -> None:
    """Add what another profile of the same user holds: as if all had been noted of one."""
    for note in notes:
        note.absorb(state, moved, a, evicted)
    both = [held.features[MESSAGES][0] for held in (moved, state) if MESSAGES in held.features]
    if both:
        entries = {
            known[at : at + _HASH_BYTES]: known[at + _HASH_BYTES : at + _ENTRY_BYTES]
            for known in both
            for at in range(0, len(known), _ENTRY_BYTES)
        }
        ordered = sorted((second, digest) for digest, second in entries.items())
        evicted["messages"] += max(0, len(ordered) - MESSAGES_MAX)
        kept = ordered[-MESSAGES_MAX:]
        state.features[MESSAGES] = [b"".join(digest + second for second, digest in kept)]


def messages_expiry(state: UserState) -> int:
    """The log time from which no remembered message matters; 0 when there is none."""
    if MESSAGES not in state.features:
        return 0
    known: bytes = state.features[MESSAGES][0]
    return _entry_time(known, len(known) - _ENTRY_BYTES) + MEMORY_MS + 1


def forget_messages(state: UserState, now_ms: int) -> None:
    """Forget the messages of more than 24 h ago."""
    if MESSAGES in state.features:
        known = _recent(state.features[MESSAGES][0], now_ms)
        if known:
            state.features[MESSAGES] = [known]
        else:
            del state.features[MESSAGES]


def is_new(state: UserState, message_id: str, a: int, evicted: Counter[str]) -> bool:
    """Whether the message was not seen in the last 24 h; from here on it was."""
    digest = blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
    memory: list[Any] | None = state.features.get(MESSAGES)
    known = b"" if memory is None else _recent(memory[0], a)
    at = known.find(digest)
    while at >= 0:
        if at % _ENTRY_BYTES == 0:
            return False
        at = known.find(digest, at + 1)
    if len(known) >= MESSAGES_MAX * _ENTRY_BYTES:
        known = known[_ENTRY_BYTES:]
        evicted["messages"] += 1
    second = min(-(-a // 1000), _SECOND_MAX)
    state.features[MESSAGES] = [known + digest + second.to_bytes(4, "big")]
    return True


def _recent(known: bytes, now_ms: int) -> bytes:
    """Without the entries from more than 24 h before `now_ms`; the oldest stand first."""
    start = 0
    while start < len(known) and now_ms - _entry_time(known, start) > MEMORY_MS:
        start += _ENTRY_BYTES
    return known[start:]


def _entry_time(known: bytes, start: int) -> int:
    return int.from_bytes(known[start + _HASH_BYTES : start + _ENTRY_BYTES], "big") * 1000
