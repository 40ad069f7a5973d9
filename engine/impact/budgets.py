"""`budgets.yaml` beside the definitions: how much a change may send.

```yaml
sends_per_day: {at_most: 20000, growth: 10%}       # all triggers, mean over the history
per_user_per_day: {p99: 2, most: 4}                # messages of a user on a day with any
users_over: {messages: 3, at_most: 100, growth: 0%} # users with more than 3 messages on a day
newly_suppressed: {share: 5%}                      # of the activations that were sent before
triggers:
  abandoned-cart: {sends_per_day: {at_most: 500, growth: 30%}}
```

`growth` compares with what the change is held against; from nothing there is no growth.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field, StrictInt, ValidationError

from engine.impact.measure import NOT_A_CANDIDATE, Impact, Side, TriggerImpact
from schemas.reasons import Outcome
from triggers.fields import Id
from triggers.model import Model, problems_of
from triggers.problems import Problem, suggestion
from triggers.source import Source, SourceError, read_source
from triggers.workspace import DefinitionError, DefinitionErrors

FILE_NAME: Final = "budgets.yaml"
#: Gone with its trigger or condition, or said in another message.
_NOT_KEPT_BACK: Final = frozenset({NOT_A_CANDIDATE, Outcome.BUNDLED.value})
_PERCENT: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?%")


def _percent(value: Any) -> float:
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return float(value[:-1]) / 100
    raise ValueError("write a share in percent, as in 20%")


Share = Annotated[float, BeforeValidator(_percent)]
Count = Annotated[StrictInt, Field(ge=0)]


class SendsPerDay(Model):
    """Sends a day, at most and by how much more than before."""

    at_most: Count | None = None
    growth: Share | None = None


class PerUserPerDay(Model):
    """Messages of a user on a day with any: 99 of 100 such days, and every one."""

    p99: Count | None = None
    most: Count | None = None


class UsersOver(Model):
    """Users with more than `messages` on any day."""

    messages: Count
    at_most: Count | None = None
    growth: Share | None = None


class NewlySuppressed(Model):
    """Of what was sent before, the share that a check now keeps back."""

    share: Share


class TriggerBudget(Model):
    """The limits of one trigger."""

    sends_per_day: SendsPerDay | None = None
    newly_suppressed: NewlySuppressed | None = None


class Budgets(Model):
    """The whole file."""

    sends_per_day: SendsPerDay | None = None
    per_user_per_day: PerUserPerDay | None = None
    users_over: UsersOver | None = None
    newly_suppressed: NewlySuppressed | None = None
    triggers: dict[Id, TriggerBudget] = Field(default_factory=dict)


class Checked(NamedTuple):
    """One limit and what was found. Shares are parts of one."""

    budget: str
    limit: float
    found: float

    @property
    def ok(self) -> bool:
        """Within the limit."""
        return self.found <= self.limit

    @property
    def is_share(self) -> bool:
        """Whether both are shares, to be shown in percent."""
        return self.budget.endswith(("growth", "share"))


def load_budgets(path: Path, known: Iterable[str]) -> Budgets:
    """Read and check a file; `known` are the triggers of both sides.

    Raises DefinitionErrors, every error with file, line and column.
    """
    file = path.name
    try:
        sources = read_source(path.read_bytes().decode(), is_json=path.suffix == ".json")
    except OSError as error:
        raise DefinitionErrors([DefinitionError(str(path), 0, 0, str(error.strerror))]) from None
    except UnicodeDecodeError:
        raise DefinitionErrors([DefinitionError(file, 1, 1, "this is not UTF-8 text")]) from None
    except SourceError as error:
        raise DefinitionErrors([DefinitionError(file, *error.position, error.message)]) from None
    if not sources:
        return Budgets()
    if len(sources) > 1:
        raise DefinitionErrors([DefinitionError(file, 1, 1, "budgets are one document")])
    (source,) = sources
    if source.problems:
        raise DefinitionErrors(DefinitionError(file, *at, text) for at, text in source.problems)
    try:
        budgets = Budgets.model_validate({} if source.data is None else source.data)
    except ValidationError as error:
        raise _errors(file, source, problems_of(error)) from None
    names = sorted(known)
    unknown = [
        Problem(("triggers", name), f"no trigger '{name}'{suggestion(name, names)}", at_key=True)
        for name in budgets.triggers
        if name not in names
    ]
    if unknown:
        raise _errors(file, source, unknown)
    return budgets


def _errors(file: str, source: Source, problems: Iterable[Problem]) -> DefinitionErrors:
    return DefinitionErrors(
        DefinitionError(
            file, *source.position(problem.location, at_key=problem.at_key), problem.message
        )
        for problem in problems
    )


def check(budgets: Budgets, impact: Impact) -> list[Checked]:
    """Every limit that can be judged, in the order of the file's documentation."""
    total = impact.total
    before, after = impact.per_user_day
    found = [*_sends("sends_per_day", budgets.sends_per_day, total.before, total.after)]
    if budgets.per_user_per_day is not None:
        limits = budgets.per_user_per_day
        found += _at_most("per_user_per_day.p99", limits.p99, after.p99)
        found += _at_most("per_user_per_day.most", limits.most, after.most)
    if budgets.users_over is not None:
        over = budgets.users_over
        found += _at_most("users_over.at_most", over.at_most, after.over)
        found += _growth("users_over.growth", over.growth, before.over, after.over)
    found += _suppressed("", budgets.newly_suppressed, total)
    for name, budget in sorted(budgets.triggers.items()):
        one = impact.triggers.get(name)
        if one is not None:
            label = f"triggers.{name}."
            found += _sends(f"{label}sends_per_day", budget.sends_per_day, one.before, one.after)
            found += _suppressed(label, budget.newly_suppressed, one)
    return found


def _sends(name: str, limits: SendsPerDay | None, before: Side, after: Side) -> Iterator[Checked]:
    if limits is not None:
        yield from _at_most(f"{name}.at_most", limits.at_most, after.per_day)
        yield from _growth(f"{name}.growth", limits.growth, before.per_day, after.per_day)


def _suppressed(
    label: str, limit: NewlySuppressed | None, found: TriggerImpact
) -> Iterator[Checked]:
    if limit is not None and found.sent:
        kept_back = sum(n for reason, n in found.lost.items() if reason not in _NOT_KEPT_BACK)
        yield Checked(f"{label}newly_suppressed.share", limit.share, kept_back / found.sent)


def _at_most(name: str, limit: int | None, found: float) -> Iterator[Checked]:
    if limit is not None:
        yield Checked(name, limit, found)


def _growth(name: str, limit: float | None, before: float, after: float) -> Iterator[Checked]:
    if limit is not None and before:
        yield Checked(name, limit, (after - before) / before)
