"""Dotted paths into an event: `properties.price`, `properties.products.*.product_id`, `event`.

A path begins with `properties`, `context` or `traits` and goes down by the names of JSON objects;
`*` stands for every element of a list. `event` is the name triggers use (`Page: <name>` for a
page), `type` the Segment type. A name that holds a dot cannot be reached.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from schemas.events import ID_CHARS_MAX, Event, event_name
from triggers.problems import suggestion

PATH_CHARS_MAX = 256
PATH_NAMES_MAX = 16
ROOTS = ("properties", "context", "traits")
LEAVES = ("event", "type")

Reader = Callable[[Event], Any]
S = TypeVar("S")


class _Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


#: The path leads nowhere in this event; told apart from a JSON null, which is `None`.
MISSING: Final = _Missing()


class Many(tuple[Any, ...]):
    """What a path with `*` found, never empty: a condition holds when it holds for any element."""

    __slots__ = ()


def is_wild(path: str) -> bool:
    """True for a path with `*`: it reads a `Many`."""
    return "*" in path.split(".")


def property_name(path: str) -> str:
    """The name that a path reads right below `properties`; "" for another path."""
    root, _, name = path.partition(".")
    return name if root == "properties" and "." not in name else ""


def key_of(value: Any) -> str | None:
    """A value as a key: the text itself, other scalars told apart from texts that look the same.

    None: no text or number of at most 256 characters, and no boolean. 1 and 1.0 are the same
    number.
    """
    if type(value) is str:
        return value if len(value) <= ID_CHARS_MAX else None
    if value is MISSING or value is None or type(value) in (Many, dict, list):
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    text = f"\x1f{value}"
    return text if len(text) <= ID_CHARS_MAX else None


def check_path(path: str, *, wild: bool = True) -> str | None:
    """What is wrong with `path` (`wild` = `*` is welcome), or None."""
    names = path.split(".")
    root = names[0]
    if len(path) > PATH_CHARS_MAX or len(names) > PATH_NAMES_MAX:
        return f"a path has at most {PATH_CHARS_MAX} characters and {PATH_NAMES_MAX} names"
    if path in LEAVES:
        return None
    if root not in ROOTS:
        return f"unknown path '{path}'{_nearest_path(path, names)}"
    if len(names) == 1:
        return f"'{path}' needs a name below it, such as '{path}.name'"
    if "" in names:
        return f"'{path}' has an empty name between its dots"
    if names[1] == "*":
        return f"'*' reaches into a list, and '{root}' is not one"
    if not wild and "*" in names:
        return f"'{path}' must lead to one value: '*' is not possible here"
    return None


def compile_path(path: str) -> Reader:
    """A function from an event to the value at `path`: MISSING when absent, a Many under `*`.

    Elements of a list without the rest of the path are left out. Raises ValueError for a path that
    `check_path` refuses.
    """
    problem = check_path(path)
    if problem is not None:
        raise ValueError(problem)
    if path == "event":
        return _event_name
    root, *names = path.split(".")
    if root == "type":
        return _event_type
    read_root = _ROOT_READERS[root]
    if "*" in names:
        return wild_reader(read_root, names)
    if len(names) == 1:
        return _property(names[0]) if root == "properties" else _below(read_root, names[0])
    return _deep(read_root, names)


def compile_projection(paths: Iterable[str]) -> Callable[[Event], dict[str, Any]]:
    """A function from an event to its flat fields `{path: value}`.

    Missing ones are left out, a Many becomes a list: what may be kept as JSON or msgpack.
    """
    readers = [(path, compile_path(path)) for path in paths]

    def fields_of(event: Event) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for path, read in readers:
            value = read(event)
            if value is not MISSING:
                fields[path] = list(value) if type(value) is Many else value
        return fields

    return fields_of


def project(event: Event, paths: Iterable[str]) -> dict[str, Any]:
    """The flat fields of one event; `compile_projection` for a fixed list of paths."""
    return _projection(tuple(paths))(event)


_projection = lru_cache(maxsize=4096)(compile_projection)


def _nearest_path(path: str, names: list[str]) -> str:
    rest = path[len(names[0]) :]
    # Stricter than elsewhere: `revenue` is a forgotten root, not a misspelt `event`.
    hint = suggestion(names[0], (*ROOTS, *LEAVES), template="{}" + rest, likeness=0.8)
    return hint or f" (did you mean 'properties.{path}'?)"


def _event_name(event: Event) -> Any:
    name = event_name(event)
    return MISSING if name is None else name


def _event_type(event: Event) -> Any:
    return event.type


def _properties(event: Event) -> dict[str, Any] | None:
    return event.properties


def _context(event: Event) -> dict[str, Any] | None:
    return event.context


def _traits(event: Event) -> dict[str, Any] | None:
    return event.traits


_ROOT_READERS = {"properties": _properties, "context": _context, "traits": _traits}


def _property(name: str) -> Reader:
    def read(event: Event) -> Any:
        properties = event.properties
        return MISSING if properties is None else properties.get(name, MISSING)

    return read


def _below(read_root: Reader, name: str) -> Reader:
    def read(event: Event) -> Any:
        root = read_root(event)
        return MISSING if root is None else root.get(name, MISSING)

    return read


def _deep(read_root: Reader, names: list[str]) -> Reader:
    def read(event: Event) -> Any:
        value = read_root(event)
        for name in names:
            if type(value) is not dict:
                return MISSING
            value = value.get(name, MISSING)
        return value

    return read


def wild_reader(read_root: Callable[[S], Any], names: Sequence[str]) -> Callable[[S], Any]:
    """Reads a Many below what `read_root` finds: MISSING when there is none."""

    def read(event: S) -> Any:
        found = [read_root(event)]
        for name in names:
            if name == "*":
                found = [item for value in found if type(value) is list for item in value]
            else:
                found = [v[name] for v in found if type(v) is dict and name in v]
        return Many(found) if found else MISSING

    return read
