"""Loading a workspace from the texts of its files; every error says file, line and column.

Texts, not paths: who reads the folder is the shell's concern. Files are `triggers/<name>.yaml` (or
`.json`), a trigger each or several YAML documents, `policy.yaml`, those of `triggers.shared`, and
`catalog.yaml`, the event catalogue: it belongs to the folder and is not registered, so what it
refuses is refused wherever a folder is read (validate, apply, backtest).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from triggers.catalog import CATALOG_BYTES_MAX, Catalog, parse_catalog
from triggers.catalog_checks import catalog_hints, catalog_problems
from triggers.definition import TriggerDefinition
from triggers.lengths import payload_problems, written_problems
from triggers.model import unknown
from triggers.problems import Problem, suggestion
from triggers.shared import FILES, parse_shared
from triggers.source import FILE_BYTES_MAX, Source, SourceError, read_source
from triggers.testcases import partner_problems
from triggers.workspace import (
    TRIGGERS_MAX,
    DefinitionError,
    DefinitionErrors,
    Place,
    Workspace,
    audience_problems,
    cap_hints,
    opt_in_problems,
    parse_documents,
    parse_policies,
    parse_trigger,
    pattern_problems,
    policy_problems,
    too_many,
)

_TRIGGER_FILE = re.compile(r"triggers/[^/]+\.(yaml|json)")
_POLICY_FILES = ("policy.yaml", "policy.json")
CATALOG_FILE = "catalog.yaml"
_STEMS = frozenset(file.stem for file in FILES)
#: Of these, those that name events.
_NAMING = ("segments", "relations")

#: A file's name and its document.
_Read = tuple[str, Source]


class Reader(Protocol):
    """`read_source`, or one that remembers texts: reading them is most of what loading takes."""

    def __call__(self, text: str, /, *, is_json: bool, bytes_max: int) -> list[Source]: ...


@dataclass(frozen=True, slots=True)
class _Placed:
    """A trigger and the document it came from."""

    file: str
    source: Source
    trigger: TriggerDefinition


class _Loader:
    """Collects errors while the files of one workspace are read."""

    def __init__(self, zones: Collection[str] | None = None, reader: Reader = read_source) -> None:
        self.zones = zones
        self.reader = reader
        self.errors: list[DefinitionError] = []
        self.placed: list[_Placed] = []

    def read(self, file: str, text: str, bytes_max: int = FILE_BYTES_MAX) -> list[Source]:
        try:
            sources = self.reader(text, is_json=file.endswith(".json"), bytes_max=bytes_max)
        except SourceError as error:
            self.errors.append(DefinitionError(file, *error.position, error.message))
            return []
        filled = [source for source in sources if source.data is not None or source.problems]
        for source in filled:
            self.errors += [DefinitionError(file, *at, text) for at, text in source.problems]
        if not filled:
            self.errors.append(DefinitionError(file, 1, 1, "the file is empty"))
        return filled

    def refuse(self, file: str, source: Source, problems: list[Problem]) -> None:
        self.errors += _located(file, source, problems)

    def triggers(self, file: str, text: str) -> None:
        for source in self.read(file, text):
            trigger, problems = parse_trigger(source.data, self.zones)
            self.refuse(file, source, problems)
            if trigger is not None:
                self.placed.append(_Placed(file, source, trigger))

    def catalog(self, file: str, text: str) -> Catalog | None:
        sources = self.read(file, text, CATALOG_BYTES_MAX)
        if len(sources) != 1:
            if sources:
                message = "a catalogue is one document"
                position = sources[1].position((), at_key=False)
                self.errors.append(DefinitionError(file, *position, message))
            return None
        catalog, problems = parse_catalog(sources[0].data)
        self.refuse(file, sources[0], problems)
        return None if sources[0].problems else catalog

    def check_names(
        self, catalog: Catalog | None, shared: Mapping[str, _Read], faulty: Collection[str]
    ) -> list[DefinitionError]:
        """Hold every trigger and what they share, by stem, against the catalogue; the hints, the
        errors are collected. `faulty`: stems of documents that are wrong by themselves."""
        hints: list[DefinitionError] = []
        read = [("", placed.file, placed.source) for placed in self.placed]
        sound = [stem for stem in _NAMING if stem in shared and stem not in faulty]
        read += [(stem, *shared[stem]) for stem in sound]
        for stem, file, source in read:
            if catalog is not None:
                self.refuse(file, source, catalog_problems(source.data, catalog, stem))
            hints += _located(file, source, catalog_hints(source.data, catalog, stem))
        return hints

    def place_of(self, placed: _Placed) -> str:
        line, _ = placed.source.position(("id",), at_key=False)
        return f"{placed.file}:{line}"


def load_workspace(
    files: Mapping[str, str],
    *,
    zones: Collection[str] | None = None,
    reader: Reader = read_source,
) -> Workspace:
    """Load and check all files of a workspace; keys are names relative to its folder.

    `zones`: the known time zones; without them only the shape of a name is checked. Raises
    DefinitionErrors with every error of every file, and nothing else whatever the texts hold.
    """
    loader = _Loader(zones, reader)
    policy_source: _Read | None = None
    shared_sources: dict[str, _Read] = {}
    catalog: Catalog | None = None
    for file in sorted(files):
        if _TRIGGER_FILE.fullmatch(file):
            loader.triggers(file, files[file])
        elif file in _POLICY_FILES:
            policy_source = _read_one(loader, file, files[file], policy_source, "policies")
        elif file == CATALOG_FILE:
            catalog = loader.catalog(file, files[file])
        elif file.rpartition(".")[0] in _STEMS and file.endswith((".yaml", ".json")):
            stem = file.rpartition(".")[0]
            read = _read_one(loader, file, files[file], shared_sources.get(stem), stem)
            shared_sources |= {stem: read} if read is not None else {}
        else:
            loader.errors.append(DefinitionError(file, 1, 1, _unknown_file(file)))
    policies, problems = parse_policies(policy_source[1].data if policy_source else {}, zones)
    if policy_source is not None:
        loader.refuse(*policy_source, problems)
    policies_known = policy_source is not None or not any(file in files for file in _POLICY_FILES)
    data = {stem: source.data for stem, (_, source) in shared_sources.items()}
    documents, faults = parse_documents(data)
    for stem, problem in faults:
        loader.refuse(*shared_sources[stem], [problem])
    shared = parse_shared(documents)
    triggers: dict[str, _Placed] = {}
    for placed in loader.placed:
        first = triggers.setdefault(placed.trigger.id, placed)
        if first is not placed:
            message = f"the id '{placed.trigger.id}' is taken by {loader.place_of(first)}"
            loader.refuse(placed.file, placed.source, [Problem(("id",), message)])
        if policies_known:
            problems = policy_problems(placed.trigger, policies)
            loader.refuse(placed.file, placed.source, problems)
        problems = [*audience_problems(placed.trigger, shared), *payload_problems(placed.trigger)]
        loader.refuse(placed.file, placed.source, problems)
    for placed in triggers.values():
        loader.refuse(placed.file, placed.source, partner_problems(placed.trigger.tests, triggers))
        problems = [] if loader.errors else pattern_problems(placed.trigger, triggers, shared)
        loader.refuse(placed.file, placed.source, problems)
    if policy_source is not None and not loader.errors:
        named = [placed.trigger for placed in triggers.values()]
        loader.refuse(*policy_source, opt_in_problems(policies, named))
    if len(triggers) > TRIGGERS_MAX:
        loader.errors.append(DefinitionError("triggers", 1, 1, too_many(len(triggers))))
    hints: list[DefinitionError] = []
    if catalog is not None or CATALOG_FILE not in files:
        hints = loader.check_names(catalog, shared_sources, {stem for stem, _ in faults})
    if loader.errors:
        raise DefinitionErrors(loader.errors)
    workspace = Workspace(
        {id_: placed.trigger for id_, placed in triggers.items()},
        policies,
        documents,
        places={id_: Place(placed.file, placed.source) for id_, placed in triggers.items()},
    )
    hints += _hints(workspace, policy_source)
    return replace(workspace, hints=tuple(sorted(set(hints))))


def _located(file: str, source: Source, problems: Iterable[Problem]) -> list[DefinitionError]:
    """Problems with their places in the text of a file."""
    return [
        DefinitionError(file, *source.position(one.location, at_key=one.at_key), one.message)
        for one in problems
    ]


def load_catalog(file: str, text: str) -> Catalog:
    """One catalogue by itself; `file` stands in the errors. Raises DefinitionErrors."""
    loader = _Loader()
    catalog = loader.catalog(file, text)
    if catalog is None:
        raise DefinitionErrors(loader.errors)
    return catalog


def _hints(workspace: Workspace, policy_source: _Read | None) -> Iterator[DefinitionError]:
    """What is right by itself and still no good: texts too long, nothing to say, limits of
    nobody."""
    for id_, trigger in workspace.triggers.items():
        for problem in written_problems(trigger, workspace.policies[trigger.policy].text):
            yield workspace.placed(id_, problem)
        if trigger.state == "live" and not trigger.all_messages:
            message = "it is live and has no message: whatever it admits ends TEMPLATE_ERROR"
            yield workspace.placed(id_, Problem(("state",), message))
    if policy_source is not None:
        found = cap_hints(workspace.policies, workspace.triggers.values())
        yield from _located(*policy_source, found)


def _read_one(
    loader: _Loader, file: str, text: str, found: _Read | None, what: str
) -> _Read | None:
    """The only document of a file that exists once, as .yaml or as .json."""
    sources = loader.read(file, text)
    if found is not None:
        message = f"{what} stand in {found[0]} already"
        loader.errors.append(DefinitionError(file, 1, 1, message))
    elif len(sources) > 1:
        position = sources[1].position((), at_key=False)
        message = f"{what} are one document"
        loader.errors.append(DefinitionError(file, *position, message))
    return found or ((file, sources[0]) if sources else None)


def _unknown_file(file: str) -> str:
    known = ["policy.yaml", CATALOG_FILE, *(f"{stem}.yaml" for stem in sorted(_STEMS))]
    if file.endswith(".yml"):
        return f"a file name ends in .yaml{suggestion(file, [file[:-4] + '.yaml'])}"
    if file.startswith("triggers/"):
        return "a trigger stands in triggers/<name>.yaml or triggers/<name>.json"
    return unknown(file, known, row="workspace", what="file")
