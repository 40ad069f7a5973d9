"""The live view: pushes as they arrive. On a terminal a table, elsewhere a line now and then."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from engine.play.player import Played
from engine.play.watcher import Seen

PLAIN_EVERY_S = 5.0


class View:
    """Shows progress on stderr; `show` may be called as often as you like."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._is_terminal = sys.stderr.isatty()
        self._plain_s = 0.0
        self._shown = 0

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False)

    def show(self, played: Played, seen: Seen, now_s: float, state: str) -> None:
        """What has happened by now."""
        if self._is_terminal:
            self._live.update(_table(played, seen, state))
            return
        if now_s - self._plain_s < PLAIN_EVERY_S:
            return
        self._plain_s = now_s
        self.say(f"{_head(played, seen)}; {state}")
        for push in list(seen.recent)[-min(len(seen.recent), 2) :]:
            if seen.arrived == self._shown:
                break
            self.say(
                f"  push to {push.user}: {push.trigger}: {push.title} ({push.latency_ms:.0f} ms)"
            )
        self._shown = seen.arrived


def _head(played: Played, seen: Seen) -> str:
    return (
        f"{played.events:,} events played, {seen.candidates:,} candidates, "
        f"{seen.suppressed.total():,} suppressed, {seen.arrived:,} pushes"
    )


def _table(played: Played, seen: Seen, state: str) -> Table:
    table = Table(title=_head(played, seen), caption=state, expand=True)
    for name in ("user", "trigger", "title"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    table.add_column("via")
    table.add_column("latency", justify="right")
    for push in seen.recent:
        latency = f"{push.latency_ms:,.0f} ms"
        table.add_row(push.user, push.trigger, push.title, push.provider, latency)
    return table
