"""The catalogue of shipped triggers, `triggers/catalog`: what is in it, and choosing from it.

It is a workspace like any other. The first comment of a trigger's file says its intent, in one
line: `# Intent: ...`. docs/catalog.md is made of it.
"""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from engine.starter.files import shipped_texts
from triggers.audience import parse_audience
from triggers.definition import TriggerDefinition
from triggers.loader import load_workspace
from triggers.patterns import kind_of
from triggers.patterns.item import ItemWhen
from triggers.patterns.outcome import OutcomeWhen
from triggers.patterns.place import PlaceWhen
from triggers.problems import suggestion

SOURCE = "catalog"
_INTENT = "# Intent: "
#: The file in which a name that an audience mentions is defined.
_FILE_OF = {"segment": "segments.yaml", "feature": "segments.yaml", "relation": "relations.yaml"}


class Shipped(NamedTuple):
    """A trigger of the catalogue; `needs`: the other files of the workspace it cannot do without.

    `pattern`: the telling field of its `when`. `draft`: its pattern does not run yet.
    """

    id: str
    intent: str
    pattern: str
    draft: bool
    needs: frozenset[str]


class UnknownShippedError(Exception):
    """There is no such trigger in the catalogue; the message says which one is nearest."""


@cache
def catalogue_texts() -> dict[str, str]:
    """Its files by their name relative to the workspace."""
    folder = files("triggers") / "catalog"
    return {name: content.decode() for name, content in shipped_texts(folder)}


@cache
def shipped() -> dict[str, Shipped]:
    """All of them by id, in the order of their names."""
    texts = catalogue_texts()
    return {
        trigger.id: Shipped(
            trigger.id,
            intent_of(texts[trigger_file(trigger.id)]),
            kind_of(trigger.when).field,
            trigger.state == "draft",
            frozenset(_needs(trigger)),
        )
        for _, trigger in sorted(load_workspace(texts).triggers.items())
    }


def chosen_files(ids: Iterable[str] = ()) -> dict[str, bytes]:
    """The files of these triggers, or of all, and those that they need, by name.

    Raises UnknownShippedError.
    """
    known = shipped()
    wanted = list(dict.fromkeys(ids)) or list(known)
    names: dict[str, None] = {}
    while wanted:
        found = wanted.pop()
        if found not in known:
            message = f"no '{found[:64]}' in the catalogue{suggestion(found, known)}"
            raise UnknownShippedError(message)
        names[trigger_file(found)] = None
        needs = known[found].needs - names.keys()
        names |= dict.fromkeys(need for need in needs if not need.startswith("triggers/"))
        wanted += [_id(need) for need in needs if need.startswith("triggers/")]
    texts = catalogue_texts()
    return {name: texts[name].encode() for name in sorted({*names, "policy.yaml"})}


def intent_of(text: str) -> str:
    """What the comment `# Intent: ...` of a trigger's text says; empty without one."""
    lines = text.splitlines()
    return next((line[len(_INTENT) :] for line in lines if line.startswith(_INTENT)), "")


def catalogue_page() -> str:
    """docs/catalog.md."""
    lines = [
        "# The shipped triggers",
        "",
        "`tripline init --from catalog` copies all of them into a workspace, with their tests;",
        "`--from catalog:abandoned-checkout,win-back` some, and what they need. `tripline init",
        "--list` shows them. Events have the names of Segment's Ecommerce spec where it has one.",
        "Texts, prices and times are yours to change: `tripline backtest` shows what comes of it.",
        "",
        "A draft has a pattern that is checked whole, but does not run in this version. This page",
        "is made of `triggers/catalog` by `python -m engine.starter.shipped > docs/catalog.md`.",
        "",
        "| id | intent | pattern |",
        "|---|---|---|",
    ]
    for one in shipped().values():
        pattern = f"`{one.pattern}`" + (", draft" if one.draft else "")
        lines.append(f"| `{one.id}` | {one.intent} | {pattern} |")
    return "\n".join(lines) + "\n"


def trigger_file(trigger: str) -> str:
    """Its file, by the name relative to the workspace."""
    return f"triggers/{trigger}.yaml"


def _id(file: str) -> str:
    return file.removeprefix("triggers/").removesuffix(".yaml")


def _needs(trigger: TriggerDefinition) -> Iterable[str]:
    """Files beside its own: partners of its tests, the trigger it reacts to, shared documents."""
    for test in trigger.tests:
        yield from map(trigger_file, test.with_)
    if isinstance(trigger.when, OutcomeWhen):
        yield trigger_file(trigger.when.trigger)
    if isinstance(trigger.when, PlaceWhen):
        yield "places.yaml"
    if isinstance(trigger.when, ItemWhen):
        yield "relations.yaml"
    if trigger.audience is not None:
        yield from (_FILE_OF[found.kind] for found in parse_audience(trigger.audience).mentions)


if __name__ == "__main__":
    print(catalogue_page(), end="")
