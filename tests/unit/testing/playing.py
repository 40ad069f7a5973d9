"""Tests of triggers, told shortly."""

from typing import Any

from engine.testing.cases import Case, cases_of
from engine.testing.run import Verdict, run_case
from triggers.loader import load_workspace

CART = """\
id: cart
when: {event: Added, where: {properties.price: {gte: 20}}}
unless:
  - event: Ordered
  - {event: Removed, where: {properties.id: $start.properties.id}}
wait: 2h
"""


def cases(tests: str, trigger: str = CART, **others: str) -> list[Case]:
    """The tests put under a trigger; `others`: more triggers by file name, and `policy`."""
    lines = "".join(f"  {line}\n" for line in tests.strip("\n").splitlines())
    files = {"triggers/cart.yaml": f"{trigger}tests:\n{lines}"}
    for name, text in others.items():
        files["policy.yaml" if name == "policy" else f"triggers/{name}.yaml"] = text
    return [case for case in cases_of(load_workspace(files)) if case.file == "triggers/cart.yaml"]


def verdict(events: str, expect: str, *more: str, **others: Any) -> Verdict:
    """One test: `events` and `expect` are the insides of YAML lists, `more` further fields."""
    fields = "".join(f"  {field}\n" for field in more)
    text = f"- name: it\n{fields}  events: [{events}]\n  expect: [{expect}]"
    (case,) = cases(text, **others)
    return run_case(case)


def diff(found: Verdict) -> list[str]:
    """Its lines, with single blanks."""
    return [" ".join(str(line).split()) for line in found.lines]
