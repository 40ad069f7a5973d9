"""`python sampled.py OUT ROLE`: run a role of the engine and write where its CPU time went.

Every millisecond of CPU time of the process the kernel sends SIGPROF; the handler notes the stack
of the main thread. Python runs handlers between byte codes, so time inside a C call counts for the
function that made it. Other threads are not seen, only weighed: their CPU time is written as well.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType

EVERY_S = 0.001
DEPTH_MAX = 60

stacks: Counter[tuple[str, ...]] = Counter()


def note(_: int, frame: FrameType | None) -> None:
    """Count the stack, innermost function first."""
    names: list[str] = []
    while frame is not None and len(names) < DEPTH_MAX:
        code = frame.f_code
        names.append(f"{code.co_filename}:{code.co_qualname}")
        frame = frame.f_back
    stacks[tuple(names)] += 1


def write(path: str) -> None:
    """Everything noted, and the CPU time of the main thread and of the process."""
    with open(path, "w") as out:
        json.dump(
            {
                "stacks": [[list(stack), count] for stack, count in stacks.items()],
                "main_s": time.clock_gettime(time.pthread_getcpuclockid(threading.get_ident())),
                "process_s": time.process_time(),
            },
            out,
        )


if __name__ == "__main__":
    out_path, role = sys.argv[1:3]
    from engine.cli.main import main

    signal.signal(signal.SIGPROF, note)

    def begin(*_: object) -> None:
        """The bench says when: what was noted while starting is dropped."""
        stacks.clear()
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def end(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        write(out_path)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv[1:] = [role]
    main()
