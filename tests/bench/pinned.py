"""`python pinned.py 1,2 PROGRAM ...`: become PROGRAM on these cores only."""

import os
import sys

os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
os.execvp(sys.argv[2], sys.argv[2:])
