"""Places where a test may kill this very process, named once.

`TRIPLINE_FAILPOINT=after_commit:3` kills the process with SIGKILL the third time it passes there.
Unset (always, outside crash tests) a failpoint costs one comparison.
"""

import os
import signal

NAMES = (
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
    "before_trim",
    "after_trim",
    "before_send",
    "after_send",
)

_armed = ""
_countdown = 0


def arm(setting: str) -> None:
    """Arm one failpoint: `name` or `name:n`. Empty: none. Raises ValueError for unknown names."""
    global _armed, _countdown
    name, _, count = setting.partition(":")
    if name and name not in NAMES:
        raise ValueError(f"unknown failpoint {name!r}; there are {', '.join(NAMES)}")
    _armed, _countdown = name, int(count or 1)


def failpoint(name: str) -> None:
    """Die here, when armed for this place."""
    if name != _armed:
        return
    global _countdown
    _countdown -= 1
    if _countdown <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
