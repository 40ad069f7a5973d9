"""When the files of a workspace have changed, seen by their times and sizes."""

from collections.abc import Callable
from pathlib import Path
from time import sleep

from engine.clock import monotonic_s
from engine.registry.folder import definition_paths

POLL_S = 0.25
#: An editor writes a file in several steps; nothing may change for so long before it is read.
SETTLED_S = 0.2

Snapshot = dict[str, tuple[int, int]]


def snapshot(folder: Path) -> Snapshot:
    """Time of change and size of every definition file; one that is gone meanwhile is left out."""
    found: Snapshot = {}
    try:
        paths = definition_paths(folder)
    except OSError:
        return found
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found[path.as_posix()] = (status.st_mtime_ns, status.st_size)
    return found


def wait_for_change(
    look: Callable[[], Snapshot],
    seen: Snapshot,
    *,
    wait: Callable[[float], None] = sleep,
    now_s: Callable[[], float] = monotonic_s,
) -> Snapshot:
    """Return when `look` differs from `seen` and has come to rest."""
    while (found := look()) == seen:
        wait(POLL_S)
    rested_s = now_s()
    while now_s() - rested_s < SETTLED_S:
        wait(SETTLED_S / 4)
        again = look()
        if again != found:
            found, rested_s = again, now_s()
    return found
