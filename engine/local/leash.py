"""Run as a script: ask the kernel to kill this process with its parent, then become a command.

`python -I -S leash.py PARENT_PID COMMAND [ARGUMENT ...]`. The request (PR_SET_PDEATHSIG) outlives
`exec`. It is made here and not between fork and exec in the parent, because running Python code
there can deadlock in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the death signal and exec. Exits 125 if it cannot be set, 127 if there is no command."""
    parent_pid = int(sys.argv[1])
    command = sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"prctl: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(125)
    # The parent may have died before the request was made; then no signal would ever come.
    if os.getppid() != parent_pid:
        sys.exit(125)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
