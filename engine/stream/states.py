"""The decoded states an owner keeps: bounded, least recently used first out.

Two generations instead of a linked list: a state of the old one that is used moves to the young
one, and when the young one is full it becomes the old one. Only `settle`, called between commits,
drops anything, so a state in use is never decoded twice.
"""

from collections.abc import Iterable, Mapping

from triggers.state import UserState


class StateCache:
    """At most `states_max` states after `settle`."""

    def __init__(self, states_max: int) -> None:
        self._half_max = max(1, states_max // 2)
        self._young: dict[str, UserState] = {}
        self._old: dict[str, UserState] = {}

    def __contains__(self, user: str) -> bool:
        return user in self._young or user in self._old

    @property
    def in_use(self) -> Mapping[str, UserState]:
        """The states `use` and `put` were called for, by user: valid until `settle`."""
        return self._young

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def use(self, users: Iterable[str]) -> list[str]:
        """Have these at hand; those that are not kept have to be loaded and `put`."""
        young, old = self._young, self._old
        missing = []
        for user in users:
            if user not in young:
                state = old.pop(user, None)
                if state is None:
                    missing.append(user)
                else:
                    young[user] = state
        return missing

    def put(self, user: str, state: UserState) -> None:
        """Keep a state that was just loaded."""
        self._young[user] = state

    def settle(self) -> None:
        """Forget what was not used for long."""
        if len(self._young) > self._half_max:
            self._old = self._young
            self._young = {}
