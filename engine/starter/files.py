"""The files of a first workspace, and putting them where none of them is yet."""

from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from engine.simulate import SimulationOptions, simulate
from triggers.schema import SCHEMAS, schema_text

EVENTS = "events.jsonl"
SCHEMA_FOLDER = "schema"
#: Half a day of a small shop: every example trigger speaks, and the file stays below 2 MB.
SHOP = SimulationOptions(
    users=60, duration_ms=12 * 3_600_000, rate_per_s=0.03, seed=7, noise=0.05, guests=0.0
)


class AlreadyThereError(Exception):
    """Files of a workspace exist: they are somebody's work. `paths` are these."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(", ".join(str(path) for path in paths))
        self.paths = paths


def starter_files() -> dict[str, bytes]:
    """Contents by name relative to the workspace's folder; the same bytes every time."""
    found = dict(shipped_texts(files("engine.starter") / "workspace")) | schema_files()
    found[EVENTS] = b"".join(message.value + b"\n" for message in simulate(SHOP))
    return found


def schema_files() -> dict[str, bytes]:
    """The JSON Schemas that modelines of definitions refer to."""
    return {f"{SCHEMA_FOLDER}/{name}.schema.json": schema_text(name).encode() for name in SCHEMAS}


def write_starter(
    folder: Path, contents: Mapping[str, bytes], shared: Collection[str] = ()
) -> list[str]:
    """Write all or, when one of them exists, none; of `shared` what exists stays as it is.

    Returns what stayed. Raises AlreadyThereError and OSError.
    """
    there = [name for name in contents if (folder / name).exists()]
    own = [folder / name for name in there if name not in shared]
    if own:
        raise AlreadyThereError(own)
    for name, content in contents.items():
        if name in there:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            out.write(content)
    return there


def shipped_texts(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """The YAML files below a folder of the distribution, by their name relative to it."""
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from shipped_texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name, entry.read_bytes()
