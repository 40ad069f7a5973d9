"""A backtest with all around it: definitions in, decisions sorted on disk, state carried on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.backtest import saved
from engine.backtest.jobs import Jobs
from engine.backtest.part import Decider, Part
from engine.backtest.places import Places
from engine.backtest.result import Result
from engine.backtest.run import Backtest
from engine.backtest.saved import StateRefused
from engine.backtest.spill import Spill, row_line
from engine.backtest.users import Users
from engine.files import Batch, open_output
from engine.report.plans import Plan, plans_of
from engine.report.saved import write_saved
from schemas.decisions import Decision
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.lengths import LOOKED_AT_MAX, Renders
from triggers.overrides import assume_consent
from triggers.problems import Problem
from triggers.shared import Documents
from triggers.state import STATE_VERSION


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is decided with: definitions in the states they say, policies after `--set`, and the
    shared documents (segments, relations) by kind and name."""

    triggers: Mapping[str, TriggerDefinition]
    policies: Mapping[str, Policy]
    documents: Documents = field(default_factory=dict)

    @property
    def plans(self) -> Mapping[str, Mapping[int, Plan]]:
        """What `tripline report` is to know of them."""
        return plans_of({(name, 1): found for name, found in self.triggers.items()}, self.policies)

    def digest(self, *, assume_devices: bool) -> str:
        """Changes with everything a verdict depends on; examples do not count."""
        documents: list[object] = []
        for name in sorted(self.triggers):
            document = self.triggers[name].to_document()
            document.pop("tests", None)
            documents.append(document)
        documents += [(name, self.policies[name].to_document()) for name in sorted(self.policies)]
        for kind, found in sorted(self.documents.items()):
            documents += [(kind, name, found[name]) for name in sorted(found)]
        return saved.workspace_digest(documents, {"assume_devices": assume_devices})


def ignore(decision: Decision) -> None:
    """For runs whose decisions nobody asked for."""


def make_run(
    definitions: Definitions,
    decided: Callable[[Decision], None],
    *,
    assume_devices: bool = True,
    users: Users | None = None,
    renders: Renders | None = None,
) -> Backtest:
    """A backtest of these definitions, revision 1 each; its messages are counted in `renders`.
    `assume_devices`: every user can be reached
    and has agreed to what needs it, unless the events say otherwise."""
    policies = definitions.policies
    if assume_devices:
        policies = assume_consent(policies)
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in definitions.triggers.values()]
    program = compile_program(1, registered, policies, definitions.documents)
    return Backtest(program, decided, assume_devices=assume_devices, users=users, renders=renders)


@dataclass(slots=True)
class Session:
    """One run of `tripline backtest`. `state`: the folder of `--state`; `decisions`: that file,
    `counters`: that of `tripline report`. `places`: who is decided by which process, where there
    are to be several.

    Build it, `feed`, `end`, ask for `result`; `close` it whatever happens. Raises StateRefused for
    a state that does not fit, OSError, and with `places` what `Jobs` raises.
    """

    definitions: Definitions
    assume_devices: bool = True
    state: Path | None = None
    decisions: Path | None = None
    counters: Path | None = None
    places: Places | None = None
    #: What this process decides with, unless there are `places`.
    run: Backtest = field(init=False)
    row_from: int = field(init=False, default=0)
    _before: saved.Header | None = field(init=False, default=None)
    _decider: Decider = field(init=False)

    def __post_init__(self) -> None:
        spill = Spill()
        users = Users(assume_devices=self.assume_devices)
        if self.state is not None:
            self._before = saved.load(self.state, users, workspace=self._digest)
        jobs = 1 if self.places is None else self.places.count
        renders = self._renders(LOOKED_AT_MAX // jobs)
        self.run = make_run(
            self.definitions,
            ignore if self.decisions is None else spill.add,
            assume_devices=self.assume_devices,
            users=users,
            renders=renders,
        )
        if self._before is not None:
            self.row_from = self._before.rows
            self.run.watermark_ms = self._before.watermark_ms
            self.run.known_from_ms = self._before.first_ms
        part = Part(self.run, spill, renders)
        if self.places is None:
            self._decider = part
        else:
            merged = ((user, slot.merged_into) for user, slot in users.all_slots())
            self.places.join(pair for pair in merged if pair[1])
            self._decider = Jobs(part, self.places)
            users.keep(lambda _: False)

    def feed(self, batches: Iterable[Batch]) -> None:
        """Decide these events; they may not begin before those of the run before ended."""
        self._decider.feed(batches if self._before is None else self._following(batches))

    def end(self, *, drain: bool, rows: int) -> Result:
        """Fire what is to be fired, write decisions, then the state; `rows` were read."""
        self._decider.finish(drain)
        if self.decisions is not None:
            with open_output(self.decisions) as out:
                for row in self._decider.rows():
                    out.write(row_line(row))
        result = self._decider.result()
        if self.counters is not None:
            # What was worth something and taken back is no counter, whoever decided the two.
            counters = {name: count for name, count in result.funnel.items() if count}
            self.counters.write_bytes(write_saved(counters, self.definitions.plans))
        if self.state is not None:
            before = self._before
            header = saved.Header(
                format=saved.FORMAT,
                state_version=STATE_VERSION,
                workspace=self._digest,
                users=result.known,
                events=result.tally.events + (before.events if before else 0),
                rows=self.row_from + rows,
                watermark_ms=result.watermark_ms,
                first_ms=result.known_from_ms,
            )
            saved.save(self.state, header, self._decider.records())
        return result

    def close(self) -> None:
        """Let go of what runs beside this process."""
        self._decider.close()

    def problems(self) -> Iterator[tuple[str, Problem]]:
        """Of the texts that were said, each with its trigger."""
        found = self._renders()
        for said in self._decider.said():
            found.add(said)
        return found.problems()

    def _renders(self, looked_at_max: int = LOOKED_AT_MAX) -> Renders:
        found = self.definitions
        return Renders(found.triggers, found.policies, looked_at_max)

    @property
    def _digest(self) -> str:
        return self.definitions.digest(assume_devices=self.assume_devices)

    def _following(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        ended_ms = self.run.watermark_ms
        for batch in batches:
            if batch.times and batch.times[0] < ended_ms:
                raise StateRefused(
                    f"the events begin {ended_ms - batch.times[0]} ms before those of the "
                    "state end: they would be decided out of order"
                )
            yield batch
