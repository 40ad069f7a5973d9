"""Who decides a history: this process, or several of them side by side (`jobs`)."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from engine.backtest import saved
from engine.backtest.result import Result
from engine.backtest.run import Backtest
from engine.backtest.spill import Row, Spill
from engine.files import Batch
from triggers.lengths import Renders, Said


class Decider(Protocol):
    """Feed it, `finish`, then ask what came of it: `rows` once."""

    def feed(self, batches: Iterable[Batch]) -> None:
        """Decide events in order of append time."""
        ...

    def finish(self, drain: bool) -> None:
        """There are no more events."""
        ...

    def rows(self) -> Iterator[Row]:
        """The decisions, sorted."""
        ...

    def result(self) -> Result:
        """What is reported."""
        ...

    def said(self) -> Iterator[Said]:
        """What became of the texts, to be added up."""
        ...

    def records(self) -> Iterator[bytes]:
        """The users, as the state file has them."""
        ...

    def close(self) -> None:
        """Let go of what runs beside this process."""
        ...


class Part:
    """A run, its decisions and texts, in this process."""

    def __init__(self, run: Backtest, spill: Spill, renders: Renders) -> None:
        self.run = run
        self.spill = spill
        self.renders = renders

    def feed(self, batches: Iterable[Batch]) -> None:
        """Decide events in order of append time."""
        self.run.feed_batches(batches)

    def finish(self, drain: bool) -> None:
        """There are no more events."""
        self.run.finish(drain)

    def rows(self) -> Iterator[Row]:
        """The decisions, sorted; once."""
        return self.spill.rows()

    def result(self) -> Result:
        """What is reported."""
        return self.run.result()

    def said(self) -> Iterator[Said]:
        """What became of the texts."""
        yield self.renders.said

    def records(self) -> Iterator[bytes]:
        """The users, as the state file has them."""
        return saved.records(self.run.held)

    def close(self) -> None:
        """Nothing runs beside it."""
