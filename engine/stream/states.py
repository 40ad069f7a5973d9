"""The decoded states an owner keeps: bounded, least recently used first out.

Two generations instead of a linked list: a look-up that finds a state in the old one moves it to
the young one, and when the young one is full it becomes the old one. Only `settle`, called between
commits, drops anything, so a state in use is never decoded twice.
"""

from collections.abc import Iterable

from triggers.state import UserState


class StateCache:
    """At most `states_max` states after `settle`."""

    def __init__(self, states_max: int) -> None:
        self._half_max = max(1, states_max // 2)
        self._young: dict[str, UserState] = {}
        self._old: dict[str, UserState] = {}

    def __contains__(self, user: str) -> bool:
        return user in self._young or user in self._old

    def __getitem__(self, user: str) -> UserState:
        state = self._young.get(user)
        if state is None:
            state = self._young[user] = self._old.pop(user)
        return state

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def missing(self, users: Iterable[str]) -> list[str]:
        """Those of `users` that are not kept."""
        young, old = self._young, self._old
        return [user for user in users if user not in young and user not in old]

    def put(self, user: str, state: UserState) -> None:
        """Keep a state that was just loaded."""
        self._young[user] = state

    def settle(self) -> None:
        """Forget what was not used for long."""
        if len(self._young) > self._half_max:
            self._old = self._young
            self._young = {}
