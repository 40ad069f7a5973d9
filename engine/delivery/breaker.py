"""The circuit breaker of one provider: when everything fails alike, stop burning messages.

Faults speak about us or the provider, not about a message: refused credentials, an address that
cannot be reached, requests without an answer. One bad device token can be refused like a bad
credential (DeviceTokenNotForTopic), so it takes several faults in a row to open. While open nothing
is sent; then one message tries.
"""

from enum import StrEnum

FAULTS_MAX = 5
OPEN_FIRST_S = 1.0
OPEN_MAX_S = 60.0


class Answer(StrEnum):
    """What a request says about the provider."""

    GOOD = "good"
    FAULT = "fault"
    UNCLEAR = "unclear"


class Admission(StrEnum):
    """NO: not now. PROBE: the one request that finds out."""

    YES = "yes"
    NO = "no"
    PROBE = "probe"


class State(StrEnum):
    """CLOSED: requests pass. OPEN: none. HALF_OPEN: one is under way to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """`now_s` is monotonic seconds, given with every question."""

    def __init__(self, faults_max: int = FAULTS_MAX) -> None:
        self._faults_max = faults_max
        self._faults = 0
        self._pause_s = 0.0
        self._until_s = 0.0
        self.state = State.CLOSED

    def blocked_s(self, now_s: float) -> float:
        """How long a request had better wait before it asks `admits`; 0 when it may ask now."""
        if self.state is State.CLOSED:
            return 0.0
        if self.state is State.HALF_OPEN:
            return max(self._pause_s, OPEN_FIRST_S)
        return max(self._until_s - now_s, 0.0)

    def admits(self, now_s: float) -> Admission:
        """Whether a request may start. Who may reports with `answered`, whatever happens."""
        if self.state is State.CLOSED:
            return Admission.YES
        if self.state is State.OPEN and now_s >= self._until_s:
            self.state = State.HALF_OPEN
            return Admission.PROBE
        return Admission.NO

    def answered(self, admission: Admission, answer: Answer, now_s: float) -> None:
        """A request that was admitted has ended."""
        if answer is Answer.GOOD:
            # Also a late answer from before it opened proves that requests get through.
            self.state, self._faults, self._pause_s = State.CLOSED, 0, 0.0
        elif self.state is State.CLOSED:
            if answer is Answer.FAULT:
                self._faults += 1
                if self._faults >= self._faults_max:
                    self._open(now_s)
        elif self.state is State.HALF_OPEN and admission is Admission.PROBE:
            self._open(now_s)

    def _open(self, now_s: float) -> None:
        self.state = State.OPEN
        self._faults = 0
        self._pause_s = min(max(self._pause_s * 2, OPEN_FIRST_S), OPEN_MAX_S)
        self._until_s = now_s + self._pause_s
