"""The core against a second opinion.

`filters` and `interpreter` say what the language means in plain, slow Python that imports nothing
of the project; `workloads` makes small random workspaces and logs; `machines` drives the core over
them with polls, restarts and batch cuts at random moments. The tests compare every decision.

`limits` judges by itself what was sent; `setups` makes policies with everything that limits and
times messages, and histories for them, and `worlds` drives the core over those.
"""
