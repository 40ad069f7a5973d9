"""How definitions say when a message may be sent: `quiet` of a policy, `send_at` and `hold`."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from triggers.fields import Clock, WaitMs
from triggers.model import Model
from triggers.opening import DAY_MINUTES, Hours, Window, is_ever_open
from triggers.problems import Problem, suggestion
from triggers.state import DAY_MS

QUIET_MAX = 8


def minute_of(clock: str) -> int:
    """`09:30` is minute 570 of the day."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _differ(pair: tuple[str, str]) -> tuple[str, str]:
    if pair[0] == pair[1]:
        raise ValueError("it begins and ends at the same time: that would be all day, or never")
    return pair


_TWO_TIMES = 'two times of the day, in quotes and brackets: ["22:00", "09:00"]'


def _two_times(value: Any) -> Any:
    pair = isinstance(value, list | tuple) and len(value) == len(("from", "until"))
    if not pair or not all(isinstance(time, str) for time in value):
        raise ValueError(f"this needs {_TWO_TIMES}")
    return value


#: Two times of the day: from, until. Over midnight when the second one is not later.
Stretch = Annotated[tuple[Clock, Clock], BeforeValidator(_two_times), AfterValidator(_differ)]


def _as_stretches(value: Any) -> Any:
    """`["22:00", "09:00"]` is one stretch."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"`quiet` needs {_TWO_TIMES}, or a list of such pairs")
    one = bool(value) and not any(isinstance(item, list | tuple) for item in value)
    return [value] if one else value


def _some_is_open(stretches: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not is_ever_open(windows_of(stretches)):
        raise ValueError("quiet all day long: nothing would ever be sent")
    return stretches


Quiet = Annotated[
    tuple[Stretch, ...],
    BeforeValidator(_as_stretches, json_schema_input_type=Stretch | tuple[Stretch, ...]),
    Field(max_length=QUIET_MAX),
    AfterValidator(_some_is_open),
]


class Between(Model):
    """The time of the day a message may be sent in."""

    between: Stretch
    """From, until; over midnight when the second one is earlier."""


def _as_send_at(value: Any) -> Any:
    """One message for one mistake: a union would tell what is wrong as each of its members."""
    if isinstance(value, Mapping):
        return Between.model_validate(value)
    if isinstance(value, Between) or value in _MOMENTS:
        return value
    near = suggestion(value, _MOMENTS) if isinstance(value, str) else ""
    said = f", not '{str(value)[:100]}'{near}"
    raise ValueError(f'`send_at` is now, usual_hour or {{between: ["12:00", "20:00"]}}{said}')


_MOMENTS = ("now", "usual_hour")
SendAt = Annotated[Literal["now", "usual_hour"] | Between, BeforeValidator(_as_send_at)]


class Hold(Model):
    """What a message waits for, and for how long at most; every other refusal is final."""

    for_: tuple[Literal["quiet_hours", "send_at"], ...] = Field(
        default=("quiet_hours", "send_at"), alias="for"
    )
    """Wait for the end of the quiet hours, for the time of `send_at`, for both or for none."""
    at_most_ms: WaitMs = Field(default=DAY_MS, alias="at_most")
    """EXPIRED when it would have to wait longer."""

    def cross_problems(self) -> Iterable[Problem]:
        if len(set(self.for_)) < len(self.for_):
            yield Problem(("for",), "each stands in `for` once")


def windows_of(stretches: Iterable[tuple[str, str]]) -> tuple[Window, ...]:
    """The stretches in minutes of the day."""
    return tuple((minute_of(start), minute_of(end)) for start, end in stretches)


def compile_hours(
    quiet: Iterable[tuple[str, str]], send_at: SendAt, hold: Hold | None
) -> Hours | None:
    """None when it may be sent at any time. `quiet` is left empty for transactional triggers."""
    shut: tuple[Window, ...] = ()
    if isinstance(send_at, Between):
        ((start, end),) = windows_of([send_at.between])
        shut = ((end % DAY_MINUTES, start),)
    usual = send_at == "usual_hour"
    windows = windows_of(quiet)
    if not (windows or shut or usual):
        return None
    wanted = Hold() if hold is None else hold
    return Hours(
        quiet=windows,
        shut=shut,
        usual=usual,
        waits_quiet="quiet_hours" in wanted.for_,
        waits_send_at="send_at" in wanted.for_,
        at_most_ms=wanted.at_most_ms,
    )
