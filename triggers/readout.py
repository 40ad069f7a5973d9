"""What exposed users did, whatever is credited: the sums behind an experiment's readout.

Intention to treat: from the exposure on a user's goals and first unsubscribe count for the arm,
sent to or not. Per user sums of squares are kept exact by adding (y + v)^2 - y^2, as integers:
goals by count, worth in hundredths.
"""

from typing import Final

from schemas.events import Event
from schemas.outcomes import GOAL, UNSUBSCRIBER, OutcomeRow
from triggers.answers import MILLION, Answer, worth_of
from triggers.attribution import goals_of
from triggers.effects import Effects, FunnelKey
from triggers.exposure import expiry
from triggers.program import Program
from triggers.state import DAY_MS, Exposure, UserState

CONVERTERS: Final = "CONVERTERS"
GOALS: Final = "GOALS"
GOALS2: Final = "GOALS2"
WORTH: Final = "WORTH"
WORTH2: Final = "WORTH2"
#: WORTH2 is this stage times `HIGH`, plus WORTH2: a counter has 64 bits, and a square of a currency
#: of small units would soon fill them.
WORTH2_HIGH: Final = "WORTH2_HIGH"
HIGH: Final = 2**40
UNSUBSCRIBERS: Final = "UNSUBSCRIBERS"

_HUNDREDTH: Final = MILLION // 100
#: What a state can hold; what would lead beyond it adds nothing.
_TOTAL_MAX: Final = 2**62


def worth2(low: int, high: int) -> int:
    """The sum of squares, in hundredths squared, that the two counters hold."""
    return high * HIGH + low


def reach(
    program: Program,
    user: str,
    state: UserState,
    answer: Answer,
    event: Event,
    e: int,
    a: int,
    out: Effects,
) -> bool:
    """A goal event of client time `e`; whether it counts for a readout."""
    changed = False
    for name, goal in goals_of(program, answer):
        exposure = state.exposed.get(name)
        if exposure is None or not exposure.at <= e < expiry(program, name, exposure):
            continue
        worth = worth_of(goal, event) or 0
        if abs(exposure.value + worth) > _TOTAL_MAX:
            worth = 0
        _add(user, name, exposure, worth, a, out)
        changed = True
    return changed


def leave(program: Program, user: str, state: UserState, e: int, a: int, out: Effects) -> bool:
    """The user unsubscribed: once for each exposure."""
    changed = False
    for name, exposure in state.exposed.items():
        if exposure.left or not exposure.at <= e < expiry(program, name, exposure):
            continue
        exposure.left = changed = True
        out.funnel[_key(name, exposure, a, UNSUBSCRIBERS)] += 1
        out.outcomes.append(_row(UNSUBSCRIBER, user, name, exposure, a))
    return changed


def _add(user: str, name: str, exposure: Exposure, worth: int, a: int, out: Effects) -> None:
    def count(stage: str, number: int) -> None:
        if number:
            out.funnel[_key(name, exposure, a, stage)] += number

    before, after = _hundredths(exposure.value), _hundredths(exposure.value + worth)
    count(CONVERTERS, not exposure.goals)
    count(GOALS, 1)
    count(GOALS2, 2 * exposure.goals + 1)
    count(WORTH, worth)
    high, low = divmod(after * after - before * before, HIGH)
    count(WORTH2, low)
    count(WORTH2_HIGH, high)
    exposure.goals += 1
    exposure.value += worth
    out.outcomes.append(_row(GOAL, user, name, exposure, a, worth))


def _hundredths(millionths: int) -> int:
    """Rounded half up."""
    return (millionths + _HUNDREDTH // 2) // _HUNDREDTH


def _key(trigger: str, exposure: Exposure, a: int, stage: str) -> FunnelKey:
    return FunnelKey(trigger, exposure.revision, exposure.arm, a // DAY_MS, stage, "")


def _row(
    kind: str, user: str, trigger: str, exposure: Exposure, a: int, worth: int = 0
) -> OutcomeRow:
    return OutcomeRow(kind, "", trigger, exposure.revision, exposure.arm, "", user, a, worth)
