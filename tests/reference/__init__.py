"""The core against a second opinion.

`filters` and `interpreter` say what the language means in plain, slow Python that imports nothing
of the project; `workloads` makes small random workspaces and logs; `machines` drives the core over
them with polls, restarts and batch cuts at random moments. The tests compare every decision.
"""
