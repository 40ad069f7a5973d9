"""Whatever a definition holds, it is refused with a place, or it compiles and decides."""

import copy
from pathlib import Path
from random import Random
from typing import Any

from schemas.events import Event
from tests.reference.machines import compiled
from tests.reference.workloads import case
from tests.unit.triggers.user import User
from triggers.compile import RegisteredTrigger, compile_program
from triggers.loader import load_workspace
from triggers.source import read_source
from triggers.workspace import DefinitionError, DefinitionErrors, load_documents

ROUNDS = 250
CATALOG = Path("triggers/catalog")
FILES = sorted([*Path("examples").glob("*/triggers/*.yaml"), *CATALOG.glob("triggers/*.yaml")])
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1.5, float("inf"), "", "x", "1h", "$start.x", "$event.", "\x00"),
    *([], [[]], ["x"], {}, {"": None}, {"event": "A"}, {"all": []}, {"not": {"not": {}}}),
    *("properties.*.x", "properties..x", "{{ x", {"eq": {"eq": 1}}, "9" * 400, "ы" * 200),
)
KEYS = ("when", "where", "event", "count", "within", "sequence", "idle", "nth", "series", "bundle")


def mutated(document: Any, random: Random) -> Any:
    """The document with one node replaced, dropped, doubled or under another name."""
    document = copy.deepcopy(document)
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            nodes.append((node, key))
            if isinstance(node[key], dict | list) and node[key]:
                walk(node[key])

    walk(document)
    node, key = random.choice(nodes)
    what = random.choice(("replace", "replace", "drop", "graft", "name"))
    if what == "replace":
        node[key] = copy.deepcopy(random.choice(ODD))
    elif what == "graft":
        other, its = random.choice(nodes)
        node[key] = copy.deepcopy(other[its])
    elif what == "drop":
        del node[key]
    elif isinstance(node, dict):
        node[random.choice((*KEYS, key * 2, "$", ""))] = node.pop(key)
    return document


def shared_files() -> dict[str, Any]:
    """What the shipped triggers refer to, by the stem of its file."""
    return {
        stem: read_source((CATALOG / f"{stem}.yaml").read_text(), is_json=False)[0].data
        for stem in ("places", "relations", "segments")
    }


def decide(document: Any, shared: dict[str, Any], random: Random) -> None:
    """Compile what is valid and let it decide a random history."""
    loaded = load_documents([document], {}, shared)
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in loaded.triggers.values()]
    user = User(compile_program(1, registered, loaded.policies, loaded.documents))
    names = [name for name in user.program.by_event if not name.startswith("\x1f")]
    for minute in range(12):
        properties = {"product_id": random.choice(ODD), "price": random.choice(ODD)}
        event = Event("track", f"m{minute}", event=random.choice([*names, "X"]), user_id="u")
        event.properties = properties
        event.traits = {"birthday": random.choice(ODD), "plan": random.choice(ODD)}
        event.context = {
            "timezone": random.choice(ODD),
            "location": {"latitude": random.choice(ODD), "longitude": random.choice(ODD)},
        }
        user.apply(f"{minute}m", event)
    user.fire("90d")


def test_a_mutated_example_is_refused_or_decides() -> None:
    random = Random(1)
    refused = decided = 0
    documents = [
        source.data for file in FILES for source in read_source(file.read_text(), is_json=False)
    ]
    shared = shared_files()
    for _ in range(ROUNDS):
        document = random.choice(documents)
        for _ in range(random.choice((1, 1, 2, 4))):
            document = mutated(document, random) or document
        errors: list[DefinitionError] = []
        try:
            decide(document, shared, random)
        except DefinitionErrors as refusal:
            errors = refusal.errors
            refused += 1
        decided += not errors
        assert all(error.message for error in errors)
    assert refused > ROUNDS // 4
    assert decided > ROUNDS // 10


def test_a_damaged_file_is_refused_with_a_place_in_it() -> None:
    random = Random(2)
    refused = 0
    for _ in range(ROUNDS):
        text = random.choice(FILES).read_text()
        at = random.randrange(len(text))
        damage = random.choice(
            ("", "\n", "\t", ": ", "- ", "{", "]", "'", "&a ", "*a", "!!x ", "\x00")
        )
        text = text[:at] + damage + text[at + random.choice((0, 1, 5)) :]
        lines = text.count("\n") + 2
        errors: list[DefinitionError] = []
        try:
            load_workspace({"triggers/a.yaml": text})
        except DefinitionErrors as refusal:
            errors = refusal.errors
            refused += 1
        for error in errors:
            assert error.file == "triggers/a.yaml"
            assert 1 <= error.line <= lines, error
            assert error.column >= 1, error
    assert refused > ROUNDS // 4


def test_every_valid_random_definition_compiles() -> None:
    for seed in range(ROUNDS):
        workspace, _ = case(Random(seed).choice, (1,))
        assert compiled(workspace).number == 1
