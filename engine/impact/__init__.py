"""Impact: what a change of definitions would do, before it is applied.

- `compare` says which triggers, policies and fields differ between two `Definitions`.
- `measure` backtests both over the same events, read once, and gives an `Impact`.
- `budgets` are the limits of `budgets.yaml` (`load_budgets`); `check` holds an impact against them.
- `report` renders everything as text, JSON or Markdown.
"""

from engine.impact.budgets import Budgets, Checked, check, load_budgets
from engine.impact.compare import Change, Difference, compare
from engine.impact.measure import Impact, measure

__all__ = [
    "Budgets",
    "Change",
    "Checked",
    "Difference",
    "Impact",
    "check",
    "compare",
    "load_budgets",
    "measure",
]
