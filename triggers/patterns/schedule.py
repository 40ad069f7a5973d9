"""`{schedule: {days: [mon], at: "16:45", zone: user}}`: at set times, to everybody it is for.

Parsed and checked here, run with campaigns, which go through the users of an audience.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr, ValidationInfo

from triggers.fields import Clock, check_zone
from triggers.model import Model
from triggers.patterns.base import PatternKind, When
from triggers.patterns.later import build_not_yet

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _each_once(days: tuple[Day, ...]) -> tuple[Day, ...]:
    twice = [day for day in WEEK if days.count(day) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' stands here twice")
    return days


def _check_zone(value: str, info: ValidationInfo) -> str:
    return value if value == "user" else check_zone(value, info)


class Times(Model):
    """`{days, at, zone}`: on these days of the week (all of them unless named) at `at`, in the
    user's zone or in a named one."""

    row = "schedule"

    days: Annotated[
        tuple[Day, ...], Field(min_length=1, max_length=7), AfterValidator(_each_once)
    ] = WEEK
    """The days of the week, all of them by default."""
    at: Clock
    """The time of the day."""
    zone: Annotated[StrictStr, AfterValidator(_check_zone)] = "user"
    """user, or a time zone."""


class ScheduleWhen(When):
    """`{schedule: {days, at, zone}}`."""

    of_user = True
    of_event = False

    schedule: Times
    """When it comes."""


SCHEDULE = PatternKind("schedule", ScheduleWhen, build_not_yet, later="campaigns")
